"""Any sequence of operations agrees with a model of S3 in thirty lines of dictionaries."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from tests.node.store.harness import BUCKET, CLASSES, OWNER, Node, Notes, cloud_map, etag, files, get, put, put_part

from moln_node.cluster import maintenance
from moln_node.store.errors import (
    IsDeleteMarkerError,
    NoSuchKeyError,
    NoSuchUploadError,
    NoSuchVersionError,
    PreconditionFailedError,
    QuotaExceededError,
)
from moln_node.store.model import Bucket, Deleted, Kind, Precondition, Sealed, Usage, Versioning

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")
KEYS = st.sampled_from(["a", "a/b", "b", "é\n"])
SIZES = st.sampled_from([0, 1, 3000, 66_000, 300_000])
STORAGE_CLASSES = st.sampled_from([c.name for c in CLASSES])
CONDITIONS = st.sampled_from(
    [None, None, Precondition(if_none_match="*"), Precondition(if_match="*"), Precondition(if_match=etag(b""))]
)
QUOTA = 1_000_000


@dataclass(frozen=True)
class Version:
    """A version as the model has it: newest first in a key's list."""

    id: str
    data: bytes | None
    tags: str = ""


class Store(RuleBasedStateMachine):
    """One bucket, driven through every operation that changes something."""

    uploads: Bundle[tuple[str, str]] = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.data = Path(self.directory.name)
        self.objects = self.run(Node.start(self.data, cloud_map()))
        self.versioning = Versioning.OFF
        self.keys: dict[str, list[Version]] = {}
        self.parts: dict[tuple[str, str], dict[int, bytes]] = {}
        self.seed = 0

    def run(self, work: Awaitable[T]) -> T:
        """Wait for something asynchronous."""

        async def wait() -> T:
            return await asyncio.wait_for(work, 30)

        return self.loop.run_until_complete(wait())

    @initialize()
    def make_bucket(self) -> None:
        """The bucket that everything is in."""
        self.run(self.objects.create_bucket(Bucket(BUCKET, "me", 1, quota_bytes=QUOTA)))

    def fresh(self, size: int) -> bytes:
        """Bytes that no other object has."""
        self.seed += 1
        return (b"%d " % self.seed * (size // 2 + 1))[:size]

    def held(self) -> int:
        """Bytes that count against the quota."""
        objects = sum(len(v.data or b"") for versions in self.keys.values() for v in versions)
        return objects + sum(len(p) for parts in self.parts.values() for p in parts.values())

    def newest(self, key: str) -> Version | None:
        """What a plain get would give."""
        versions = self.keys.get(key, [])
        return versions[0] if versions and versions[0].data is not None else None

    def add(self, key: str, version_id: str, data: bytes | None) -> None:
        """A new newest version, in place of the null version if it is null itself."""
        rest = [v for v in self.keys.get(key, []) if v.id != version_id]
        self.keys[key] = [Version(version_id, data), *rest]

    def refusal(self, key: str, condition: Precondition | None) -> type[Exception] | None:
        """What a write under that condition must raise."""
        there = self.newest(key)
        if condition is None:
            return None
        if condition.if_none_match:
            return PreconditionFailedError if there else None
        if there is None:
            return NoSuchKeyError
        matches = condition.if_match in ("*", etag(there.data or b""))
        return None if matches else PreconditionFailedError

    @rule(key=KEYS, size=SIZES, storage_class=STORAGE_CLASSES, condition=CONDITIONS)
    def put_object(self, key: str, size: int, storage_class: str, condition: Precondition | None) -> None:
        """Put, under a condition or none."""
        data = self.fresh(size)
        expected = QuotaExceededError if self.held() + size > QUOTA else self.refusal(key, condition)
        if expected is not None:
            with pytest.raises(expected):
                self.run(put(self.objects, key, data, storage_class=storage_class, precondition=condition))
            return
        record = self.run(put(self.objects, key, data, storage_class=storage_class, precondition=condition))
        assert (record.version_id == "null") == (self.versioning is not Versioning.ENABLED)
        self.add(key, record.version_id, data)

    @rule(key=KEYS)
    def delete_object(self, key: str) -> None:
        """Delete as the bucket's versioning has it."""
        deleted = self.run(self.objects.delete(BUCKET, key, owner="me"))
        if self.versioning is Versioning.OFF:
            assert deleted == Deleted(None, delete_marker=False)
            self.keys.pop(key, None)
        else:
            assert deleted.delete_marker
            assert deleted.version_id is not None
            self.add(key, deleted.version_id, None)

    @rule(key=KEYS, index=st.integers(0, 5))
    def delete_version(self, key: str, index: int) -> None:
        """Drop one version, or one that is not there."""
        versions = self.keys.get(key, [])
        if index < len(versions):
            gone = versions[index]
            deleted = self.run(self.objects.delete(BUCKET, key, gone.id))
            assert deleted == Deleted(gone.id, delete_marker=gone.data is None)
            self.keys[key] = [v for v in versions if v is not gone]
        else:
            assert self.run(self.objects.delete(BUCKET, key, "0" * 20)) == Deleted(None, delete_marker=False)

    @rule(versioning=st.sampled_from([Versioning.ENABLED, Versioning.SUSPENDED]))
    def set_versioning(self, versioning: Versioning) -> None:
        """On or suspended; never off again, as in S3."""
        self.versioning = versioning
        self.run(self.objects.set_bucket(BUCKET, versioning=versioning))

    @rule(key=KEYS, tag=st.text("xy", max_size=3))
    def set_tags(self, key: str, tag: str) -> None:
        """Tags of the newest version."""
        try:
            self.run(self.objects.set_attributes(BUCKET, key, None, tags={"t": tag}))
        except NoSuchKeyError:
            assert self.newest(key) is None
            return
        self.keys[key][0] = replace(self.keys[key][0], tags=tag)

    @rule(target=uploads, key=KEYS, storage_class=STORAGE_CLASSES)
    def begin_upload(self, key: str, storage_class: str) -> tuple[str, str]:
        """A multipart upload."""
        upload = self.run(self.objects.create_upload(BUCKET, key, OWNER, storage_class=storage_class))
        self.parts[key, upload.id] = {}
        return key, upload.id

    @rule(upload=uploads, number=st.integers(1, 3), size=SIZES)
    def upload_part(self, upload: tuple[str, str], number: int, size: int) -> None:
        """A part, in place of an earlier one of that number."""
        data = self.fresh(size)
        try:
            self.run(put_part(self.objects, *upload, number, data))
        except NoSuchUploadError:
            assert upload not in self.parts
        except QuotaExceededError:
            assert self.held() + size > QUOTA
        else:
            self.parts[upload][number] = data

    @rule(upload=consumes(uploads), reverse=st.booleans())
    def complete(self, upload: tuple[str, str], reverse: bool) -> None:
        """Every other part, or all of them, become the object."""
        key, upload_id = upload
        listed = self.run(self.objects.parts(BUCKET, key, upload_id))
        chosen = listed[::2] if reverse else listed
        if not chosen:
            self.run(self.objects.abort_upload(BUCKET, key, upload_id))
            del self.parts[upload]
            return
        parts = self.parts.pop(upload)
        data = b"".join(parts[part.number] for part in chosen)
        record = self.run(self.objects.complete_upload(BUCKET, key, upload_id, chosen, Sealed(etag(data))))
        self.add(key, record.version_id, data)

    @rule(upload=consumes(uploads))
    def abort(self, upload: tuple[str, str]) -> None:
        """Abort an upload."""
        self.run(self.objects.abort_upload(BUCKET, *upload))
        del self.parts[upload]

    @rule()
    def restart(self) -> None:
        """Close and open again."""
        self.run(self.objects.close())
        self.objects = self.run(Node.start(self.data, cloud_map()))

    @rule(key=KEYS, index=st.integers(0, 5))
    def read(self, key: str, index: int) -> None:
        """The newest version, and one by its id."""
        there = self.newest(key)
        try:
            assert self.run(get(self.objects, key)) == (there.data if there else None)
        except NoSuchKeyError:
            assert there is None
        versions = self.keys.get(key, [])
        version_id = versions[index].id if index < len(versions) else "0" * 20
        try:
            record = self.run(self.objects.head(BUCKET, key, version_id))
            data = self.run(get(self.objects, key, version_id=version_id))
            found = versions[index]
            assert (data, record.attributes.tags.get("t", "")) == (found.data, found.tags)
        except NoSuchVersionError:
            assert index >= len(versions)
        except IsDeleteMarkerError:
            assert versions[index].data is None

    @invariant()
    def lists_and_accounts_agree(self) -> None:
        """Listings, usage and room in flight are what the model says, after every step."""
        if self.objects.store.buckets.get(BUCKET) is None:
            return
        live = [key for key in sorted(self.keys, key=str.encode) if self.newest(key)]
        assert [r.key for r in self.run(self.objects.list_objects(BUCKET)).records] == live
        listed = self.run(self.objects.list_versions(BUCKET)).records
        wanted = [
            (key, v.id, Kind.DELETE_MARKER if v.data is None else Kind.OBJECT, v is self.keys[key][0])
            for key in sorted(self.keys, key=str.encode)
            for v in self.keys[key]
        ]
        assert [(r.key, r.version_id, r.kind, r.latest) for r in listed] == wanted
        bodies = [v.data for versions in self.keys.values() for v in versions if v.data is not None]
        assert self.run(self.objects.bucket_usage(BUCKET)) == Usage(len(bodies), sum(map(len, bodies)))
        assert self.objects.store.ledger.in_flight() == 0

    def teardown(self) -> None:
        """At the end nothing is damaged, and with the last object the last file goes."""
        try:
            notes = Notes()
            self.run(maintenance.scrub(self.objects.cluster, notes))
            assert notes.findings == []
            for record in self.run(self.objects.list_versions(BUCKET)).records:
                self.run(self.objects.delete(BUCKET, record.key, record.version_id))
            self.run(self.objects.delete_bucket(BUCKET))
            self.run(self.objects.store.collect())
            assert files(self.data) == []
            assert self.objects.local.usage_by_class() == {}
        finally:
            self.run(self.objects.close())
            self.loop.close()
            self.directory.cleanup()


TestStore = Store.TestCase
TestStore.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
