"""Passes: while a change of layout is under way, what this node holds is brought to all owners of both lists.

The reasons for each step are in docs/membership.md. One task for each node, paced so that clients don't feel it; what
it has done is not kept, since a pass over what is equal already is quick.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.cluster import comparing
from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import Report, ReportAsk
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import count

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from moln_node.cluster.electorate import Electorate
    from moln_node.cluster.members import Members, Obeyed
    from moln_node.cluster.repair import Repair
    from moln_node.store.registers import Register, Row

_POLL_SECONDS: Final = 0.3
_RETRY_SECONDS: Final = 1.0
_AT_ONCE: Final = 4
_READ_AT_ONCE: Final = 16
_LONGEST_REST_SECONDS: Final = 0.5
_PACE_SECONDS: Final = 5.0
"""How long a walk must have gone on before its pace says anything."""
_log = logging.getLogger(__name__)


class _Over(Exception):  # noqa: N818 (the end of a stage, not an error)
    """The map names another stage, or none."""


@dataclass(slots=True)
class Progress:
    """How far the pass is.

    Attributes:
        done: registers whose owners change, and that are with all of them.
        held: registers here, when it began.
        seen: of these, looked at so far in the first walk over all.
        moving: of those looked at, the ones whose owners change.
        bytes_before: what `Repair.bytes` was.
        walked: registers that the walk under way is through with; a pass walks over all of them twice.
        began: monotonic time of that walk's begin; None while none is under way.
    """

    done: int = 0
    held: int = 0
    seen: int = 0
    moving: int = 0
    bytes_before: int = 0
    walked: int = 0
    began: float | None = None

    def seconds_left(self, now: float) -> float | None:
        """How long the walk under way still takes at its pace so far; None while nobody can tell.

        The first walk of a pass carries nearly all bytes, the second one looks after them.
        """
        if self.began is None or not self.walked or now - self.began < _PACE_SECONDS:
            return None
        return (now - self.began) * max(0, self.held - self.walked) / self.walked

    @property
    def total(self) -> int:
        """Registers whose owners change: an estimate from the share so far, until all were seen."""
        share = self.moving / self.seen if self.seen else 0
        return max(self.done, self.moving, round(share * self.held))


class Passes:
    """Does the passes of this node.

    Attributes:
        passed: `since` of the last stage whose pass is done here; None before that.
        progress: of the pass that runs; None where there is none.
    """

    def __init__(self, members: Members, repair: Repair, enroll: Callable[[], Awaitable[None]]) -> None:
        self._members = members
        self._repair = repair
        self._enroll = enroll
        self.passed: int | None = None
        self.progress: Progress | None = None

    @property
    def bytes(self) -> int:
        """Bytes of bodies that other nodes took over in the pass that runs."""
        return 0 if self.progress is None else self._repair.bytes - self.progress.bytes_before

    async def run(self) -> None:
        """Pass wherever the map asks for it, until cancelled."""
        while True:
            change = self._members.map.change
            if change is not None and change.since != self.passed:
                try:
                    await self._pass(change.since)
                    self.passed = change.since
                except _Over:
                    _log.info("the pass of epoch %d is not wanted any more", change.since)
                except ClosedError:
                    return
                except (PeerError, StoreError) as error:
                    _log.info("the pass of epoch %d begins anew: %s", change.since, error)
                finally:
                    self.progress = None
            await asyncio.sleep(_POLL_SECONDS)

    async def _pass(self, since: int) -> None:
        await self._until(since, lambda report: report.epoch >= since)
        await self._enroll()
        own = self._members.own
        held = await own.store.look(count)
        self.progress = Progress(held=held, bytes_before=self._repair.bytes)
        if own.led != since:
            await self._bring(since, lambda electorate: _first(electorate) == self._members.me)
            own.led = since
        await self._until(since, lambda report: report.led >= since)
        await self._bring(since, lambda electorate: _first(electorate) != self._members.me)
        if self._now(since).owners.copying:
            await self._read_back(since)
        _log.info("everything here is with its owners of epoch %d: %d registers moved", since, self.progress.done)

    def _now(self, since: int) -> Obeyed:
        now = self._members.now
        if now.map.change is None or now.map.change.since != since:
            raise _Over
        return now

    async def _until(self, since: int, enough: Callable[[Report], bool]) -> None:
        """Wait until every member that is not lost reports enough."""
        while True:
            now = self._now(since)
            asked = [now.replica(name).report(ReportAsk()) for name in now.participants]
            reports = await asyncio.gather(*asked, return_exceptions=True)
            if all(isinstance(report, Report) and enough(report) for report in reports):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _bring(self, since: int, mine: Callable[[Electorate], bool]) -> None:
        """Compare all that is held here and moves, if it is `mine`, with its owners, and bring them what they lack."""
        loop = asyncio.get_running_loop()
        progress = self.progress or Progress()
        progress.walked, progress.began = 0, time.monotonic()
        async for page in comparing.held(self._members.own):
            begun = loop.time()
            now = self._now(since)
            moving = [one for one in page if now.owners.moves(one)]
            left = {one for one in moving if mine(now.electorate(one))}
            done = len(left)
            if progress.seen < progress.held:
                progress.seen += len(page)
                progress.moving += len(moving)
            while left:
                left = await self._bring_these(self._now(since), left)
                if left:
                    await asyncio.sleep(_RETRY_SECONDS)
            progress.done += done
            progress.walked += len(page)
            await asyncio.sleep(min(loop.time() - begun, _LONGEST_REST_SECONDS))
        progress.began = None

    async def _bring_these(self, now: Obeyed, registers: set[Register]) -> set[Register]:
        """Registers that could not be brought to all their owners now."""
        found, silent = await comparing.owners_have(now, registers)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def bring(register: Register) -> bool:
            async with limit:
                try:
                    return await self._repair.run(register)
                except (PeerError, StoreError) as error:
                    _log.info("%s/%r can't be brought to its owners yet: %s", register.bucket, register.key, error)
                    return False

        differing = [one for one, theirs in found.items() if one not in silent and len(theirs) > 1]
        done = await asyncio.gather(*map(bring, differing))
        return silent | {one for one, is_done in zip(differing, done, strict=True) if not is_done}

    async def _read_back(self, since: int) -> None:
        """Read what this node keeps of what others give up, and mend it, until all of it is good.

        Where somebody new takes it over there is no need: all of it was read, and written, for that.
        """
        progress = self.progress or Progress()
        progress.walked, progress.began = 0, time.monotonic()
        async for page in comparing.versions(self._members.own):
            progress.walked += len({register for register, _ in page})
            left = [one for one in page if self._now(since).electorate(one[0]).thins_to(self._members.me)]
            while left:
                left = await self._make_whole(since, left)
                if left:
                    await asyncio.sleep(_RETRY_SECONDS)
        progress.began = None

    async def _make_whole(self, since: int, versions: Sequence[tuple[Register, Row]]) -> list[tuple[Register, Row]]:
        """Those that are damaged, and can't be mended now."""
        loop = asyncio.get_running_loop()
        left = []
        for at in range(0, len(versions), _READ_AT_ONCE):
            self._now(since)
            begun = loop.time()
            left += await self._repair.make_whole(versions[at : at + _READ_AT_ONCE])
            await asyncio.sleep(min(loop.time() - begun, _LONGEST_REST_SECONDS))
        return left


def _first(electorate: Electorate) -> str:
    """Who is to bring a register to its new owners: the first of those that had it before."""
    before = electorate.writing[0].members
    return next((name for name in electorate.owners if name in before), "")
