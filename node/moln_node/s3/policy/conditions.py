"""The Condition block of a statement: operators over keys of the request.

A test is built once, when the policy is read, and then asked with the values that the request has for its key: None
when it has none. A positive operator without a value does not hold, a negative one does, and `...IfExists` always does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from moln_node.s3.policy.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Predicate = Callable[[str], bool]
    Builder = Callable[[tuple[str, ...]], Predicate]


class ConditionError(ValueError):
    """A condition that cannot be read; the message says why."""


def _equals(values: tuple[str, ...]) -> Predicate:
    wanted = frozenset(values)
    return lambda value: value in wanted


def _equals_any_case(values: tuple[str, ...]) -> Predicate:
    wanted = frozenset(value.casefold() for value in values)
    return lambda value: value.casefold() in wanted


def _like(values: tuple[str, ...]) -> Predicate:
    patterns = [compile_pattern(value) for value in values]
    return lambda value: any(pattern.match(value) for pattern in patterns)


def _bool(values: tuple[str, ...]) -> Predicate:
    if not {value.lower() for value in values} <= {"true", "false"}:
        msg = "a Bool condition takes true or false"
        raise ConditionError(msg)
    return _equals_any_case(values)


def _networks(values: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(value, strict=False) for value in values]
    except ValueError as error:
        msg = f"not an IP address or range: {error}"
        raise ConditionError(msg) from None


def _in_networks(values: tuple[str, ...]) -> Predicate:
    networks = _networks(values)

    def holds(value: str) -> bool:
        try:
            address = ip_address(value)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:10.0.0.1 is what a dual-stack socket shows
        address = mapped or address
        return any(address.version == network.version and address in network for network in networks)

    return holds


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"{text!r} is not a number"
        raise ConditionError(msg) from None


def _moment(text: str) -> float:
    """A date of a policy: ISO 8601, or seconds since 1970."""
    try:
        if text.lstrip("-").replace(".", "", 1).isdigit():
            return float(text)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        msg = f"{text!r} is not a date"
        raise ConditionError(msg) from None


def _ordered(convert: Callable[[str], float], compare: Callable[[float, float], bool]) -> Builder:
    def build(values: tuple[str, ...]) -> Predicate:
        bounds = [convert(value) for value in values]

        def holds(value: str) -> bool:
            try:
                number = convert(value)
            except ConditionError:
                return False
            return any(compare(number, bound) for bound in bounds)

        return holds

    return build


_ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    "Equals": lambda value, bound: value == bound,
    "LessThan": lambda value, bound: value < bound,
    "LessThanEquals": lambda value, bound: value <= bound,
    "GreaterThan": lambda value, bound: value > bound,
    "GreaterThanEquals": lambda value, bound: value >= bound,
}

# name: (how the predicate is built, whether the operator holds when it does not)
_OPERATORS: dict[str, tuple[Builder, bool]] = {
    "StringEquals": (_equals, False),
    "StringNotEquals": (_equals, True),
    "StringEqualsIgnoreCase": (_equals_any_case, False),
    "StringNotEqualsIgnoreCase": (_equals_any_case, True),
    "StringLike": (_like, False),
    "StringNotLike": (_like, True),
    "ArnEquals": (_like, False),
    "ArnNotEquals": (_like, True),
    "ArnLike": (_like, False),
    "ArnNotLike": (_like, True),
    "Bool": (_bool, False),
    "IpAddress": (_in_networks, False),
    "NotIpAddress": (_in_networks, True),
    **{f"Numeric{name}": (_ordered(_number, order), False) for name, order in _ORDERS.items()},
    **{f"Date{name}": (_ordered(_moment, order), False) for name, order in _ORDERS.items()},
    "NumericNotEquals": (_ordered(_number, _ORDERS["Equals"]), True),
    "DateNotEquals": (_ordered(_moment, _ORDERS["Equals"]), True),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator over one key. `key` is in lower case, but for the tag in s3:ExistingObjectTag/<tag> and its kin."""

    operator: str
    key: str
    values: tuple[str, ...]
    _predicate: Predicate | None  # None for the operator Null
    _negated: bool
    _if_exists: bool
    _quantifier: str  # "", ForAnyValue or ForAllValues

    def holds(self, found: tuple[str, ...] | None) -> bool:
        """Whether it holds where the request has these values of the key (None: it has none)."""
        predicate = self._predicate
        if predicate is None:
            return (found is None) == (self.values[0].lower() == "true")
        if self._quantifier == "ForAllValues":
            return all(predicate(value) != self._negated for value in found or ())
        if found is None:
            return self._if_exists or (self._negated and not self._quantifier)
        if self._quantifier == "ForAnyValue":
            return any(predicate(value) != self._negated for value in found)
        return any(predicate(value) for value in found) != self._negated


def build_condition(operator: str, key: str, values: tuple[str, ...]) -> Condition:
    """Read one condition; ConditionError with a sentence."""
    quantifier, colon, name = operator.rpartition(":")
    if colon and quantifier not in {"ForAnyValue", "ForAllValues"}:
        msg = f"invalid Condition type : {operator}"
        raise ConditionError(msg)
    if name == "Null" and not colon:
        if len(values) != 1 or values[0].lower() not in {"true", "false"}:
            msg = "a Null condition takes one of true and false"
            raise ConditionError(msg)
        return Condition(name, key, values, None, _negated=False, _if_exists=False, _quantifier="")
    base = name.removesuffix("IfExists")
    if base not in _OPERATORS:
        msg = f"invalid Condition type : {operator}"
        raise ConditionError(msg)
    build, negated = _OPERATORS[base]
    return Condition(base, key, values, build(values), negated, base != name, quantifier)
