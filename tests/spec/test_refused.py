"""The models refuse what the API server refuses, with the same sentence, so that `moln dev` is no laxer."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.spec.refused import REFUSED, Manifest

from moln_spec.resources.cloud import Cloud


@pytest.mark.parametrize(("manifest", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_the_model_refuses_with_the_sentence_of_the_schema(manifest: Manifest, sentence: str) -> None:
    """One sentence for one mistake, wherever it is found."""
    with pytest.raises(ValidationError) as refused:
        Cloud.model_validate(manifest)
    assert sentence in str(refused.value)
