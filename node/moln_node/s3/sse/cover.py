"""The cover of one object's bytes: what encrypts them on their way in and decrypts them on their way out, if anything.

`for_write`, `for_part` and `for_read` make it from the request, the bucket's default and what the record keeps; the
handlers of `writing`, `copy`, `multipart`, `post_object` and `reading` put it between the client and the store, so that
nothing behind this room sees a plain byte of an encrypted object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moln_node.cluster.errors import UnavailableError
from moln_node.s3.errors import S3Error
from moln_node.s3.sse import configuration, envelope, frames, headers
from moln_node.s3.sse.envelope import Method
from moln_node.s3.sse.headers import CUSTOMER, KMS_KEY, METHOD
from moln_node.store.model import Sealed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from moln_node.cluster.objects import Reading
    from moln_node.s3.auth.keyring import Keyring
    from moln_node.s3.call import Call
    from moln_node.s3.digests import BodyDigest
    from moln_node.s3.sse.envelope import Envelope
    from moln_node.store.model import Bucket, Record, Upload
    from moln_node.store.reading import FileBytes


@dataclass(frozen=True, slots=True)
class Cover:
    """How one object's bytes are covered. `text` is for its record; without an envelope they are left as they are."""

    text: str = ""
    envelope: Envelope | None = None
    data_key: bytes = field(default=b"", repr=False)

    def size(self, size: int) -> int:
        """How many bytes the store gets for a body of `size`."""
        return size if self.envelope is None else frames.sealed_size(size)

    def body(self, blocks: AsyncIterator[bytes], part: int = 0) -> AsyncIterator[bytes]:
        """A body on its way to the store; `part` is its number in an upload."""
        return blocks if self.envelope is None else frames.seal(blocks, self.data_key, part)

    def sealed(self, digest: BodyDigest, size: int, part: int = 0) -> Sealed:
        """What is known of a body of `size` when it has passed: the etag is the MD5 only where S3 has it so."""
        if self.envelope is None:
            return Sealed(digest.etag, digest.checksum)
        plain = self.envelope.method is Method.MASTER
        etag = digest.etag if plain else envelope.masked_etag(self.data_key, digest.md5, part)
        return Sealed(etag, digest.checksum, size)

    def read(self, reading: Reading, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of an opened object from `start` up to, not including, `end`; CorruptError."""
        return reading.read(start, end) if self.envelope is None else self._unsealed(reading, self.envelope, start, end)

    def pieces(self, reading: Reading, start: int, end: int) -> AsyncIterator[bytes | FileBytes]:
        """As `read`; what lies in a file as it is to be sent stays there."""
        return reading.pieces(start, end) if self.envelope is None else self.read(reading, start, end)

    async def _unsealed(self, reading: Reading, sealed: Envelope, start: int, end: int) -> AsyncIterator[bytes]:
        record = reading.record
        if sealed.multipart and not record.parts:
            raise UnavailableError("which parts the object has cannot be read now")
        bodies = [(part.number, part.size) for part in record.parts] or [(0, record.size)]
        base = position = 0
        for number, size in bodies:
            span = range(max(start - position, 0), min(end - position, size))
            async for block in frames.unseal(reading.read, base, size, self.data_key, number, span):
                yield block
            base += frames.sealed_size(size)
            position += size


def for_write(
    keyring: Keyring, asking: Mapping[str, str], bucket: Bucket, key: str, *, multipart: bool = False
) -> Cover:
    """The cover of a new object, as its headers (or a form's fields) ask, else as the bucket has it; S3Error."""
    asked = headers.asked(asking) or configuration.default_of(bucket)
    if asked is None:
        return Cover()
    key_id, wrapping = asked.key_id, asked.customer_key
    if asked.method is not Method.CUSTOMER:
        key_id, wrapping = _master_for(keyring, key_id)
    made, data_key = envelope.wrap(asked.method, key_id, wrapping, bucket.name, key, multipart=multipart)
    return Cover(envelope.write(made), made, data_key)


def for_part(call: Call, upload: Upload) -> Cover:
    """The cover of a part: that of its upload. The customer's key comes with every part; S3Error."""
    text = upload.attributes.encryption
    customer_key = headers.key_of_customer(call.headers, CUSTOMER)
    method = envelope.read(text).method if text else None
    if method in {None, Method.CUSTOMER}:  # else clients may say once more what the upload has already settled
        headers.refuse_method(call.headers)
    if customer_key is not None and method is not Method.CUSTOMER:
        raise S3Error("InvalidRequest", "The upload was not created with a customer provided key.")
    if customer_key is None and method is Method.CUSTOMER:
        raise S3Error(
            "InvalidRequest",
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate"
            " encryption parameters.",
        )
    return _opened(call.keyring, text, upload.bucket, upload.key, customer_key)


def for_read(call: Call, record: Record, prefix: str = CUSTOMER) -> Cover:
    """The cover of an object that is to be read, with the customer's key under `prefix` where it needs one; S3Error."""
    customer_key = check_read(call, record, prefix)
    return _opened(call.keyring, record.attributes.encryption, record.bucket, record.key, customer_key)


def for_facts(call: Call, record: Record) -> None:
    """Whether facts about an object may be told: S3 wants the customer's key for these too, and no other; S3Error."""
    if check_read(call, record, CUSTOMER) is not None:
        for_read(call, record)


def check_read(call: Call, record: Record, prefix: str) -> bytes | None:
    """The customer's key, where the object has one and the request brings one; InvalidRequest where only one does."""
    if prefix == CUSTOMER:
        headers.refuse_method(call.headers)
    customer_key = headers.key_of_customer(call.headers, prefix)
    text = record.attributes.encryption
    method = envelope.read(text).method if text else None
    if customer_key is not None and method is not Method.CUSTOMER:
        raise S3Error("InvalidRequest", "The encryption parameters are not applicable to this object.")
    if customer_key is None and method is Method.CUSTOMER:
        raise S3Error(
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to"
            " retrieve the object.",
        )
    return customer_key


def shown(text: str, asking: Mapping[str, str]) -> dict[str, str]:
    """The headers that tell of an object's encryption; a customer's key is told by the MD5 that came with it."""
    if not text:
        return {}
    found = envelope.read(text)
    if found.method is not Method.CUSTOMER:
        return {METHOD: found.method.value} | ({KMS_KEY: found.key} if found.method is Method.NAMED else {})
    md5 = asking.get(f"{CUSTOMER}key-md5")
    return {} if md5 is None else {f"{CUSTOMER}algorithm": Method.MASTER.value, f"{CUSTOMER}key-MD5": md5}


def _master_for(keyring: Keyring, key_id: str) -> tuple[str, bytes]:
    """The master key to encrypt a new object under: the one that is named, else the active one; S3Error."""
    found = keyring.master_key(key_id) if key_id else keyring.active_master_key
    if found is not None:
        return found
    if key_id:
        raise S3Error("KMS.NotFoundException", f"The cloud has no master key {key_id!r}.")
    raise S3Error(
        "NotImplemented",
        "The cloud has no master key to encrypt objects under: give it one, use customer provided keys, or do not ask"
        " for encryption.",
    )


def _opened(keyring: Keyring, text: str, bucket: str, key: str, customer_key: bytes | None) -> Cover:
    """The cover that a record or an upload was written with."""
    if not text:
        return Cover()
    found = envelope.read(text)
    wrapping = customer_key
    if found.method is not Method.CUSTOMER:
        master = keyring.master_key(found.key)
        if master is None:
            raise S3Error(
                "ServiceUnavailable",
                f"The object is encrypted under the master key {found.key!r}, which the cloud has not: give it back.",
            )
        wrapping = master[1]
    try:
        return Cover(text, found, envelope.unwrap(found, wrapping or b"", bucket, key))
    except envelope.WrongKeyError:
        if found.method is Method.CUSTOMER:
            raise S3Error(
                "InvalidRequest", "The provided encryption parameters did not match the ones used originally."
            ) from None
        raise S3Error(
            "InternalError", "The data key of the object does not open with its master key, so it is not served."
        ) from None
