"""Tag sets as headers and documents carry them, within S3's rules. Pure; for the tags of objects and of buckets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from moln_node.s3 import xml
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from xml.etree.ElementTree import Element

OBJECT_TAGS: Final = 10
BUCKET_TAGS: Final = 50
_KEY_LENGTH: Final = 128
_VALUE_LENGTH: Final = 256
_ALLOWED: Final = re.compile(r"[\w\s+\-=.:/@]*")


def _checked(pairs: Iterable[tuple[str, str]], limit: int) -> dict[str, str]:
    """The pairs as a tag set, within S3's rules."""
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not key or len(key) > _KEY_LENGTH or not _ALLOWED.fullmatch(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if len(value) > _VALUE_LENGTH or not _ALLOWED.fullmatch(value):
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", TagKey=key, TagValue=value)
        if key in tags:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key)
        tags[key] = value
    if len(tags) > limit:
        what = "Object" if limit == OBJECT_TAGS else "Bucket"
        raise S3Error("InvalidTag", f"{what} tags cannot be greater than {limit}")
    return tags


def parse_header(value: str) -> dict[str, str]:
    """The tag set of an x-amz-tagging header: `key=value&key=value`, percent-encoded."""
    try:
        pairs = parse_qsl(value, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError as error:
        raise S3Error(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name"
            " duplicates.",
            ArgumentName="x-amz-tagging",
            ArgumentValue=value,
        ) from error
    return _checked(pairs, OBJECT_TAGS)


def parse_document(root: Element, limit: int) -> dict[str, str]:
    """The tag set of a `<Tagging>` document."""
    tag_set = root.find("TagSet")
    if root.tag != "Tagging" or tag_set is None:
        raise S3Error("MalformedXML")
    return parse_tags(tag_set, limit)


def parse_tags(tag_set: Element, limit: int) -> dict[str, str]:
    """The `<Tag>` elements of a list of them."""
    pairs = []
    for tag in tag_set:
        key, value = xml.text_of(tag, "Key"), xml.text_of(tag, "Value")
        if tag.tag != "Tag" or key is None or value is None:
            raise S3Error("MalformedXML")
        pairs.append((key, value))
    return _checked(pairs, limit)


def document(tags: Mapping[str, str]) -> bytes:
    """A tag set as `<Tagging>`, in the order of its keys."""
    return xml.document(
        "Tagging",
        xml.node(
            "TagSet",
            *(xml.node("Tag", xml.leaf("Key", key), xml.leaf("Value", value)) for key, value in sorted(tags.items())),
        ),
    )
