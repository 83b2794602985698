"""`kubectl apply` refuses bad input with a sentence that says what to write instead, on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from tests.e2e.cluster import CLASS
from tests.e2e.conftest import ROOT
from tests.spec.refused import EDITS, REFUSED, SERVER_ONLY, Manifest

from moln_lab.errors import LabError

if TYPE_CHECKING:
    from tests.e2e.cluster import Namespace

pytestmark = pytest.mark.lab
EVERY = {**REFUSED, **SERVER_ONLY}


def test_bad_input_is_refused_with_a_sentence(namespace: Namespace) -> None:
    """Every case of the table; the ones that the models refuse too have the same words."""
    for case, (manifest, sentence) in EVERY.items():
        with pytest.raises(LabError) as refused:
            namespace.apply(manifest, options=("--dry-run=server", "--validate=strict"))
        assert _plain(sentence) in _plain(str(refused.value)), case


def test_what_would_lose_data_is_refused(namespace: Namespace) -> None:
    """Edits of a Cloud that exists: the data would be out of reach."""
    for number, (case, (before, after, sentence)) in enumerate(EDITS.items()):
        namespace.apply(_named(before, f"c{number}"))
        with pytest.raises(LabError) as refused:
            namespace.apply(_named(after, f"c{number}"))
        assert _plain(sentence) in _plain(str(refused.value)), case


def test_kubectl_scale_is_told_about_the_bound(namespace: Namespace) -> None:
    """`kubectl scale` reaches the same rules."""
    namespace.apply(_named(EDITS["a smaller volume"][0], "photos"))
    namespace.kubectl("scale", "cloud/photos", "--replicas=3")
    for replicas, word in ((51, "less than or equal to 50"), (0, "a pool keeps at least one node")):
        with pytest.raises(LabError) as refused:
            namespace.kubectl("scale", "cloud/photos", f"--replicas={replicas}")
        assert word in _plain(str(refused.value))


def test_every_example_is_accepted(namespace: Namespace) -> None:
    """What we tell users to apply applies."""
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
        namespace.apply(*documents, options=("--dry-run=server", "--validate=strict"))


def test_kubectl_explain_teaches(namespace: Namespace) -> None:
    """Descriptions reach the user."""
    classes = namespace.kubectl("explain", "cloud.spec.storageClasses")
    assert "chosen by header or by the first assignment" in _plain(classes)
    assert "grow later, never shrink" in _plain(namespace.kubectl("explain", "cloud.spec.nodes.volume.size"))


def _named(manifest: Manifest, name: str) -> Manifest:
    """Of that name, and of no operator that works on the cluster: nothing is to be made of it."""
    return {**manifest, "metadata": {"name": name, "annotations": {"moln.dev/operator": CLASS}}}


def _plain(text: str) -> str:
    """Text without line breaks and escapes."""
    return " ".join(text.replace('\\"', '"').split())
