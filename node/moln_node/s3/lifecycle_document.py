"""The XML of a lifecycle configuration: read with S3's rules, and written back as it came. Pure; called by `lifecycle`.

Transitions between storage classes are not built: a configuration with one is refused whole.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from moln_node.cluster.lifecycle import DAY_MS, Filter, Lifecycle, Rule
from moln_node.s3 import xml
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MAX_RULES: Final = 1000
_ID_LENGTH: Final = 255
_DIGITS: Final = 15
_NOT_BUILT: Final = ("Transition", "NoncurrentVersionTransition")


def parse_configuration(root: Element) -> Lifecycle:
    """The rules of a `<LifecycleConfiguration>`; MalformedXML, InvalidArgument, NotImplemented."""
    elements = root.findall("Rule")
    if (
        root.tag not in {"LifecycleConfiguration", "BucketLifecycleConfiguration"}
        or not 1 <= len(elements) <= _MAX_RULES
    ):
        raise S3Error("MalformedXML")
    rules = tuple(_rule(element) for element in elements)
    if len({rule.id for rule in rules}) < len(rules):
        raise S3Error("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule")
    return Lifecycle(rules=rules)


def _rule(element: Element) -> Rule:
    rule_id, status = xml.text_of(element, "ID"), xml.text_of(element, "Status")
    if rule_id is not None and len(rule_id) > _ID_LENGTH:
        raise S3Error("InvalidArgument", f"ID length should not exceed allowed limit of {_ID_LENGTH}")
    if status not in {"Enabled", "Disabled"}:
        raise S3Error("MalformedXML")
    for transition in element.findall("Transition"):
        _date(transition)  # what is wrong is told first
    if any(element.find(name) is not None for name in _NOT_BUILT):
        raise S3Error("NotImplemented", "moln does not move objects between storage classes by lifecycle rules.")
    days, date_ms, markers = _expiration(element)
    noncurrent = element.find("NoncurrentVersionExpiration")
    rule = Rule(
        id=rule_id or secrets.token_hex(16),
        enabled=status == "Enabled",
        filter=_filter(element),
        expire_days=days,
        expire_date_ms=date_ms,
        expire_delete_markers=markers,
        noncurrent_days=_count(noncurrent, "NoncurrentDays", 1),
        newer_noncurrent=_count(noncurrent, "NewerNoncurrentVersions", 1),
        abort_days=_count(element.find("AbortIncompleteMultipartUpload"), "DaysAfterInitiation", 1),
    )
    _check(rule)
    return rule


def _check(rule: Rule) -> None:
    """Refuse what does nothing, and what S3 refuses to combine."""
    selective = bool(rule.filter.tags) or rule.filter.larger_than is not None or rule.filter.smaller_than is not None
    if rule.abort_days is not None and selective:
        raise S3Error("InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Tags or object sizes")
    if rule.expire_delete_markers and rule.filter.tags:
        raise S3Error("InvalidRequest", "ExpiredObjectDeleteMarker cannot be specified with Tags")
    actions = (
        rule.expire_days,
        rule.expire_date_ms,
        rule.expire_delete_markers,
        rule.noncurrent_days,
        rule.abort_days,
    )
    if all(action is None for action in actions):
        raise S3Error("InvalidRequest", "At least one action needs to be specified in a rule")


def _filter(rule: Element) -> Filter:
    element, own_prefix = rule.find("Filter"), xml.text_of(rule, "Prefix")
    if element is None:
        return Filter(form="prefix", prefix=own_prefix or "")
    if own_prefix is not None:
        raise S3Error("MalformedXML")
    both = element.find("And")
    if both is None and len(element) > 1:
        raise S3Error("MalformedXML")
    place = element if both is None else both
    tags: dict[str, str] = {}
    for tag in place.findall("Tag"):
        key, value = xml.text_of(tag, "Key"), xml.text_of(tag, "Value")
        if not key or value is None:
            raise S3Error("MalformedXML")
        if key in tags:
            raise S3Error("InvalidRequest", "Duplicate Tag Keys are not allowed.")
        tags[key] = value
    larger, smaller = _count(place, "ObjectSizeGreaterThan", 0), _count(place, "ObjectSizeLessThan", 1)
    if larger is not None and smaller is not None and smaller <= larger:
        raise S3Error("InvalidRequest", "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")
    return Filter(
        form="filter" if both is None else "and",
        prefix=xml.text_of(place, "Prefix"),
        tags=tags,
        larger_than=larger,
        smaller_than=smaller,
    )


def _expiration(rule: Element) -> tuple[int | None, int | None, bool | None]:
    """Days, date and whether left-over delete markers go: exactly one of them, or no expiration at all."""
    element = rule.find("Expiration")
    if element is None:
        return None, None, None
    if len(element) != 1:
        raise S3Error("MalformedXML")
    marker = xml.text_of(element, "ExpiredObjectDeleteMarker")
    if marker not in {None, "true", "false"}:
        raise S3Error("MalformedXML")
    return _count(element, "Days", 1), _date(element), None if marker is None else marker == "true"


def _count(element: Element | None, name: str, least: int) -> int | None:
    """A number in a child; MalformedXML if it is none, InvalidArgument below `least`."""
    text = xml.text_of(element, name)
    if text is None:
        return None
    text = text.strip()
    if not text.removeprefix("-").isdigit() or not text.isascii() or len(text) > _DIGITS:
        raise S3Error("MalformedXML")
    if int(text) < least:
        raise S3Error("InvalidArgument", f"'{name}' must be at least {least}", ArgumentName=name, ArgumentValue=text)
    return int(text)


def _date(action: Element) -> int | None:
    """The moment in `<Date>`: midnight UTC."""
    text = xml.text_of(action, "Date")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise S3Error("MalformedXML") from error
    moment_ms = round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    if moment_ms % DAY_MS:
        raise S3Error("InvalidArgument", "'Date' must be at midnight GMT", ArgumentName="Date", ArgumentValue=text)
    return moment_ms


def write_configuration(configuration: Lifecycle) -> bytes:
    """The rules as S3 shows them."""
    return xml.document("LifecycleConfiguration", *(_rule_element(rule) for rule in configuration.rules))


def _rule_element(rule: Rule) -> str:
    date = None if rule.expire_date_ms is None else xml.iso_time(rule.expire_date_ms)
    expiration = (
        xml.leaf("Days", rule.expire_days)
        + xml.leaf("Date", date)
        + xml.leaf("ExpiredObjectDeleteMarker", rule.expire_delete_markers)
    )
    noncurrent = xml.leaf("NoncurrentDays", rule.noncurrent_days) + xml.leaf(
        "NewerNoncurrentVersions", rule.newer_noncurrent
    )
    abort = xml.leaf("DaysAfterInitiation", rule.abort_days)
    return xml.node(
        "Rule",
        xml.leaf("ID", rule.id),
        _filter_element(rule.filter),
        xml.leaf("Status", "Enabled" if rule.enabled else "Disabled"),
        xml.node("Expiration", expiration) if expiration else "",
        xml.node("NoncurrentVersionExpiration", noncurrent) if noncurrent else "",
        xml.node("AbortIncompleteMultipartUpload", abort) if abort else "",
    )


def _filter_element(wanted: Filter) -> str:
    prefix = xml.leaf("Prefix", wanted.prefix)
    if wanted.form == "prefix":
        return prefix
    inner = (
        prefix
        + "".join(xml.node("Tag", xml.leaf("Key", key), xml.leaf("Value", value)) for key, value in wanted.tags.items())
        + xml.leaf("ObjectSizeGreaterThan", wanted.larger_than)
        + xml.leaf("ObjectSizeLessThan", wanted.smaller_than)
    )
    return xml.node("Filter", xml.node("And", inner) if wanted.form == "and" else inner)
