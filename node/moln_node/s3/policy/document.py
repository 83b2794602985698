"""Reading bucket policies: JSON to values that `evaluate` asks, refusing what would not mean what its writer thinks.

Refused with a sentence (which becomes MalformedPolicy): unknown elements, operators and condition keys, resources of
other buckets, and policy variables (`${aws:username}`), which are not built.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from moln_node.s3.policy.conditions import Condition, ConditionError, build_condition
from moln_node.s3.policy.keys import known_key
from moln_node.s3.policy.patterns import compile_pattern

if TYPE_CHECKING:
    import re

MAX_BYTES = 20 * 1024
_ELEMENTS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_PRINCIPAL_KINDS = frozenset({"AWS", "CanonicalUser", "Service", "Federated"})


class PolicyError(ValueError):
    """A policy that cannot be taken; the message says why."""


class Effect(StrEnum):
    """What a statement does where it applies."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. `principals` are ids of owners, `*` for everybody, `""` for what is nobody here (a service)."""

    effect: Effect
    principals: frozenset[str]
    not_principals: bool
    actions: tuple[re.Pattern[str], ...]
    not_actions: bool
    resources: tuple[re.Pattern[str], ...]
    not_resources: bool
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy; `reads_tags` tells whether a condition looks at the tags of the object that is there."""

    statements: tuple[Statement, ...]
    reads_tags: bool


def parse_policy(text: str, bucket: str) -> Policy:
    """Read the policy of a bucket; PolicyError."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        msg = f"Policy exceeds the maximum size of {MAX_BYTES} bytes"
        raise PolicyError(msg)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        msg = "This policy contains invalid Json"
        raise PolicyError(msg) from None
    if not isinstance(document, dict):
        msg = "Policies must be valid JSON and the first byte must be '{'"
        raise PolicyError(msg)
    _only(document, frozenset({"Version", "Id", "Statement"}), "the policy")
    if document.get("Version", "2008-10-17") not in ("2012-10-17", "2008-10-17"):
        msg = "The policy must contain a valid version string: 2012-10-17 or 2008-10-17"
        raise PolicyError(msg)
    statements = _listed(document.get("Statement"))
    if not statements:
        msg = "Missing required field Statement"
        raise PolicyError(msg)
    read = tuple(_statement(statement, bucket) for statement in statements)
    tags = any(
        condition.key.startswith("s3:existingobjecttag/") for statement in read for condition in statement.conditions
    )
    return Policy(read, tags)


def _only(element: dict[str, Any], allowed: frozenset[str], where: str) -> None:
    unknown = sorted(str(name) for name in element if name not in allowed)
    if unknown:
        msg = f"Unknown field {', '.join(unknown)} in {where}"
        raise PolicyError(msg)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _strings(value: Any, what: str) -> tuple[str, ...]:
    """One string or several, none of them with variables."""
    values = _listed(value)
    if not values or not all(isinstance(each, str) and each for each in values):
        msg = f"{what} must be a string or a list of strings"
        raise PolicyError(msg)
    if any("${" in each for each in values):
        msg = f"{what}: policy variables (${{...}}) are not supported"
        raise PolicyError(msg)
    return tuple(values)


def _either(statement: dict[str, Any], name: str) -> tuple[Any, bool]:
    """An element or its negation: exactly one of them must be there."""
    if (name in statement) == (f"Not{name}" in statement):
        msg = f"Missing required field {name}" if name not in statement else f"{name} and Not{name} exclude each other"
        raise PolicyError(msg)
    return (statement[name], False) if name in statement else (statement[f"Not{name}"], True)


def _statement(statement: Any, bucket: str) -> Statement:
    if not isinstance(statement, dict):
        msg = "A statement must be an object"
        raise PolicyError(msg)
    _only(statement, _ELEMENTS, "a statement")
    if not isinstance(statement.get("Sid", ""), str):
        msg = "Sid must be a string"
        raise PolicyError(msg)
    if statement.get("Effect") not in ("Allow", "Deny"):
        msg = "Invalid effect: it must be Allow or Deny"
        raise PolicyError(msg)
    principal, not_principals = _either(statement, "Principal")
    if not_principals and statement["Effect"] == "Allow":
        msg = "Allow with NotPrincipal is not allowed: it would let in everybody else, strangers too"
        raise PolicyError(msg)
    action, not_actions = _either(statement, "Action")
    resource, not_resources = _either(statement, "Resource")
    return Statement(
        Effect(statement["Effect"]),
        _principals(principal),
        not_principals,
        tuple(_action(each) for each in _strings(action, "Action")),
        not_actions,
        tuple(_resource(each, bucket) for each in _strings(resource, "Resource")),
        not_resources,
        _conditions(statement.get("Condition", {})),
    )


def _principals(principal: Any) -> frozenset[str]:
    if principal == "*":
        return frozenset({"*"})
    if not isinstance(principal, dict) or not principal or not principal.keys() <= _PRINCIPAL_KINDS:
        msg = 'Invalid principal in policy: it must be "*", or an object with AWS or CanonicalUser'
        raise PolicyError(msg)
    found = set()
    for kind, value in principal.items():
        for name in _strings(value, "Principal"):
            found.add(_principal(name) if kind in {"AWS", "CanonicalUser"} else "")
    return frozenset(found)


def _principal(name: str) -> str:
    """The owner's id in a principal: itself, `arn:aws:iam::<account>:user/<id>`, or `arn:aws:iam::<id>:root`."""
    if not name.startswith("arn:"):
        return name
    pieces = name.split(":", 5)
    if len(pieces) != 6 or pieces[2] not in {"iam", "sts"}:
        msg = f"Invalid principal in policy: {name}"
        raise PolicyError(msg)
    account, rest = pieces[4], pieces[5]
    return account if rest == "root" else rest.rpartition("/")[2]


def _action(action: str) -> re.Pattern[str]:
    if action != "*" and not action.lower().startswith("s3:"):
        msg = f"Policy has invalid action: {action}"
        raise PolicyError(msg)
    return compile_pattern(action, ignore_case=True)


def _resource(resource: str, bucket: str) -> re.Pattern[str]:
    """A pattern over `bucket` and `bucket/key`."""
    if resource == "*":
        return compile_pattern("*")
    pieces = resource.split(":", 5)
    if len(pieces) != 6 or pieces[0] != "arn" or pieces[2] != "s3":
        msg = f"Policy has invalid resource: {resource} is no ARN of S3 (arn:aws:s3:::bucket/key)"
        raise PolicyError(msg)
    if not compile_pattern(pieces[5].partition("/")[0]).match(bucket):
        msg = f"Policy has invalid resource: {resource} is not of the bucket {bucket}"
        raise PolicyError(msg)
    return compile_pattern(pieces[5])


def _conditions(block: Any) -> tuple[Condition, ...]:
    if not isinstance(block, dict) or not all(isinstance(keys, dict) for keys in block.values()):
        msg = "Condition must be an object of operators, each an object of keys"
        raise PolicyError(msg)
    found = []
    for operator, keys in block.items():
        for key, value in keys.items():
            name = known_key(key)
            if name is None:
                msg = f"Policy has an invalid condition key: {key}"
                raise PolicyError(msg)
            values = tuple(_scalar(each) for each in _listed(value))
            if not values:
                msg = f"The condition key {key} has no value"
                raise PolicyError(msg)
            try:
                found.append(build_condition(operator, name, values))
            except ConditionError as error:
                msg = f"Condition on {key}: {error}"
                raise PolicyError(msg) from None
    return tuple(found)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "${" in value:
            msg = "Policy variables (${...}) are not supported in conditions"
            raise PolicyError(msg)
        return value
    if isinstance(value, int | float):
        return str(value)
    msg = "The values of a condition must be strings, numbers or booleans"
    raise PolicyError(msg)
