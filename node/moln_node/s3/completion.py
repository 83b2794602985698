"""CompleteMultipartUpload: hold the client's list of parts against the parts that are there, and make them the object.

Called by the operation table. The checks are pure; the store decides once more, where the write is, that the parts are
still the ones that were checked.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.s3 import checksums, conditions, xml
from moln_node.s3.errors import S3Error
from moln_node.s3.lock.configuration import default_retention
from moln_node.s3.representation import quoted, written_version
from moln_node.s3.sse import cover as covers
from moln_node.store.errors import NoSuchUploadError
from moln_node.store.model import Checksum, Part, Sealed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    from moln_node.s3.call import Call
    from moln_node.store.model import Record, Upload

MIN_PART_BYTES: Final = 5 * 1024**2
MAX_PARTS: Final = 10_000
_PAGE: Final = 1000
_DIGEST: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Named:
    """A part as the client names it: `checksums` are those it gives, by algorithm."""

    number: int
    etag: str
    checksums: Mapping[str, str] = field(default_factory=dict)


async def complete_multipart_upload(call: Call) -> web.Response:
    """CompleteMultipartUpload."""
    named = parse_parts(call.parse_xml(await call.read()))
    upload_id = call.query["uploadId"]
    try:
        upload = await call.objects.upload(call.bucket, call.key, upload_id)
        parts = match_parts(named, await _parts(call, upload_id), upload)
        checksum = _checksum(upload, parts)
        size = sum(part.size for part in parts) if upload.attributes.encryption else None
        _check_declared(call, upload, checksum, parts)
        for name, part in zip(named, parts, strict=True):
            check_part_checksum(name, part, upload)
    except NoSuchUploadError:
        if not all(_DIGEST.fullmatch(part.etag) for part in named):
            raise
        # perhaps completed already, by a request whose answer was lost: the store knows
        parts, checksum, size = [Part(part.number, 0, part.etag, 0) for part in named], None, None
    record = await call.objects.complete_upload(
        call.bucket,
        call.key,
        upload_id,
        parts,
        Sealed(etag_of(parts), checksum, size),
        precondition=conditions.write_precondition(call.headers),
        retention=default_retention(call.bucket_record, call.settings.now()),
    )
    return web.Response(
        body=_result(call, record),
        content_type="application/xml",
        headers=written_version(record) | covers.shown(record.attributes.encryption, {}),
    )


def parse_parts(root: Element) -> list[Named]:
    """The parts of a `<CompleteMultipartUpload>` document; MalformedXML, InvalidPartOrder."""
    elements = root.findall("Part")
    if root.tag != "CompleteMultipartUpload" or not 1 <= len(elements) <= MAX_PARTS:
        raise S3Error("MalformedXML")
    named: list[Named] = []
    for element in elements:
        number, etag = xml.text_of(element, "PartNumber") or "", xml.text_of(element, "ETag")
        if etag is None or not (number.isascii() and number.isdigit() and len(number) <= len(str(MAX_PARTS))):
            raise S3Error("MalformedXML")
        given = {
            algorithm.name: text
            for algorithm in checksums.ALGORITHMS.values()
            if (text := xml.text_of(element, algorithm.element)) is not None
        }
        named.append(Named(int(number), etag.strip().strip('"'), given))
    if any(later.number < earlier.number for earlier, later in itertools.pairwise(named)):
        raise S3Error("InvalidPartOrder")
    return list({name.number: name for name in named}.values())  # of a part that was sent again, the last word counts


def match_parts(named: Sequence[Named], there: Mapping[int, Part], upload: Upload) -> list[Part]:
    """The parts that the client names, as they are there; InvalidPart, EntityTooSmall."""
    matched = []
    for position, name in enumerate(named, start=1):
        part = there.get(name.number)
        if part is None or part.etag != name.etag:
            raise S3Error("InvalidPart", PartNumber=name.number, UploadId=upload.id, ETag=name.etag)
        if position < len(named) and part.size < MIN_PART_BYTES:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=part.size,
                MinSizeAllowed=MIN_PART_BYTES,
                PartNumber=part.number,
                ETag=part.etag,
            )
        matched.append(part)
    return matched


def check_part_checksum(name: Named, part: Part, upload: Upload) -> None:
    """Hold the checksums that the client gives for a part, if any, against the part's own; InvalidPart."""
    own = part.checksum
    for algorithm, value in name.checksums.items():
        if own is not None and own.algorithm == algorithm and own.value != value.strip():
            raise S3Error("InvalidPart", PartNumber=name.number, UploadId=upload.id, ETag=name.etag)


def etag_of(parts: Sequence[Part]) -> str:
    """The etag of an object of parts: the MD5 of their MD5s, and how many there are."""
    try:
        digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    except ValueError as error:
        raise S3Error("InvalidPart") from error
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _checksum(upload: Upload, parts: Sequence[Part]) -> Checksum | None:
    """The object's checksum, from its parts'; of the kind the upload asked for, else of the kind the parts have."""
    if upload.checksum_algorithm:
        return checksums.of_parts(checksums.ALGORITHMS[upload.checksum_algorithm], upload.checksum_type, parts)
    first = parts[0].checksum
    if first is None:
        return None
    algorithm = checksums.ALGORITHMS[first.algorithm]
    whole = algorithm.allows(checksums.FULL_OBJECT)
    return checksums.of_parts(algorithm, checksums.FULL_OBJECT if whole else checksums.COMPOSITE, parts)


def _check_declared(call: Call, upload: Upload, checksum: Checksum | None, parts: Sequence[Part]) -> None:
    """Hold what the headers promise of the whole object against what its parts make."""
    asked_type = call.headers.get(checksums.TYPE_HEADER)
    if asked_type is not None and checksum is not None and asked_type.upper() != checksum.type:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type or checksum.type} checksum mode. The complete"
            " request must use the same checksum mode.",
        )
    promised_size, size = call.headers.get("x-amz-mp-object-size"), sum(part.size for part in parts)
    if promised_size is not None and promised_size.strip() != str(size):
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {promised_size} is not what the parts come to: {size}",
        )
    promise = checksums.of_object(call.headers)
    if promise is None:
        return
    algorithm, value = promise
    if checksum is None or checksum.algorithm != algorithm.name:
        raise S3Error(
            "InvalidRequest",
            f"The upload was not created using a {algorithm.name.lower()} checksum, so that there is none to compare.",
        )
    if checksum.value.partition("-")[0] != value:
        raise S3Error("BadDigest", f"The {algorithm.name} you specified did not match the calculated checksum.")


async def _parts(call: Call, upload_id: str) -> dict[int, Part]:
    """Every part of an upload, by number."""
    found: dict[int, Part] = {}
    after = 0
    while page := await call.objects.parts(call.bucket, call.key, upload_id, after=after, limit=_PAGE):
        found.update((part.number, part) for part in page)
        after = page[-1].number
    return found


def _result(call: Call, record: Record) -> bytes:
    host = call.headers.get("Host", "")
    checksum = record.checksum
    return xml.document(
        "CompleteMultipartUploadResult",
        xml.leaf("Location", f"{'https' if call.secure else 'http'}://{host}{call.target.path}"),
        xml.leaf("Bucket", call.bucket),
        xml.leaf("Key", call.key),
        xml.leaf("ETag", quoted(record.etag)),
        xml.leaf(f"Checksum{checksum.algorithm}", checksum.value) if checksum else "",
        xml.leaf("ChecksumType", checksum.type) if checksum else "",
    )
