"""Cross-origin requests: the bucket's rules, the preflight, and the headers that answers to other origins carry.

Rules are kept in the bucket's settings as the JSON list that `_dump` writes. Handlers are called by the operation
table, `headers_for` by `moln_node.s3.app` on every request with an Origin.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error
from moln_node.s3.policy.patterns import compile_pattern

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

    from moln_node.s3.call import Call
    from moln_node.store.model import Bucket

METHODS = ("GET", "PUT", "HEAD", "POST", "DELETE")
_MOST_RULES = 100
_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: which origins may use which methods and headers, and which headers their scripts may read."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age: int | None = None
    id: str = ""

    def origin(self, origin: str) -> str | None:
        """What Access-Control-Allow-Origin says to this origin; None if the rule is not for it."""
        if "*" in self.origins:
            return "*"
        return origin if any(_pattern(allowed).match(origin) for allowed in self.origins) else None

    def takes_headers(self, names: tuple[str, ...]) -> bool:
        """Whether every one of these request headers is allowed."""
        return all(any(_pattern(allowed).match(name) for allowed in self.headers) for name in names)


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return compile_pattern(text, ignore_case=True)


@lru_cache(maxsize=1024)
def load_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a bucket's `cors` setting."""
    return tuple(
        Rule(
            tuple(rule["origins"]),
            tuple(rule["methods"]),
            tuple(rule["headers"]),
            tuple(rule["expose"]),
            rule["max_age"],
            rule["id"],
        )
        for rule in json.loads(text)
    )


def _dump(rules: tuple[Rule, ...]) -> str:
    return json.dumps([asdict(rule) for rule in rules], separators=(",", ":"))


def match(rules: tuple[Rule, ...], origin: str, method: str, names: tuple[str, ...]) -> tuple[Rule, str] | None:
    """The first rule for this origin, method and request headers, with the origin to answer."""
    for rule in rules:
        allowed = rule.origin(origin)
        if allowed is not None and method in rule.methods and rule.takes_headers(names):
            return rule, allowed
    return None


def _requested_headers(headers: Mapping[str, str]) -> tuple[str, ...]:
    text = headers.get("Access-Control-Request-Headers", "")
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _answer(rule: Rule, allowed: str) -> dict[str, str]:
    headers = {
        "Access-Control-Allow-Origin": allowed,
        "Access-Control-Allow-Methods": ", ".join(rule.methods),
        "Vary": _VARY,
    }
    if allowed != "*":
        headers["Access-Control-Allow-Credentials"] = "true"
    if rule.expose:
        headers["Access-Control-Expose-Headers"] = ", ".join(rule.expose)
    if rule.max_age is not None:
        headers["Access-Control-Max-Age"] = str(rule.max_age)
    return headers


def headers_for(bucket: Bucket, method: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer to a request with an Origin: none where no rule allows it."""
    rules = load_rules(bucket.settings.get("cors", "[]"))
    found = match(rules, headers["Origin"], headers.get("Access-Control-Request-Method", method), ())
    return _answer(*found) if found else {}


async def preflight(call: Call) -> web.Response:
    """OPTIONS: may a script of this origin send this request? 200 or 403, whoever asks."""
    origin, method = call.headers.get("Origin"), call.headers.get("Access-Control-Request-Method")
    if origin is None:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    if method not in METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'none'}")
    text = call.bucket_record.settings.get("cors")
    if text is None:
        raise S3Error("AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.")
    names = _requested_headers(call.headers)
    found = match(load_rules(text), origin, method, names)
    if found is None:
        raise S3Error(
            "AccessForbidden",
            "CORSResponse: This CORS request is not allowed: no rule of the bucket has this Origin, "
            "Access-Control-Request-Method and all of the Access-Control-Request-Headers.",
        )
    headers = _answer(*found)
    if names:
        headers["Access-Control-Allow-Headers"] = ", ".join(names)
    return web.Response(headers=headers)


async def get_cors(call: Call) -> web.Response:
    """GetBucketCors."""
    text = call.bucket_record.settings.get("cors")
    if text is None:
        raise S3Error("NoSuchCORSConfiguration", BucketName=call.bucket)
    body = xml.document("CORSConfiguration", *(_element(rule) for rule in load_rules(text)))
    return web.Response(body=body, content_type="application/xml")


def _element(rule: Rule) -> str:
    return xml.node(
        "CORSRule",
        xml.leaf("ID", rule.id or None),
        *(xml.leaf("AllowedOrigin", origin) for origin in rule.origins),
        *(xml.leaf("AllowedMethod", method) for method in rule.methods),
        *(xml.leaf("AllowedHeader", header) for header in rule.headers),
        *(xml.leaf("ExposeHeader", header) for header in rule.expose),
        xml.leaf("MaxAgeSeconds", rule.max_age),
    )


async def put_cors(call: Call) -> web.Response:
    """PutBucketCors."""
    root = await read_document(call)
    rules = tuple(_rule(element) for element in root.findall("CORSRule"))
    if root.tag != "CORSConfiguration" or not rules:
        raise S3Error("MalformedXML")
    if len(rules) > _MOST_RULES:
        raise S3Error("InvalidRequest", f"The number of CORS rules should not exceed allowed limit of {_MOST_RULES}.")
    await call.objects.set_bucket(call.bucket, settings={"cors": _dump(rules)})
    return web.Response()


def _texts(element: Element, name: str) -> tuple[str, ...]:
    return tuple((child.text or "").strip() for child in element.findall(name))


def _rule(element: Element) -> Rule:
    origins, methods = _texts(element, "AllowedOrigin"), _texts(element, "AllowedMethod")
    if not origins or not methods:
        raise S3Error("MalformedXML")
    for method in methods:
        if method not in METHODS:
            raise S3Error(
                "InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            )
    headers = _texts(element, "AllowedHeader")
    for name, values in (("AllowedOrigin", origins), ("AllowedHeader", headers)):
        for value in values:
            if value.count("*") > 1:
                raise S3Error("InvalidRequest", f'{name} "{value}" can not have more than one wildcard.')
    expose = _texts(element, "ExposeHeader")
    if any("*" in value for value in expose):
        raise S3Error("InvalidRequest", "ExposeHeader contains wildcard. We currently do not support wildcard for it.")
    age = xml.text_of(element, "MaxAgeSeconds")
    if age is not None and not (age.strip().isascii() and age.strip().isdigit() and len(age) < 10):
        raise S3Error("MalformedXML")
    return Rule(origins, methods, headers, expose, None if age is None else int(age), xml.text_of(element, "ID") or "")


async def delete_cors(call: Call) -> web.Response:
    """DeleteBucketCors."""
    await call.objects.set_bucket(call.bucket, settings={"cors": None})
    return web.Response(status=204)
