"""Query parameters that listings share: counts, encodings, markers. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from moln_node.s3 import xml
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGE: Final = 1000
_MAX_INT: Final = 2**31 - 1
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~/*-]*")  # what stands for itself: most keys, and quote is slow


def page_size(query: Mapping[str, str], name: str, most: int = PAGE) -> int:
    """How many entries a page may have: what the client asks for, at most `most`; InvalidArgument."""
    return min(number(query, name, most), most)


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """A parameter that counts, `default` where it is absent or empty; InvalidArgument."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_INT):
        raise S3Error(
            "InvalidArgument",
            f"Provided {name} not an integer or within integer range",
            ArgumentName=name,
            ArgumentValue=text,
        )
    return int(text)


def encoder(query: Mapping[str, str]) -> Callable[[str], str]:
    """How a listing writes keys into its XML: escaped, or percent-encoded where `encoding-type=url` asks for it."""
    encoding = query.get("encoding-type")
    if encoding is None or not encoding:
        return xml.escape
    if encoding != "url":
        raise S3Error(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            ArgumentName="encoding-type",
            ArgumentValue=encoding,
        )
    return url_encoded


def url_encoded(text: str) -> str:
    """A key as listings write it under `encoding-type=url`: a space is %20, which every decoder reads, not `+`."""
    return text if _PLAIN.fullmatch(text) else quote(text, safe="/*")
