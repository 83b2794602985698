"""The CustomResourceDefinitions, generated from the resource models.

`python -m moln_spec.crds --write` writes them to crds/ and into the chart, `--check` fails when a file differs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from moln_spec.resources.cloud import Cloud
from moln_spec.resources.meta import GROUP, VERSION
from moln_spec.resources.policy import ReplicationPolicy
from moln_spec.resources.storagenode import StorageNode
from moln_spec.structural import structural, without_defaults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moln_spec.model import Document

ROOT: Final = Path(__file__).parents[2]
NOTICE: Final = "# Generated from spec/moln_spec/resources by `python -m moln_spec.crds --write`; edit there.\n"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; with `wide` only of `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    description: str = ""

    def document(self) -> dict[str, Any]:
        """The column as a CustomResourceDefinition writes it."""
        written: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            written["description"] = self.description
        if self.wide:
            written["priority"] = 1
        return written


@dataclass(frozen=True, slots=True)
class Kind:
    """What the API server must know of a kind besides its schema."""

    model: type[Document]
    plural: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    replicas_path: str = ""


AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


KINDS: Final = (
    Kind(
        Cloud,
        "clouds",
        ("cl",),
        (
            Column("Ready", _condition("Ready", "status")),
            Column("State", _condition("Ready", "reason"), description="Why it is ready, or why not."),
            Column("Nodes", ".status.nodes.summary", description="Ready and desired storage nodes."),
            Column("Used", ".status.usage.used"),
            Column("Capacity", ".status.usage.capacity"),
            Column("Objects", ".status.usage.objects", "integer"),
            Column("Endpoint", ".status.endpoint", wide=True),
            Column("Epoch", ".status.map.acknowledged", "integer", wide=True),
            Column("Message", _condition("Ready", "message"), wide=True),
            AGE,
        ),
        ".spec.nodes.replicas",
    ),
    Kind(
        StorageNode,
        "storagenodes",
        ("sn",),
        (
            Column("Cloud", ".spec.cloudRef.name"),
            Column("Ready", _condition("Ready", "status")),
            Column("Nodes", ".status.nodes.summary", description="Ready and desired storage nodes."),
            Column("Volume", ".spec.volume.size"),
            Column("Message", _condition("Ready", "message"), wide=True),
            AGE,
        ),
        ".spec.replicas",
    ),
    Kind(
        ReplicationPolicy,
        "replicationpolicies",
        ("rp",),
        (
            Column("Cloud", ".spec.cloudRef.name"),
            Column("Copies", ".spec.copies", "integer"),
            Column("Pools", ".spec.pools", wide=True),
            Column("Write", ".spec.write"),
            Column("Read", ".spec.read"),
            Column("Accepted", _condition("Accepted", "status")),
            Column("Message", _condition("Accepted", "message")),
            AGE,
        ),
    ),
)


def schema(model: type[Document]) -> dict[str, Any]:
    """The OpenAPI v3 schema of a kind."""
    written = structural(model)
    properties = written["properties"]
    written["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": properties["spec"],
        "status": without_defaults(properties["status"]),
    }
    written["required"] = ["spec"]
    written["properties"]["spec"].pop("default", None)
    return written


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    name = kind.model.__name__
    subresources: dict[str, Any] = {"status": {}}
    if kind.replicas_path:
        subresources["scale"] = {
            "specReplicasPath": kind.replicas_path,
            "statusReplicasPath": ".status.nodes.current",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            "annotations": {"helm.sh/resource-policy": "keep"},
            "labels": {"app.kubernetes.io/part-of": "moln"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": list(kind.short_names),
                "categories": ["moln", "all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [column.document() for column in kind.columns],
                    "schema": {"openAPIV3Schema": schema(kind.model)},
                }
            ],
        },
    }


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file, as a path in the repository and its text."""
    for kind in KINDS:
        text = NOTICE + yaml.safe_dump(definition(kind), sort_keys=False, width=120, allow_unicode=True)
        if "{{" in text:
            raise ValueError(f"{kind.plural}: a description holds braces that Helm would take for a template")
        yield Path("crds") / f"{kind.plural}.yaml", text
        yield Path("charts/moln/templates/crds") / f"{kind.plural}.yaml", text


def main() -> int:
    """Write the files, or tell which of them differ."""
    parser = argparse.ArgumentParser(prog="moln_spec.crds", description="Generate the CustomResourceDefinitions.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write crds/ and the chart's copies")
    action.add_argument("--check", action="store_true", help="fail when a file differs from the models")
    write = parser.parse_args().write
    differing = [path for path, text in files() if not (ROOT / path).is_file() or (ROOT / path).read_text() != text]
    if write:
        for path, text in files():
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text)
        return 0
    for path in differing:
        sys.stderr.write(f"{path} differs from the models; run `python -m moln_spec.crds --write`\n")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
