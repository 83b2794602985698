"""What this disk owes: writes that it alone has acknowledged, and the work that brings them to the other owners.

Where a policy says `write: one`, an owner queues the write in the transaction that acknowledges it
(`store/steps/owed`). Here each is delivered as a conditional write would be: if the register holds nothing newer in its
slot. What can't be delivered is tried again, ever more rarely, and at last is a dead letter, which stays until somebody
looks at it. One task for each node; docs/guarantees.md has the reasons.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from moln_node.cluster.errors import PeerError
from moln_node.store.clock import wall_ms
from moln_node.store.errors import ClosedError, CorruptError, NoSuchBucketError, StoreError
from moln_node.store.steps import owed as debts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from moln_node.store.registers import Register, Row
    from moln_node.store.steps.owed import Counts, Debt, Key
    from moln_node.store.store import Store

_BATCH: Final = 64
_FRESH_MS: Final = 200
_PAUSE_SECONDS: Final = 0.1
_FIRST_BACKOFF_SECONDS: Final = 0.5
_MOST_BACKOFF_SECONDS: Final = 30.0
MOST_TRIES: Final = 14_000
"""Deliveries that failed, after which a write is a dead letter: about three and a half days."""
_log = logging.getLogger(__name__)


class Owed:
    """The queue of this disk.

    `deliver` lets the cloud decide a row, `hinted` is told that a hint was left, `counts` says whether this may act,
    `owns` whether this node is an owner of a register.
    """

    def __init__(
        self,
        store: Store,
        deliver: Callable[[Register, Row], Awaitable[None]],
        hinted: Callable[[], None],
        counts: Callable[[], bool],
        owns: Callable[[Register], bool],
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._hinted = hinted
        self._counts = counts
        self._owns = owns
        self._settled: dict[tuple[Register, bytes], bool] = {}
        self._due: dict[Key, float] = {}
        self._wake = asyncio.Event()
        self._wake.set()

    def wake(self) -> None:
        """Something more is owed."""
        self._wake.set()

    def settled(self, register: Register, row: Row, *, everywhere: bool) -> None:
        """A majority of the owners has accepted a row, or all have: it need not be asked after."""
        self._settled[register, row.version] = everywhere

    async def count(self) -> Counts:
        """How much is owed."""
        return await self._store.look(debts.count)

    async def elsewhere(self) -> int:
        """How much of it, dead letters too, is of registers that this node does not own."""
        found = 0
        for dead in (False, True):
            after = debts.START
            while page := await self._store.look(partial(debts.page, after=after, limit=_BATCH, dead=dead)):
                found += sum(not self._owns(debt.register) for debt in page)
                after = page[-1].id
        return found

    async def dead_letters(self, after: Key, limit: int) -> list[Debt]:
        """What is not tried any more, in order: at most so many behind one of them."""
        return await self._store.look(partial(debts.page, after=after, limit=limit, dead=True))

    async def replay(self, letters: Sequence[Key]) -> int:
        """Try these dead letters again; how many of them there are still."""
        for letter in letters:
            self._due.pop(letter, None)
        found = await self._store.commit(lambda tx: sum(debts.replay(tx, letter) for letter in letters))
        self._wake.set()
        return found

    async def drop(self, letters: Sequence[Key]) -> int:
        """Give these dead letters up for good, by a person's word; how many of them there were still."""
        return await self._store.commit(lambda tx: sum(debts.drop(tx, letter) for letter in letters))

    async def run(self) -> None:
        """Deliver what is owed until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rest()):
                    await self._wake.wait()
            await asyncio.sleep(_PAUSE_SECONDS)
            self._wake.clear()
            try:
                if self._counts():
                    await self._round()
                else:
                    self._wake.set()
            except ClosedError:
                return
            except StoreError:
                _log.exception("what is owed can't be read or kept now")
                self._wake.set()

    def _rest(self) -> float | None:
        """How long nothing is due, in seconds."""
        if not self._due:
            return None
        return max(0.0, min(self._due.values()) - asyncio.get_running_loop().time())

    async def _round(self) -> None:
        """Look at everything that is owed once."""
        settled, self._settled = self._settled, {}
        due, self._due = self._due, {}
        after = debts.START
        while page := await self._store.look(partial(debts.page, after=after, limit=_BATCH, dead=False)):
            after = page[-1].id
            await self._do(page, settled, due)

    async def _do(self, page: list[Debt], settled: dict[tuple[Register, bytes], bool], due: dict[Key, float]) -> None:
        now = asyncio.get_running_loop().time()
        done: list[tuple[Debt, bool]] = []
        waiting: list[Debt] = []
        for debt in page:
            known = None if debt.row is None else settled.get((debt.register, debt.row.version))
            if known is not None:
                done.append((debt, known))
            elif due.get(debt.id, 0.0) > now:
                self._due[debt.id] = due[debt.id]
            elif debt.id not in due and 0 <= wall_ms() - debt.since_ms < _FRESH_MS:
                self._due[debt.id] = now + _FRESH_MS / 1000  # the owners were asked a moment ago
            else:
                waiting.append(debt)
        failed: list[tuple[Debt, str]] = []
        for debt, error in zip(waiting, await asyncio.gather(*map(self._try, waiting)), strict=True):
            if error is None:
                done.append((debt, False))
            elif _is_dead(debt, error):
                reason = str(error) or type(error).__name__
                _log.error("%s/%r is a dead letter: %s", debt.register.bucket, debt.register.key, reason)
                failed.append((debt, reason))
            else:
                failed.append((debt, ""))
                self._due[debt.id] = now + _backoff(debt.tries)
        if done or failed:
            await self._store.commit(lambda tx: debts.conclude(tx, done, failed))
        if not all(everywhere for _, everywhere in done):
            self._hinted()

    async def _try(self, debt: Debt) -> Exception | None:
        """Deliver one; why that was not possible."""
        if debt.row is None:
            return CorruptError("what is owed is damaged on the disk that owes it")
        try:
            await self._deliver(debt.register, debt.row)
        except (PeerError, StoreError, TimeoutError) as error:
            return error
        return None


def _is_dead(debt: Debt, reason: Exception) -> bool:
    """Whether trying again is of no use, or was for long enough."""
    return isinstance(reason, NoSuchBucketError | CorruptError) or debt.tries + 1 >= MOST_TRIES


def _backoff(tries: int) -> float:
    """Seconds until the next try: longer each time, and never twice the same."""
    longest = min(_MOST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** min(tries, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
