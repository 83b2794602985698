"""AWS Signature Version 4, the pure part: canonical requests, strings to sign, and the parts of a credential.

Called by `authenticate` and by POST forms; no clock, no keys of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from multidict import CIMultiDictProxy

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_SAFE = "-_.~"
_SPACES = re.compile(" {2,}")
_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """A credential: whose key, and for which day, region and service it signs."""

    access_key: str
    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@lru_cache(maxsize=256)  # a client says the same in all its requests of a day
def parse_credential(credential: str) -> Scope:
    """Read `key/date/region/service/aws4_request`; ValueError with a sentence."""
    pieces = credential.rsplit("/", 4)
    if len(pieces) != 5 or not pieces[0]:
        msg = 'it must have the form "<access key>/YYYYMMDD/REGION/SERVICE/aws4_request"'
        raise ValueError(msg)
    access_key, date, region, service, terminal = pieces
    if not (len(date) == 8 and date.isascii() and date.isdigit()):
        msg = f'incorrect date format "{date}": this date in the credential must be in the format "yyyyMMdd"'
        raise ValueError(msg)
    if service != "s3":
        msg = f'incorrect service "{service}": this endpoint belongs to "s3"'
        raise ValueError(msg)
    if terminal != "aws4_request":
        msg = f'incorrect terminal "{terminal}": this endpoint uses "aws4_request"'
        raise ValueError(msg)
    return Scope(access_key, date, region, service)


@lru_cache(maxsize=64)  # many requests are signed in the same second
def parse_date(text: str) -> datetime | None:
    """A time of the form `20260131T120000Z`; None if it isn't one."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def canonical_path(path: str) -> str:
    """The path as S3 signs it: encoded once, nothing normalised, slashes kept."""
    return quote(unquote_to_bytes(path.encode("utf-8", "surrogateescape")), safe="/" + _SAFE)


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The query as it is signed: every name and value encoded, sorted, without the signature itself."""
    encoded = [
        (quote(name, safe=_SAFE), quote(value, safe=_SAFE)) for name, value in pairs if name != "X-Amz-Signature"
    ]
    encoded.sort()
    return "&".join([f"{name}={value}" for name, value in encoded])


def canonical_headers(headers: CIMultiDictProxy[str], signed: Iterable[str], replaced: Mapping[str, str]) -> str:
    """The signed headers, one a line: names in lower case, spaces folded; `replaced` values win over those sent."""
    lines = []
    for name in signed:
        value = replaced.get(name)
        if value is None:
            values = headers.getall(name, ())
            value = values[0] if len(values) == 1 else ",".join([each.strip() for each in values])
        value = value.strip()
        if "  " in value:
            value = _SPACES.sub(" ", value)
        lines.append(f"{name}:{value}\n")
    return "".join(lines)


def string_to_sign(amz_date: str, scope: Scope, canonical_request: str) -> str:
    """What the signature is over."""
    digest = hashlib.sha256(canonical_request.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{ALGORITHM}\n{amz_date}\n{scope}\n{digest}"


def sign(signing_key: hmac.HMAC, text: str) -> str:
    """The signature of a string, in hexadecimal. The key is copied: a one-shot digest costs three times as much."""
    signature = signing_key.copy()
    signature.update(text.encode("utf-8", "surrogateescape"))
    return signature.hexdigest()


def equal(ours: str, theirs: str) -> bool:
    """Compare signatures in a time that does not depend on where they differ."""
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "surrogateescape"))
