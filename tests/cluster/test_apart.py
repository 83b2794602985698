"""Bodies apart from their records live in the place of their class, and go when nothing names them, not before."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from tests.cluster.in_process import running
from tests.cluster.test_graves import calm

from moln_node.cluster import apart, bodykeys, comparing, maintenance, records
from moln_node.cluster.apart import Written, register_of
from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.graves import elapsed_clock
from moln_node.cluster.messages import Accept, Ask, Install, Named, ReportAsk, SlotWrite
from moln_node.cluster.repair import Repair
from moln_node.cluster.unnamed import _Confirmed
from moln_node.cluster.walking import Scope
from moln_node.peer.tasks import Progress
from moln_node.store import lookup, registers
from moln_node.store.database import OLDEST_READER, READS_BODIES
from moln_node.store.documents import Flag
from moln_node.store.errors import NoSuchKeyError, PreconditionFailedError
from moln_node.store.model import Attributes, Bucket, Part, Precondition, Sealed, Versioning
from moln_node.store.registers import Register, Row, Space, tombstone
from moln_node.store.steps.replica import Outcome
from moln_spec.classes import AssignmentRule, Match, StorageClass
from moln_spec.cloudmap import BodyPlace, Change, CloudMap, MapNode
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.store.model import Record
    from moln_node.store.transaction import Transaction

LIKE = CloudMap(
    cloud="test",
    uid="test",
    epoch=1,
    nodes=(MapNode(name="n", number=0, address="x:1", pool="warm"),),
    storage_classes=(StorageClass(name="STANDARD", default=True), StorageClass(name="ARCHIVE", pools=("cold",))),
    assignment_rules=(AssignmentRule(name="pinned", match=Match(prefix="pinned/"), pool="cold"),),
    places=(BodyPlace(name="ARCHIVE", pools=("cold",)), BodyPlace(name="@cold", pools=("cold",))),
)
_LARGE = b"many" * 50_000
_MOMENT = 1e-6


class Room:
    """Three warm nodes, three cold ones, and a bucket."""

    def __init__(self, clusters: list[Cluster], incarnation: bytes) -> None:
        self.clusters = clusters
        self._incarnation = incarnation
        self._turn = 0

    @property
    def any(self) -> Cluster:
        """The next node."""
        self._turn += 1
        return self.clusters[self._turn % len(self.clusters)]

    def register(self, key: str) -> Register:
        """Of an object."""
        return Register(Space.OBJECTS, key, "room", self._incarnation)

    async def put(
        self, key: str, data: bytes, storage_class: str | None = "ARCHIVE", precondition: Precondition | None = None
    ) -> Record:
        """Put an object through the next node."""
        return await self.any.objects.put(
            "room", key, Attributes("me"), _once(data), size=len(data), seal=_sealing(data),
            storage_class=storage_class, precondition=precondition,
        )  # fmt: skip

    async def get(self, key: str, version_id: str | None = None) -> bytes:
        """Read an object through every node: all must say the same."""
        found = set()
        for cluster in self.clusters:
            async with cluster.objects.open("room", key, version_id) as reading:
                found.add(b"".join([piece async for piece in reading.read(0, reading.record.size)]))
        (data,) = found
        return data

    async def row(self, key: str) -> Row:
        """The newest record of a key."""
        view = await self.any.registers.look(self.register(key))
        assert view.newest is not None
        return view.newest

    async def body(self, key: str) -> Register:
        """The register of the body that the newest record names."""
        return register_of(self.register(key), (await self.row(key)).document.body)

    async def holders(self, register: Register) -> set[str]:
        """The pools of the nodes that hold anything live of a register."""
        return {
            "cold" if number % 2 else "warm"
            for number, cluster in enumerate(self.clusters)
            if any(row.live for row in (await cluster.members.own.state(Ask(register, None, 100))).rows)
        }

    async def collect(self, lag: float = _MOMENT) -> int:
        """Every node goes through the bodies that it has, twice: once to confirm, once to drop."""
        await calm(self.clusters)
        seen = [await cluster.unnamed.collect(1000.0) for cluster in self.clusters]
        assert seen == [0] * len(self.clusters)
        return sum([await cluster.unnamed.collect(lag) for cluster in self.clusters])

    async def collected(self, bodies: int) -> None:
        """Collect until so many bodies were dropped, and no more: an owner that is a moment behind may name one yet."""
        dropped = 0
        async with asyncio.timeout(60):
            while dropped < bodies:
                dropped += await self.collect()
        assert dropped == bodies
        assert await self.collect() == 0

    async def reassign(self, *, dry_run: bool = False) -> Counter[str]:
        """Every node reassigns what it is the one to tell of: what they counted together, but for what was walked."""
        total = Counter[str]()
        for cluster in self.clusters:
            report = Progress()
            await maintenance.reassign(cluster.members.own._local, cluster, report, Scope(), dry_run=dry_run)
            total += Counter(
                {name: count for name, count in report.counts.items() if name not in ("versions", "total")}
            )
        return total

    def bytes_in(self, storage_class: str) -> dict[str, int]:
        """What the nodes of each pool hold of a class."""
        held = {"warm": 0, "cold": 0}
        for number, cluster in enumerate(self.clusters):
            usage = cluster.members.own.store.ledger.class_usage().get(storage_class)
            held["cold" if number % 2 else "warm"] += 0 if usage is None else usage.bytes
        return held

    async def rid_of(self, storage_class: str, pool: str) -> None:
        """Wait until the nodes of a pool hold nothing of a class: the third owner may be a moment behind."""
        async with asyncio.timeout(30):
            while self.bytes_in(storage_class)[pool]:  # noqa: ASYNC110 (other tasks)
                await asyncio.sleep(0.02)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _sealing(data: bytes) -> Callable[[], Awaitable[Sealed]]:
    async def seal() -> Sealed:
        return Sealed(_etag(data))

    return seal


def _etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@asynccontextmanager
async def room(tmp_path: Path, versioning: Versioning = Versioning.OFF, like: CloudMap = LIKE) -> AsyncIterator[Room]:
    """A room that is made anew."""
    async with running(tmp_path, 6, like, ("warm", "cold")) as clusters:
        await clusters[0].objects.create_bucket(Bucket("room", "me", 1))
        if versioning is not Versioning.OFF:
            await clusters[0].objects.set_bucket("room", versioning=versioning)
        known = await clusters[0].objects.known("room")
        yield Room(clusters, known.incarnation)


async def upload(there: Room, key: str, parts: list[bytes]) -> tuple[str, list[Part]]:
    """Begin an upload of that class, and put its parts."""
    begun = await there.any.objects.create_upload("room", key, Attributes("me"), storage_class="ARCHIVE")
    for number, data in enumerate(parts, start=1):
        await there.any.objects.put_part(
            "room", key, begun.id, number, _once(data), size=len(data), seal=_sealing(data)
        )
    return begun.id, list(await there.any.objects.parts("room", key, begun.id))


@pytest.mark.parametrize("data", [b"few", _LARGE], ids=["small", "large"])
async def test_bytes_live_in_the_place_of_their_class(tmp_path: Path, data: bytes) -> None:
    """Whoever takes the put, whoever is asked; those of another class are with their record; a pin is a place too."""
    async with room(tmp_path) as there:
        for number in range(6):
            await there.put(f"k{number}", data)
            assert await there.get(f"k{number}") == data
            assert await there.holders(await there.body(f"k{number}")) == {"cold"}
        held = there.bytes_in("ARCHIVE")
        assert held["warm"] == 0
        assert held["cold"] >= 12 * len(data)  # by majorities; the third copy may be a moment behind
        await there.put("pinned/k", data, None)
        assert bodykeys.place_of((await there.row("pinned/k")).document.body) == "@cold"
        assert await there.holders(await there.body("pinned/k")) == {"cold"}
        await there.put("k", data, "STANDARD")
        assert not (await there.row("k")).document.body
        assert await there.get("k") == data
        assert (await there.any.objects.bucket_usage("room")).objects == 8
        await there.put("none", b"")
        assert not (await there.row("none")).document.body
        listing = await there.any.objects.list_objects("room")
        assert {(record.key, record.size) for record in listing.records} == {
            *((f"k{number}", len(data)) for number in range(6)),
            ("pinned/k", len(data)),
            ("k", len(data)),
            ("none", 0),
        }


async def test_a_disk_says_who_can_read_it(tmp_path: Path) -> None:
    """A release that knows no body apart serves a disk until there is one, or a record that names one."""

    async def oldest() -> set[object]:
        sql = "SELECT value FROM meta WHERE name = 'oldest_reader'"
        return {
            (await one.members.own.store.look(lambda db: db.execute(sql).fetchall()))[0][0] for one in there.clusters
        }

    async with room(tmp_path) as there:
        await there.put("k", b"few", "STANDARD")
        assert await oldest() == {OLDEST_READER}
        for number in range(8):
            await there.put(f"k{number}", b"few")
        await calm(there.clusters)
        assert await oldest() == {READS_BODIES}


async def test_an_upload_in_parts_lives_in_its_place(tmp_path: Path) -> None:
    """Parts too; completing makes them one body, and can be asked for again."""
    async with room(tmp_path) as there:
        parts = [b"a" * 300_000, b"b" * 100_000, b"c"]
        upload_id, named = await upload(there, "k", parts)
        assert [part.size for part in named] == [300_000, 100_000, 1]
        assert there.bytes_in("ARCHIVE") == {"warm": 0, "cold": 0}  # no objects yet
        for cluster in there.clusters[::2]:
            assert cluster.members.own.store.ledger.in_flight() == 0
        under_way = await there.any.objects.uploads("room")
        assert [one.id for one in under_way.uploads] == [upload_id]
        for _ in range(2):
            record = await there.any.objects.complete_upload("room", "k", upload_id, named, Sealed("etag-3"))
            assert (record.size, record.etag, len(record.parts)) == (400_001, "etag-3", 3)
        assert await there.get("k") == b"".join(parts)
        assert await there.holders(await there.body("k")) == {"cold"}
        head = await there.any.objects.head("room", "k")
        assert [part.size for part in head.parts] == [300_000, 100_000, 1]
        assert not (await there.any.objects.uploads("room")).uploads
        assert await there.collect() == 0
        await there.any.objects.delete("room", "k")
        await there.collected(1)


async def test_completing_goes_on_where_it_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body was made of its parts, and no record names it yet: the next try does, and nothing takes it till then."""
    async with room(tmp_path) as there:
        upload_id, named = await upload(there, "k", [b"a" * 300_000, b"b"])

        async def broken(*_: object) -> Row:
            raise UnavailableError("power")

        with monkeypatch.context() as patched:
            for cluster in there.clusters:
                patched.setattr(cluster.objects, "put_row", broken)
            with pytest.raises(UnavailableError):
                await there.any.objects.complete_upload("room", "k", upload_id, named, Sealed("etag-2"))
        with pytest.raises(NoSuchKeyError):
            await there.any.objects.head("room", "k")
        assert await there.collect() == 0
        await there.any.objects.complete_upload("room", "k", upload_id, named, Sealed("etag-2"))
        assert await there.get("k") == b"a" * 300_000 + b"b"
        assert await there.collect() == 0


async def test_an_aborted_upload_leaves_nothing(tmp_path: Path) -> None:
    """Also where its body was made already."""
    async with room(tmp_path) as there:
        upload_id, _ = await upload(there, "k", [b"a" * 300_000])
        await there.any.objects.abort_upload("room", "k", upload_id)
        upload_id, named = await upload(there, "k", [b"b" * 300_000])
        register = there.register("k")
        assembly = await there.any.objects._uploads._assembly(  # as far as completing came
            await there.any.objects.known("room"), "k", upload_id, named
        )
        await there.any.objects.apart.assemble(register, upload_id, "ARCHIVE", Sealed("e"), assembly)
        await there.any.objects.abort_upload("room", "k", upload_id)
        await there.collected(1)
        await there.rid_of("ARCHIVE", "cold")


async def test_what_is_replaced_or_deleted_goes(tmp_path: Path) -> None:
    """And what is named stays, also where versions are kept."""
    async with room(tmp_path) as there:
        for number in range(3):
            await there.put("k", b"%d" % number * 100_000)
        await there.put("gone", _LARGE)
        await there.any.objects.delete("room", "gone")
        await there.collected(3)
        assert await there.get("k") == b"2" * 100_000
        assert await there.collect() == 0
    async with room(tmp_path / "versions", Versioning.ENABLED) as there:
        first = await there.put("k", b"1" * 100_000)
        await there.put("k", b"2" * 100_000)
        await there.any.objects.delete("room", "k")
        assert await there.collect() == 0
        assert await there.get("k", first.version.encode()) == b"1" * 100_000
        await there.any.objects.delete("room", "k", first.version.encode())
        await there.collected(1)


async def test_a_refused_put_leaves_no_body(tmp_path: Path) -> None:
    """Its condition does not hold: the body is dropped at once."""
    async with room(tmp_path) as there:
        await there.put("k", b"1" * 100_000)
        kept = await there.body("k")
        with pytest.raises(PreconditionFailedError):
            await there.put("k", b"2" * 100_000, precondition=Precondition(if_none_match="*"))
        async with asyncio.timeout(30):
            while await _live(there) != {kept}:  # noqa: ASYNC110 (the third owner may be a moment behind)
                await asyncio.sleep(0.02)
        assert await there.get("k") == b"1" * 100_000


async def _live(there: Room) -> set[Register]:
    """The bodies that any node holds."""
    return {register for cluster in there.clusters async for register, row in _bodies(cluster) if row.live}


async def _bodies(cluster: Cluster) -> AsyncIterator[tuple[Register, Row]]:
    for row in cluster.members.own.store.buckets.values():
        where = (Space.BODIES, row.bucket.name, row.incarnation)
        async for entries in comparing.rows(cluster.members.own.page, *where):
            for entry in entries:
                yield Register(Space.BODIES, entry.key.decode(), row.bucket.name, row.incarnation), entry.row


async def unnamed(there: Room, key: str = "k") -> tuple[Register, Row]:
    """A body whose record is gone, and that record."""
    await there.put(key, _LARGE)
    row, body = await there.row(key), await there.body(key)
    await there.any.objects.delete("room", key)
    return body, row


async def test_nothing_goes_before_its_time(tmp_path: Path) -> None:
    """A record may still come to name it."""
    async with room(tmp_path) as there:
        body, _ = await unnamed(there)
        assert await there.collect(lag=1000.0) == 0
        assert await there.holders(body) == {"cold"}


async def test_nothing_goes_while_an_owner_of_the_key_is_silent(tmp_path: Path) -> None:
    """It may be the one whose record names it."""
    async with room(tmp_path) as there:
        await unnamed(there)
        owner = (await there.any.members.registers.look(there.register("k"))) and there.any.members.now.electorate(
            there.register("k")
        ).owners[0]
        silent = next(cluster for cluster in there.clusters if cluster.members.me == owner)
        await calm(there.clusters)
        silent.members.own.voting = False
        assert sum([await one.unnamed.collect(lag) for lag in (1000.0, _MOMENT) for one in there.clusters]) == 0
        silent.members.own.voting = True
        await there.collected(1)


async def test_nothing_goes_that_one_owner_alone_names(tmp_path: Path) -> None:
    """A record that came to one owner, and to no majority, may still be decided."""
    async with room(tmp_path) as there:
        body, old = await unnamed(there)
        register = there.register("k")
        owner = there.any.members.now.electorate(register).owners[-1]
        own = next(cluster.members for cluster in there.clusters if cluster.members.me == owner)
        ballot = await there.any.registers.ballot()
        late = Row(ballot, ballot, old.document)
        assert (await own.now.own.accept(Accept(register, ballot, (SlotWrite(late),)))).outcome == Outcome.DONE
        assert await there.collect() == 0
        async with asyncio.timeout(30):
            while not await there.any.repair.run(register):  # it asks all of them, and so decides it
                pass
        assert (await there.any.objects.head("room", "k")).size == len(_LARGE)
        assert await there.get("k") == _LARGE
        assert await there.holders(body) == {"cold"}


async def test_bodies_go_while_owners_change_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that come have nothing yet, and may never get it: the copy is damaged, or they have no room."""
    async with room(tmp_path) as there:
        body, _ = await unnamed(there)
        await calm(there.clusters)

        async def never(*_: object) -> bool:
            return False

        monkeypatch.setattr(Repair, "run", never)
        now = there.any.members.now
        change = Change(before=now.map.layout, since=2)
        places = tuple(place.model_copy(update={"pools": ("warm",)}) for place in now.map.places)
        for cluster in there.clusters:
            cluster.members.adopt(now.map.model_copy(update={"epoch": 2, "places": places, "change": change}))
        async with asyncio.timeout(30):
            dropped = 0
            while dropped < 1:
                await asyncio.sleep(0.02)
                for lag in (1000.0, _MOMENT):
                    dropped += sum([await cluster.unnamed.collect(lag) for cluster in there.clusters])
        assert not (await there.any.registers.look(body)).rows[b""].live


async def test_nothing_goes_that_a_node_names_which_owns_nothing_of_it(tmp_path: Path) -> None:
    """It may have been an owner, and may be asked as one again."""
    async with room(tmp_path) as there:
        body, old = await unnamed(there)
        await calm(there.clusters)
        register = there.register("k")
        owners = there.any.members.now.electorate(register).owners
        stray = next(cluster for cluster in there.clusters if cluster.members.me not in owners)
        await stray.members.own.store.commit(lambda tx: _remember(tx, "k", old))
        assert sum([await one.unnamed.collect(lag) for lag in (1000.0, _MOMENT) for one in there.clusters]) == 0
        await stray.members.own.store.commit(lambda tx: _remember(tx, "k", None))
        await there.collected(1)
        assert await there.holders(body) == set()


def _remember(tx: Transaction, key: str, row: Row | None) -> None:
    """Put a record on a disk without asking anybody, or take it away."""
    number = tx.buckets["room"].id
    for version, document in list(lookup.rows(tx.db, number, key.encode())):
        tx.remove(number, key.encode(), version, document)
    if row is not None:
        tx.insert(number, key.encode(), Version.from_bytes(row.version), row.document)


async def test_a_late_record_names_nothing_that_is_gone(tmp_path: Path) -> None:
    """A put breaks off after its body, and its accept comes after all: no owner of the key takes it any more."""
    async with room(tmp_path) as there:
        register = there.register("k")

        async def breaks_off() -> Row:
            writing = there.any.objects.apart.writing(
                register, "ARCHIVE", "ARCHIVE", _once(_LARGE), len(_LARGE), _sealing(_LARGE)
            )
            async with writing as written:
                ballot = await there.any.registers.ballot()
                broken.append(records.body_row(ballot, len(_LARGE), "e", "ARCHIVE", modified_ms=1))
                broken[-1] = Row(ballot, ballot, structs.replace(broken[-1].document, body=written.body))
                raise UnavailableError("power")

        broken: list[Row] = []
        with pytest.raises(UnavailableError):
            await breaks_off()
        await there.collected(1)
        late = Accept(register, broken[0].ballot, (SlotWrite(broken[0]),))
        for cluster in there.clusters:
            if cluster.members.me in cluster.members.now.electorate(register).owners:
                assert (await cluster.members.now.own.accept(late)).outcome == Outcome.OLD
        await there.put("k", b"anew")
        assert await there.get("k") == b"anew"


async def test_what_is_replaced_is_noticed_and_goes_without_a_walk(tmp_path: Path) -> None:
    """By the first owner of the key; not before the lag is over, and not by a message that comes late."""
    async with room(tmp_path) as there:
        await there.put("k", _LARGE)
        old, body = await there.row("k"), await there.body("k")
        await there.put("k", b"anew")
        await calm(there.clusters)
        async with asyncio.timeout(60):
            while await there.holders(body):
                assert sum([await cluster.unnamed.turn(1000.0) for cluster in there.clusters]) == 0
                await asyncio.sleep(0.05)
                dropped = sum([await cluster.unnamed.turn(_MOMENT) for cluster in there.clusters])
                assert dropped <= 1
        assert await there.get("k") == b"anew"
        for cluster in there.clusters:
            assert await cluster.unnamed.turn(_MOMENT) == 0
            assert not cluster.unnamed._noticed
        register = there.register("k")
        for cluster in there.clusters:
            own = cluster.members.now.own
            if cluster.members.me in cluster.members.now.electorate(register).owners:
                generation = (await own.report(ReportAsk())).generation
                late = Row(old.version, await there.any.registers.ballot(), old.document)
                assert (await own.install(Install(register, (SlotWrite(late),), generation))).outcome == Outcome.OLD
        assert await there.get("k") == b"anew"


async def test_a_body_that_is_refreshed_stays(tmp_path: Path) -> None:
    """Who completes an upload makes sure of its body first: what was seen before does not count any more."""
    async with room(tmp_path) as there:
        body, _ = await unnamed(there)
        await calm(there.clusters)
        for cluster in there.clusters:
            await cluster.unnamed.collect(1000.0)
        name = bodykeys.body_of(body.key)
        before = (await there.any.registers.look(body)).rows[b""]
        assert await there.any.objects.apart.refresh(there.register("k"), name, Sealed("e")) is not None
        assert not await there.any.unnamed._drop(
            body, _Confirmed(before.ballot, 0, 0.0)
        )  # it was refreshed in this very moment
        assert sum([await cluster.unnamed.collect(_MOMENT) for cluster in there.clusters]) == 0
        assert await there.holders(body) == {"cold"}
        await there.collected(1)
        assert await there.any.objects.apart.refresh(there.register("k"), name, Sealed("e")) is None


async def test_a_body_is_not_named_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a machine that slept."""
    row_at = Written("body", Sealed("e"), elapsed_clock()).naming(lambda at: tombstone(at, at, null=True, now_ms=0))
    assert row_at(b"1").version == b"1"
    later = elapsed_clock() + apart.WINDOW_SECONDS + 1
    monkeypatch.setattr(apart, "elapsed_clock", lambda: later)
    with pytest.raises(UnavailableError):
        row_at(b"2")


async def test_owners_of_another_bucket_of_that_name_say_nothing(tmp_path: Path) -> None:
    """What is not known here may be named elsewhere."""
    async with room(tmp_path) as there:
        own = there.clusters[0].members.now.own
        assert (await own.named(Named("elsewhere", b"", (("k", "b", "U"),)))).of == (True,)
        assert (await own.named(Named("room", b"x" * 12, (("k", "b", "U"),)))).of == (True,)


async def test_a_lost_copy_comes_back(tmp_path: Path) -> None:
    """The sweep finds what a cold node lacks; and a bucket that goes takes bodies along that nothing names."""
    async with room(tmp_path) as there:
        await there.put("k", _LARGE)
        body = await there.body("k")
        await _spread(there, body)
        loser = there.clusters[1].members.own
        await loser.store.commit(lambda tx: _forget(tx, body.key.encode()))
        assert await there.get("k") == _LARGE
        assert sum([await cluster.sweep.sweep() for cluster in there.clusters]) >= 1
        await _spread(there, body)
        row = (await loser.state(Ask(body))).rows[0]
        assert not row.document.flags & Flag.TOMBSTONE
        assert b"".join([piece async for piece in loser.body(body, row, 0, len(_LARGE))]) == _LARGE
        await there.any.objects.delete("room", "k")
        await there.any.objects.delete_bucket("room")
        for cluster in there.clusters:
            assert [row async for row in _bodies(cluster)] == []
            assert await cluster.members.own.store.look(
                lambda db: db.execute("SELECT count(*) FROM body").fetchone()
            ) == (0,)


async def _spread(there: Room, body: Register) -> None:
    """Wait until all three owners hold a body."""
    async with asyncio.timeout(30):
        while sum([bool((await one.members.own.state(Ask(body))).rows) for one in there.clusters]) < 3:  # noqa: ASYNC110 (other tasks)
            await asyncio.sleep(0.02)


def _forget(tx: Transaction, key: bytes) -> None:
    """Lose a body, as a disk that was put back to an older state would."""
    number = registers.number(Space.BODIES, tx.buckets["room"].id)
    for version, document in list(lookup.rows(tx.db, number, key)):
        tx.remove(number, key, version, document)


async def test_reassigning_moves_bytes_to_their_place(tmp_path: Path) -> None:
    """What was written before its class had a place, or before its rule: by key, each version, and what shows stays."""
    before = LIKE.model_copy(update={"places": (), "assignment_rules": ()})
    parts = [b"p" * 200_000, b"q" * 10]
    async with room(tmp_path, Versioning.ENABLED, before) as there:
        old = await there.put("k", b"1" * 100_000)
        await there.put("k", _LARGE)
        await there.put("small", b"few")
        await there.put("none", b"")
        await there.put("pinned/k", b"pin" * 1000, None)
        await there.put("plain", b"plain" * 30_000, "STANDARD")
        upload_id, named = await upload(there, "parts", parts)
        await there.any.objects.complete_upload("room", "parts", upload_id, named, Sealed("etag-2"))
        shown = {key: await there.any.objects.head("room", key) for key in ("k", "small", "pinned/k", "parts")}
        assert there.bytes_in("ARCHIVE")["warm"] > 0
        after = LIKE.model_copy(update={"nodes": there.clusters[0].members.map.nodes, "epoch": 2, "partitions": 64})
        for cluster in there.clusters:
            await cluster.adopt(after)
        assert await there.reassign(dry_run=True) == Counter(
            differing=5, bytes=100_000 + len(_LARGE) + 3 + 3_000 + 200_010
        )
        done = await there.reassign()
        assert (done["reassigned"], done["unanswered"]) == (5, 0)
        assert await there.reassign() == Counter()
        assert await there.get("k", old.version.encode()) == b"1" * 100_000
        assert await there.get("k") == _LARGE
        assert await there.get("small") == b"few"
        assert await there.get("parts") == b"".join(parts)
        for key, record in shown.items():
            assert await there.any.objects.head("room", key) == record
            assert await there.holders(await there.body(key)) == {"cold"}
        await there.rid_of("ARCHIVE", "warm")
        assert await there.get("plain") == b"plain" * 30_000
        assert await there.collect() == 0


async def test_reassigning_gives_way_to_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object is replaced while its bytes are on their way: nothing of the old one comes back, or stays."""
    async with room(tmp_path, like=LIKE.model_copy(update={"places": ()})) as there:
        await there.put("k", _LARGE)
        after = LIKE.model_copy(update={"nodes": there.clusters[0].members.map.nodes, "epoch": 2, "partitions": 64})
        for cluster in there.clusters:
            await cluster.adopt(after)
        written = Written.naming

        def replaced(_: Written, __: Callable[[bytes], Row]) -> Callable[[bytes], Row]:
            raise NoSuchKeyError("the version is not there any more")

        monkeypatch.setattr(Written, "naming", replaced)
        assert (await there.reassign())["reassigned"] == 0
        monkeypatch.setattr(Written, "naming", written)
        async with asyncio.timeout(30):
            while await _live(there):  # noqa: ASYNC110 (the third owner may be a moment behind)
                await asyncio.sleep(0.02)
        await there.put("k", b"new" * 50_000)
        assert (await there.reassign())["reassigned"] == 0
        assert await there.get("k") == b"new" * 50_000
