"""The policy of a POST form: what its signer allows whoever holds the form to upload. Pure.

Every field must be named by a condition, but for the signature itself, the file, and fields of the names x-ignore-...
and x-amz-checksum-..., which ask for nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXEMPT = frozenset({"awsaccesskeyid", "signature", "x-amz-signature", "file", "policy", "bucket"})
_EXEMPT_PREFIXES = ("x-ignore-", "x-amz-checksum-")


@dataclass(frozen=True, slots=True)
class Check:
    """One condition: the field (lower case) must be equal to the value, or begin with it."""

    field: str
    value: str
    prefix: bool

    def holds(self, fields: Mapping[str, str]) -> bool:
        """Whether the form keeps it."""
        found = fields.get(self.field)
        if found is None:  # any value may come, and so may none
            return self.prefix and not self.value
        if not self.prefix:
            return found == self.value
        if self.field == "content-type" and "," in found:
            return all(each.strip().startswith(self.value) for each in found.split(","))
        return found.startswith(self.value)


@dataclass(frozen=True, slots=True)
class PostPolicy:
    """A policy that was read. Times are seconds since 1970, sizes bytes."""

    expires: float
    checks: tuple[Check, ...]
    smallest: int | None
    largest: int | None

    def enforce(self, fields: Mapping[str, str], size: int, now: float) -> None:
        """S3Error if the form (with its bucket among the fields) isn't what was signed, or comes too late."""
        if now >= self.expires:
            raise _refused("Policy expired.")
        for check in self.checks:
            if not check.holds(fields):
                operator = "starts-with" if check.prefix else "eq"
                raise _refused(f'Policy Condition failed: ["{operator}", "${check.field}", "{check.value}"]')
        named = {check.field for check in self.checks}
        extra = [
            field
            for field in fields
            if field not in named and field not in _EXEMPT and not field.startswith(_EXEMPT_PREFIXES)
        ]
        if extra:
            raise _refused(f"Extra input fields: {', '.join(sorted(extra))}")
        if "bucket" not in named:
            raise _refused("Extra input fields: bucket")
        if self.largest is not None and size > self.largest:
            raise S3Error("EntityTooLarge", ProposedSize=size, MaxSizeAllowed=self.largest)
        if self.smallest is not None and size < self.smallest:
            raise S3Error("EntityTooSmall", ProposedSize=size, MinSizeAllowed=self.smallest)


def _refused(reason: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {reason}")


def _invalid(reason: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {reason}")


def read_policy(encoded: str) -> PostPolicy:
    """Read the base64 of a policy; S3Error InvalidPolicyDocument."""
    try:
        document = json.loads(base64.b64decode(encoded, validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("It must be a JSON object.")
    conditions = document.get("conditions")
    if not isinstance(conditions, list):
        raise _invalid("Policy missing conditions: they must be a list.")
    expires = _expiration(document.get("expiration"))
    checks: list[Check] = []
    smallest = largest = None
    for condition in conditions:
        if _is_range(condition):
            smallest, largest = _range(condition)
        else:
            checks.append(_check(condition))
    return PostPolicy(expires, tuple(checks), smallest, largest)


def _expiration(text: Any) -> float:
    if not isinstance(text, str):
        raise _invalid("Policy missing expiration: it must be a string.")
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    raise _invalid(f"Invalid 'expiration' value: {text!r} (it must be of the form 2026-01-31T12:00:00.000Z)")


def _is_range(condition: Any) -> bool:
    return (
        isinstance(condition, list)
        and bool(condition)
        and isinstance(condition[0], str)
        and condition[0].lower() == "content-length-range"
    )


def _range(condition: list[Any]) -> tuple[int, int]:
    bounds = []
    for bound in condition[1:]:
        if isinstance(bound, bool) or not isinstance(bound, int | str) or not str(bound).isascii():
            raise _invalid("content-length-range takes two numbers.")
        if not str(bound).isdigit() or len(str(bound)) > 18:
            raise _invalid("content-length-range takes two numbers that are not negative.")
        bounds.append(int(bound))
    if len(bounds) != 2:
        raise _invalid("content-length-range takes two numbers.")
    return bounds[0], bounds[1]


def _check(condition: Any) -> Check:
    """A condition in either form: {"field": value}, or [operator, "$field", value]."""
    if isinstance(condition, dict):
        if len(condition) != 1:
            raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
        [(field, value)] = condition.items()
        if not isinstance(value, str):
            raise _invalid(f"The value of {field} must be a string.")
        return Check(field.lower(), value, prefix=False)
    if not isinstance(condition, list) or len(condition) != 3 or not all(isinstance(each, str) for each in condition):
        raise _invalid("Invalid condition: it must be an object, or a list of operator, $field and value.")
    operator, field, value = condition
    if operator.lower() not in {"eq", "starts-with"} or not field.startswith("$"):
        raise _invalid(f"Invalid condition: {operator} {field}")
    return Check(field[1:].lower(), value, prefix=operator.lower() == "starts-with")
