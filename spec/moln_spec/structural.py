"""From a pydantic model to the structural OpenAPI v3 schema that a CustomResourceDefinition wants. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import BaseModel

_DROPPED: Final = ("title", "additionalProperties", "$defs", "$ref")


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of `model` with every reference written out, as the API server accepts it."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(schema, schema.get("$defs", {}))


def without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` as a status wants it: nothing is filled in that nobody has checked."""
    kept = {name: value for name, value in schema.items() if name != "default"}
    if "properties" in kept:
        kept["properties"] = {name: without_defaults(value) for name, value in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = without_defaults(kept["items"])
    return kept


def _convert(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """One level of the schema: references and nulls resolved, JSON Schema's newer words put into OpenAPI's."""
    node = _resolved(node, definitions)
    converted = {name: value for name, value in node.items() if name not in _DROPPED}
    if "const" in converted:
        converted["enum"] = [converted.pop("const")]
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in converted:
            converted[limit], converted[bound] = converted[bound], True
    if "properties" in node:
        converted["properties"] = {name: _convert(child, definitions) for name, child in node["properties"].items()}
    if "items" in node:
        converted["items"] = _convert(node["items"], definitions)
    if isinstance(node.get("additionalProperties"), dict):
        converted["additionalProperties"] = _convert(node["additionalProperties"], definitions)
    if "default" in converted:
        default = _least(converted["default"], converted)
        if default is None:
            del converted["default"]
        else:
            converted["default"] = default
    return converted


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`node` with its reference written out and `or null` left out: what is absent is null in Kubernetes."""
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _resolved({**target, **{name: value for name, value in node.items() if name != "$ref"}}, definitions)
    options = node.get("anyOf", [])
    if {"type": "null"} in options:
        (only,) = [option for option in options if option != {"type": "null"}]
        return _resolved({**only, **{name: value for name, value in node.items() if name != "anyOf"}}, definitions)
    return node


def _least(default: Any, schema: dict[str, Any]) -> Any:
    """`default` without what the schema's own defaults fill in anyway."""
    if isinstance(default, dict) and "properties" in schema:
        children = schema["properties"]
        short = {name: _least(value, children[name]) for name, value in default.items()}
        return {n: v for n, v in short.items() if v is not None and v != children[n].get("default")}
    if isinstance(default, list | tuple) and "items" in schema:
        return [_least(entry, schema["items"]) for entry in default]
    return default
