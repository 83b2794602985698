"""One running node as port 9001 sees it: what it obeys, how it is, and the two things that are pushed to it.

Made by the process; used by the peer port's handlers. Keeps the map on disk, hands it and the access keys on.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from typing import TYPE_CHECKING, Final

from moln_node import mapfile
from moln_node.store.registers import count as count_registers
from moln_spec.nodestatus import Check, ClassUsage, Moving, NodeStatus, damage_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.local import LocalStore
    from moln_node.peer.watch import Watch
    from moln_spec.cloudmap import CloudMap
    from moln_spec.credentials import Credentials

_SILENT_SECONDS: Final = 30.0
_COUNTING_SHARE: Final = 20
_log = logging.getLogger(__name__)


class Node:
    """A node between its start and its stop.

    Attributes:
        name: the node's name in the map.
        local: the data on its own disk.
        cluster: what makes it a node of the cloud.
        stopping: SIGTERM came: not ready any more.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        directory: Path,
        cloud_map: CloudMap,
        credentials: Credentials,
        local: LocalStore,
        cluster: Cluster,
        watch: Watch,
        use_credentials: Callable[[Credentials], None],
        secrets: Callable[[], tuple[str, ...]],
        certificate: Callable[[], str],
        peer_tls: Callable[[], str],
    ) -> None:
        """What works now is told by fingerprint.

        `secrets` answers those of the cloud secrets in force, `certificate` that of S3's certificate, `peer_tls` that
        of the certificates of port 9001.
        """
        self.name = name
        self.version = version
        self.local = local
        self.cluster = cluster
        self.stopping = False
        self._directory = directory
        self._map = cloud_map
        self._keys = len(credentials.keys)
        self._watch = watch
        self._use_credentials = use_credentials
        self._secrets = secrets
        self._certificate = certificate
        self._peer_tls = peer_tls
        self._taking = asyncio.Lock()
        self._told = (0, "")
        self._counted = 0
        self._count_again = 0.0
        self._started = time.monotonic()

    @property
    def map(self) -> CloudMap:
        """The cloud map that the node obeys."""
        return self._map

    async def take_map(self, offered: CloudMap) -> CloudMap:
        """Obey `offered` if it is newer, once it is kept on disk; the map then obeyed. MapRefusedError."""
        async with self._taking:
            if mapfile.newer(self._map, offered, self.name):
                await asyncio.to_thread(mapfile.keep, self._directory, offered)
                await self.cluster.adopt(offered)
                self._map = offered
                _log.info("obeys the cloud map of epoch %d", offered.epoch)
            return self._map

    async def follow_map(self, offered: CloudMap) -> None:
        """As `take_map`, from a peer: one that can't be obeyed is only told of."""
        try:
            await self.take_map(offered)
        except mapfile.MapRefusedError as error:
            told = (offered.epoch, str(error))
            if told != self._told:  # each of a thousand answers may bring it
                _log.warning("a peer's newer map is not obeyed: %s", error)
                self._told = told

    def take_credentials(self, credentials: Credentials) -> None:
        """Use these access keys from the next request on, and no others."""
        self._use_credentials(credentials)
        self._keys = len(credentials.keys)
        _log.info("uses %d access keys", self._keys)

    def alive(self) -> Check:
        """Whether disk and store have answered lately: a node that hangs there is better started again."""
        silent = self._watch.silent_seconds
        if silent > _SILENT_SECONDS:
            return Check(name="store", state="fail", message=f"disk or store has not answered for {silent:.0f} s")
        return Check(name="store", state="ok")

    def checks(self) -> tuple[Check, ...]:
        """Every named check of `/ready`; a full disk is a warning, because reads and deletes go on."""
        return (
            Check(name="running", state="fail", message="stopping") if self.stopping else _ok("running"),
            self._store_check(),
            self._writable_check(),
            self._space_check(),
            self._cluster_check(),
            self._damage_check(),
            Check(name="map", state="ok", message=f"epoch {self._map.epoch}"),
            Check(name="credentials", state="ok", message=f"{self._keys} access keys")
            if self._keys
            else Check(name="credentials", state="fail", message="there is no access key: push credentials"),
        )

    def _cluster_check(self) -> Check:
        if self.cluster.counts:
            return _ok("cluster")
        left = self.cluster.joining.left
        message = (
            f"its disk is of an earlier life, with {left} keys or buckets that no other node holds: bring the others "
            "back, or delete its volume"
            if left
            else "does not count as an owner until its disk is filled"
        )
        return Check(name="cluster", state="warn", message=message)

    def _store_check(self) -> Check:
        error = self.local.store.failure or self._watch.store_error
        if error is not None:
            return Check(name="store", state="fail", message=f"{type(error).__name__}: {error}")
        return self.alive()

    def _writable_check(self) -> Check:
        error = self._watch.write_error
        if error is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _ok("writable")
        return Check(name="writable", state="fail", message=f"the data directory: {error.strerror}")

    def _space_check(self) -> Check:
        space = self.local.store.ledger.space()
        free = 100 * space.available / max(space.total, 1)
        if free <= self._map.limits.reserve_percent:
            message = f"{free:.1f} % free, all of it reserved: writes are refused; grow the volume or delete"
            return Check(name="space", state="warn", message=message)
        return _ok("space")

    def _damage_check(self) -> Check:
        if self.local.store.index_damage is not None:
            message = (
                f"pages of this node's index can't be read ({self.local.store.index_damage}): replace its disk by an "
            )
            message += "empty one, which the other nodes refill (docs/runbooks.md, A node's index is damaged)"
            return Check(name="bytes", state="warn", message=message)
        message = damage_words({self.name: self.cluster.damage})
        return Check(name="bytes", state="warn", message=message) if message else _ok("bytes")

    async def status(self) -> NodeStatus:
        """Everything about the node on one page."""
        cluster = self.cluster
        epoch = cluster.members.own.gate.obeyed  # before all else: a newer map may come meanwhile
        checks = self.checks()
        owed = await cluster.members.owed.count()
        space = self.local.store.ledger.space()
        classes = {
            name: ClassUsage(objects=usage.objects, bytes=usage.bytes)
            for name, usage in self.local.usage_by_class().items()
        }
        return NodeStatus(
            counts=cluster.counts,
            number=cluster.joining.number,
            passed=cluster.passes.passed if self._map.change is not None else None,
            moving=self._moving(),
            no_room=cluster.repair.no_room,
            damage=cluster.damage,
            strays=await cluster.strays(),
            registers=await self._registers(),
            hints=await cluster.members.hints.count() + owed.late,
            owed=owed.owed,
            dead_letters=owed.dead,
            node=self.name,
            cloud=self._map.cloud,
            uid=self._map.uid,
            epoch=epoch,
            version=self.version,
            ready=ready(checks),
            checks=checks,
            capacity_bytes=space.total,
            used_bytes=space.total - space.available,
            free_bytes=space.available,
            objects=sum(usage.objects for usage in classes.values()),
            bytes=sum(usage.bytes for usage in classes.values()),
            classes=classes,
            uptime_seconds=round(time.monotonic() - self._started, 3),
            secrets=self._secrets(),
            certificate=self._certificate(),
            peer_tls=self._peer_tls(),
        )

    def _moving(self) -> Moving | None:
        progress = self.cluster.passes.progress
        if progress is None:
            return None
        return Moving(
            done=progress.done,
            total=progress.total,
            bytes=self.cluster.passes.bytes,
            seconds_left=progress.seconds_left(time.monotonic()),
        )

    async def _registers(self) -> int:
        """How many registers are here; counting many takes a while, so it is done at most a small part of the time."""
        begun = time.monotonic()
        if begun >= self._count_again:
            self._counted = await self.local.store.look(count_registers)
            self._count_again = time.monotonic() + _COUNTING_SHARE * (time.monotonic() - begun)
        return self._counted


def _ok(name: str) -> Check:
    return Check(name=name, state="ok")


def ready(checks: tuple[Check, ...]) -> bool:
    """Whether no check fails; warnings do not count."""
    return all(check.state != "fail" for check in checks)
