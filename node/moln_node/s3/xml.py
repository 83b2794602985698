"""S3's XML: built as strings (listings are the hot path), parsed with no entities, no DTD and no namespaces to mind.

Called by every handler; touches nothing. Times are milliseconds since 1970.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
# What a parser would change or refuse: markup, the return that XML turns into a newline, and what XML 1.0 has no
# character for. S3 writes the latter as references too; clients that list such keys ask for encoding-type=url.
_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]')
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def _reference(match: re.Match[str]) -> str:
    character = match.group()
    return _ENTITIES.get(character) or f"&#{ord(character)};"


def escape(text: str) -> str:
    """Text as it stands between two tags."""
    return _SPECIAL.sub(_reference, text)


def can_hold(text: str) -> bool:
    """Whether XML 1.0 has every character of a text."""
    return _NO_CHARACTER.search(text) is None


def leaf(name: str, value: str | int | bool | None) -> str:  # noqa: FBT001 a value to be written, not a switch
    """`<name>value</name>`; booleans as true and false; nothing at all for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        value = "true" if value else "false"
    return f"<{name}>{_SPECIAL.sub(_reference, str(value))}</{name}>"


def node(name: str, *children: str, attributes: str = "") -> str:
    """An element around children that are XML already."""
    return f"<{name}{attributes}>{''.join(children)}</{name}>"


def document(name: str, *children: str, namespace: str = NAMESPACE) -> bytes:
    """A whole document around children that are XML already."""
    xmlns = f' xmlns="{namespace}"' if namespace else ""
    return f"{_DECLARATION}<{name}{xmlns}>{''.join(children)}</{name}>".encode("utf-8", "replace")


def parse(data: bytes) -> Element:
    """The root of a client's document, every tag without its namespace; ValueError if it isn't XML that we take."""
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        # LookupError: an encoding that Python does not know
        msg = "not well-formed XML"
        raise ValueError(msg) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def text_of(element: Element | None, name: str) -> str | None:
    """The text of a child, empty if it has none; None if there is no such child (or no element)."""
    child = None if element is None else element.find(name)
    return None if child is None else child.text or ""


def iso_time(ms: int) -> str:
    """A time as S3's XML has it: `2026-01-31T12:00:00.000Z`."""
    seconds, milliseconds = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def http_time(ms: int) -> str:
    """A time as HTTP's headers have it: `Sat, 31 Jan 2026 12:00:00 GMT`."""
    return _http_second(ms // 1000)


@lru_cache(maxsize=4096)
def _http_second(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
