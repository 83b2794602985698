"""XML documents in requests, held against the digests that their headers promise.

Called by the handlers that take a document where the x-amz-checksum headers speak of the document itself (not by
CompleteMultipartUpload, where they speak of the object).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from moln_node.s3 import checksums, xml
from moln_node.s3.digests import content_md5
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from moln_node.s3.call import Call


async def read_document(call: Call) -> Element:
    """The root of the body's XML; BadDigest if it is not what Content-MD5 or a checksum promised, MalformedXML."""
    promised_md5 = content_md5(call.headers.get("Content-MD5"))
    declared = checksums.declared(call.headers)
    data = await call.read()
    if promised_md5 is not None and promised_md5 != hashlib.md5(data, usedforsecurity=False).digest():
        raise S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")
    if declared is not None:
        hasher = declared.algorithm.new()
        hasher.update(data)
        declared.check(checksums.encode(hasher.digest()), call.trailers.get(declared.algorithm.header))
    if not data.strip():
        raise S3Error("MissingRequestBodyError")
    try:
        return xml.parse(data)
    except ValueError as error:
        raise S3Error("MalformedXML") from error
