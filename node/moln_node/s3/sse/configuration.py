"""A bucket's default encryption: GET, PUT and DELETE of `?encryption`, and what it means for a new object.

Handlers are called by the operation table, `default_of` by `cover`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error
from moln_node.s3.sse.envelope import Method
from moln_node.s3.sse.headers import Asked

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from moln_node.s3.call import Call
    from moln_node.store.model import Bucket

SETTING: Final = "encryption"
_ROOT: Final = "ServerSideEncryptionConfiguration"


class Default(msgspec.Struct, frozen=True):
    """The rule. `bucket_key` is given back as it came: data keys are wrapped here, so there are no calls to save."""

    method: Method
    key_id: str = ""
    bucket_key: bool | None = None


def default_of(bucket: Bucket) -> Asked | None:
    """How objects are encrypted that do not ask for anything."""
    text = bucket.settings.get(SETTING)
    if text is None:
        return None
    rule = msgspec.json.decode(text, type=Default)
    return Asked(rule.method, rule.key_id)


async def get_encryption(call: Call) -> web.Response:
    """GetBucketEncryption."""
    text = call.bucket_record.settings.get(SETTING)
    if text is None:
        raise S3Error("ServerSideEncryptionConfigurationNotFoundError", BucketName=call.bucket)
    rule = msgspec.json.decode(text, type=Default)
    default = xml.node(
        "ApplyServerSideEncryptionByDefault",
        xml.leaf("SSEAlgorithm", rule.method.value),
        xml.leaf("KMSMasterKeyID", rule.key_id or None),
    )
    body = xml.document(_ROOT, xml.node("Rule", default, xml.leaf("BucketKeyEnabled", rule.bucket_key)))
    return web.Response(body=body, content_type="application/xml")


async def put_encryption(call: Call) -> web.Response:
    """PutBucketEncryption: for objects that come from now on; a master key that is named need not be there yet."""
    rule = parse(await read_document(call))
    if rule.method is Method.MASTER and call.keyring.active_master_key is None:
        raise S3Error("NotImplemented", "The cloud has no master key to encrypt objects under: give it one first.")
    await call.objects.set_bucket(call.bucket, settings={SETTING: msgspec.json.encode(rule).decode()})
    return web.Response()


async def delete_encryption(call: Call) -> web.Response:
    """DeleteBucketEncryption: objects that are there stay encrypted."""
    await call.objects.set_bucket(call.bucket, settings={SETTING: None})
    return web.Response(status=204)


def parse(root: Element) -> Default:
    """The one rule of a `<ServerSideEncryptionConfiguration>`; MalformedXML, InvalidArgument, NotImplemented."""
    rules = root.findall("Rule")
    if root.tag != _ROOT or len(rules) != 1:
        raise S3Error("MalformedXML")
    default = rules[0].find("ApplyServerSideEncryptionByDefault")
    name, key_id = xml.text_of(default, "SSEAlgorithm"), xml.text_of(default, "KMSMasterKeyID") or ""
    if name == "aws:kms:dsse" or rules[0].find("BlockedEncryptionTypes") is not None:
        raise S3Error("NotImplemented", "moln does neither aws:kms:dsse nor blocked encryption types.")
    if name not in {Method.MASTER, Method.NAMED}:
        raise S3Error("MalformedXML")
    if key_id and name != Method.NAMED:
        raise S3Error("InvalidArgument", "a KMSMasterKeyID is only applicable if the default algorithm is aws:kms")
    if name == Method.NAMED and not key_id:
        raise S3Error("InvalidArgument", "There is no default key for aws:kms: name a master key in KMSMasterKeyID.")
    bucket_key = xml.text_of(rules[0], "BucketKeyEnabled")
    if bucket_key not in {None, "true", "false"}:
        raise S3Error("MalformedXML")
    return Default(Method(name), key_id, None if bucket_key is None else bucket_key == "true")
