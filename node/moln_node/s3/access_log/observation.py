"""What an access log is told of one answered request, from the request and its answer. Called by `moln_node.s3.app`."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from moln_node.s3.access_log.configuration import SETTING
from moln_node.s3.access_log.line import Entry
from moln_node.s3.auth import sigv2, sigv4

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from moln_node.s3.auth.authenticate import Authentication
    from moln_node.s3.call import Touched
    from moln_node.s3.target import Target
    from moln_node.store.model import Bucket

_SIGNATURES: Final[Mapping[str, str]] = {sigv2.ALGORITHM: "SigV2", sigv4.ALGORITHM: "SigV4"}


def is_logged(bucket: Bucket) -> bool:
    """Whether requests to the bucket are logged."""
    return SETTING in bucket.settings


def sent_bytes(response: web.StreamResponse) -> int:
    """How many bytes of a body an answer has, without its headers (aiohttp's own count has both)."""
    length = response.content_length
    if length is None:
        return response.body_length if response.prepared else 0
    return length


def entry_of(
    request: web.BaseRequest,
    response: web.StreamResponse,
    target: Target,
    bucket: Bucket,
    authentication: Authentication | None,
    *,
    moment: float,
    seconds: float,
    remote: str,
    host: str,
    error: str,
) -> Entry:
    """The entry; `authentication` is None where the request was refused before anybody knew who sent it."""
    signer = None if authentication is None or authentication.identity.anonymous else authentication
    sent = sent_bytes(response)
    cipher, version = _tls(request)
    return Entry(
        owner=bucket.owner,
        bucket=bucket.name,
        moment=moment,
        remote=remote,
        requester="" if signer is None else signer.identity.id,
        request_id=response.headers.get("x-amz-request-id", "-"),
        host_id=response.headers.get("x-amz-id-2", "-"),
        method=request.method,
        key=target.key,
        query=target.query,
        copies="x-amz-copy-source" in request.headers,
        request_uri=request.raw_path,
        status=response.status,
        error=error,
        sent=0 if request.method == "HEAD" else sent,
        object_size=_object_size(request, response) if target.key and not error else None,
        seconds=seconds,
        referrer=request.headers.get("Referer", ""),
        user_agent=request.headers.get("User-Agent", ""),
        signature_version="" if signer is None else _SIGNATURES[signer.algorithm],
        auth_type="" if signer is None else "QueryString" if signer.presigned else "AuthHeader",
        host=host,
        cipher=cipher,
        tls_version=version,
    )


def also(entry: Entry, touched: Touched) -> Entry:
    """The entry of what a request touched besides, by the one of the request itself."""
    return replace(
        entry,
        owner=touched.bucket.owner,
        bucket=touched.bucket.name,
        key=touched.key,
        query={} if touched.version_id is None else {"versionId": touched.version_id},
        what=touched.what,
        status=touched.status or entry.status,
        error=touched.error if touched.status else entry.error,
        sent=0,
        object_size=None,
    )


def _object_size(request: web.BaseRequest, response: web.StreamResponse) -> int | None:
    """The size of the whole object that was read or written, as far as the headers tell."""
    if request.method == "PUT":
        text = request.headers.get("x-amz-decoded-content-length") or request.headers.get("Content-Length") or ""
    else:
        whole = (response.headers.get("Content-Range") or "").rpartition("/")[2]
        text = whole or response.headers.get("Content-Length") or ""
    return int(text) if text.isascii() and text.isdigit() else None


def _tls(request: web.BaseRequest) -> tuple[str, str]:
    """Cipher and version of the connection; empty where it has none."""
    connection = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    if not isinstance(connection, ssl.SSLObject):
        return "", ""
    cipher = connection.cipher()
    return "" if cipher is None else cipher[0], connection.version() or ""
