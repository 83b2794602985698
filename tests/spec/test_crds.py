"""The generated CustomResourceDefinitions: as checked in, structural, described in every field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from moln_spec import crds

if TYPE_CHECKING:
    from collections.abc import Iterator

# Said by the API server itself, or by the name of the only thing there is.
UNDESCRIBED = {"apiVersion", "kind", "metadata", "type", "status"}
FOREIGN = {"$ref", "$defs", "title", "const", "allOf", "oneOf", "examples", "prefixItems"}


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a schema with its path."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from fields(schema["items"], f"{path}[]")


def test_the_checked_in_files_are_the_generated_ones() -> None:
    """An edit of a model without `--write` is found here."""
    for path, text in crds.files():
        assert (crds.ROOT / path).read_text() == text, f"{path}: run `python -m moln_spec.crds --write`"


@pytest.mark.parametrize("kind", crds.KINDS, ids=lambda kind: kind.plural)
def test_every_field_teaches(kind: crds.Kind) -> None:
    """`kubectl explain` says something about each field."""
    silent = [
        path
        for path, field in fields(crds.schema(kind.model))
        if not field.get("description") and not path.endswith("[]") and path.rpartition(".")[2] not in UNDESCRIBED
    ]
    assert silent == []


@pytest.mark.parametrize("kind", crds.KINDS, ids=lambda kind: kind.plural)
def test_schemas_are_structural(kind: crds.Kind) -> None:
    """No word that the API server refuses, a type everywhere, and no default in a status."""
    for path, field in fields(crds.schema(kind.model)):
        assert not FOREIGN & field.keys(), path
        assert "type" in field or field.get("x-kubernetes-int-or-string"), path
        assert not (path.startswith(".status") and "default" in field), path


@pytest.mark.parametrize("kind", crds.KINDS, ids=lambda kind: kind.plural)
def test_lists_and_texts_of_a_spec_are_bounded(kind: crds.Kind) -> None:
    """What has no bound makes CEL's cost unbounded, and a Cloud too big for etcd."""
    for path, field in fields(crds.schema(kind.model)["properties"]["spec"]):
        if field.get("type") == "array":
            assert "maxItems" in field, path
        if field.get("type") == "string" and "enum" not in field:
            assert "maxLength" in field or field.get("pattern", "").startswith("^("), path
