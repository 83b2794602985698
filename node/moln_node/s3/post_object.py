"""PostObject: a browser's upload by form, which carries a signature and a policy. Called by the operation table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from aiohttp import web
from multidict import CIMultiDict

from moln_node.s3 import checksums, tag_set, xml
from moln_node.s3.acl import ownership
from moln_node.s3.auth.form import authenticate_form
from moln_node.s3.auth.source import Source
from moln_node.s3.digests import BodyDigest, content_md5
from moln_node.s3.errors import S3Error
from moln_node.s3.form import Form, boundary_of
from moln_node.s3.lock import headers as locks
from moln_node.s3.names import check_key
from moln_node.s3.post_policy import read_policy
from moln_node.s3.request_attributes import checked_class, describe
from moln_node.s3.sse import cover as covers
from moln_node.s3.writing import MAX_PUT_BYTES, finished
from moln_node.store.model import Attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.s3.call import Call
    from moln_node.store.model import Record, Sealed


async def post_object(call: Call) -> web.Response:
    """PostObject: authenticate the form, hold it against its policy, and store its file."""
    boundary = boundary_of(call.headers.get("Content-Type", ""))
    length = call.size
    if length is None:
        raise S3Error("MissingContentLength")
    form = Form(Source(call.request.content, call.settings.body_idle, call.expectation.meet), boundary, length)
    await form.read_fields()
    key = _key(form)
    call.authentication = replace(
        call.authentication, identity=authenticate_form(form.fields, call.keyring, call.settings.now())
    )
    if "policy" in form.fields:
        asked = {**form.fields, "key": key, "bucket": call.bucket}
        read_policy(form.fields["policy"]).enforce(asked, form.size, call.settings.now())
    headers = _headers(form.fields)
    tags = _tags(call, form.fields)
    await call.authorise("s3:PutObject", call.bucket, key, headers=headers, tags=tags)
    record = await _store(call, form, key, headers, tags)
    return _answer(call, headers, record)


def _key(form: Form) -> str:
    if "key" not in form.fields:
        raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'key'.", ArgumentName="key")
    key = form.fields["key"].replace("${filename}", form.file_name)
    check_key(key)
    return key


def _headers(fields: Mapping[str, str]) -> CIMultiDict[str]:
    """The fields as the headers of a put would say the same."""
    headers = CIMultiDict(fields)
    if "acl" in headers:
        headers["x-amz-acl"] = headers["acl"]
    return headers


def _tags(call: Call, fields: Mapping[str, str]) -> Mapping[str, str] | None:
    text = fields.get("tagging")
    return None if text is None else tag_set.parse_document(call.parse_xml(text.encode()), tag_set.OBJECT_TAGS)


async def _store(call: Call, form: Form, key: str, headers: CIMultiDict[str], tags: Mapping[str, str] | None) -> Record:
    if form.size > MAX_PUT_BYTES:
        raise S3Error("EntityTooLarge", ProposedSize=form.size, MaxSizeAllowed=MAX_PUT_BYTES)
    described = describe(headers)
    owned = ownership.for_object(call, headers)
    cover = covers.for_write(call.keyring, headers, call.bucket_record, key)
    lock = await locks.for_write(call, headers, key)
    declared = checksums.declared(headers)
    md5 = content_md5(headers.get("Content-MD5"))
    digest = BodyDigest(declared.algorithm if declared else checksums.ALGORITHMS[checksums.DEFAULT_ALGORITHM])

    async def seal() -> Sealed:
        digest.check_md5(md5)
        if declared is not None:
            declared.check(digest.checksum.value, None)
        return cover.sealed(digest, form.size)

    return await call.objects.put(
        call.bucket,
        key,
        Attributes(
            owned.owner,
            described.headers,
            described.metadata,
            tags or described.tags or {},
            owned.acl,
            cover.text,
            lock,
        ),
        cover.body(digest.passing(form.file())),
        size=cover.size(form.size),
        seal=seal,
        storage_class=checked_class(described.storage_class, call.bucket, key, call.objects.assign),
    )


def _is_page(url: str) -> bool:
    """Whether a browser can be sent there; S3 ignores what is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return url.isprintable() and parts.scheme in {"http", "https"} and bool(parts.netloc)


def _answer(call: Call, fields: CIMultiDict[str], record: Record) -> web.Response:
    """204, or what the form asks for: another page, 200, or 201 with a document."""
    headers = finished(call.bucket_record, record, fields)
    location = f"{call.origin}/{quote(call.bucket)}/{quote(record.key)}"
    redirect = fields.get("success_action_redirect") or fields.get("redirect") or ""
    if _is_page(redirect):
        query = urlencode({"bucket": call.bucket, "key": record.key, "etag": f'"{record.etag}"'}, quote_via=quote)
        return web.Response(
            status=303, headers={**headers, "Location": f"{redirect}{'&' if '?' in redirect else '?'}{query}"}
        )
    status = {"200": 200, "201": 201}.get(fields.get("success_action_status", ""), 204)
    headers["Location"] = location
    if status != 201:
        return web.Response(status=status, headers=headers)
    body = xml.document(
        "PostResponse",
        xml.leaf("Location", location),
        xml.leaf("Bucket", call.bucket),
        xml.leaf("Key", record.key),
        xml.leaf("ETag", headers["ETag"]),
        namespace="",
    )
    return web.Response(status=201, headers=headers, body=body, content_type="application/xml")
