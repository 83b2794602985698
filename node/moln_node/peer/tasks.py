"""Maintenance while the node serves: tasks are started, watched and cancelled over port 9001.

The board only knows that a task counts what it did; what a kind does is given to it as a runner (`maintenance`). One
task of a kind at a time; the last ones that ended are kept, so that a person can read how they went.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

from pydantic import Field

from moln_spec.model import Document

Kind = Literal["scrub", "collect", "orphans", "verify", "repair", "reassign", "rewrite"]
_KEPT: Final = 32
_FINDINGS: Final = 1000
"""Findings of a task that are kept until somebody has read them."""
_log = logging.getLogger(__name__)


class TaskRequest(Document):
    """What maintenance to do; fields that a kind does not name are ignored by it."""

    kind: Kind
    mode: Literal["light", "deep", "sampled"] = Field("deep", description="scrub: how much of each body is read.")
    sample_percent: float = Field(1.0, gt=0, le=100, description="scrub, sampled: share of the bodies.")
    dry_run: bool = Field(
        default=True, description="orphans, repair, reassign, rewrite: only list. Doing must be asked for."
    )
    bucket: str = Field("", description="verify: the object's bucket; reassign, rewrite: only its objects.")
    prefix: str = Field("", description="reassign, rewrite: only keys that begin with this.")
    key: str = Field("", description="verify: the object's key.")
    version_id: str | None = Field(None, description="verify: the version; the newest when absent.")


class Task(Document):
    """A task and how far it is."""

    id: str
    request: TaskRequest
    state: Literal["running", "done", "failed", "cancelled"]
    started_ms: int
    ended_ms: int | None = None
    progress: dict[str, int] = Field({}, description="Counters by name: bodies, bytes, bad, deleted...")
    findings: tuple[str, ...] = Field((), description="What was found and not yet read: a thousand at most.")
    first: int = Field(0, description="How many findings were before the first of these.")
    unlisted: int = Field(0, description="How many findings after the last of these were not kept.")
    error: str = ""


class TaskList(Document):
    """The tasks that run and the last ones that ended, newest first."""

    tasks: tuple[Task, ...]


class TaskRunningError(Exception):
    """A task of this kind runs already."""


class UnknownKindError(Exception):
    """This release has no such maintenance."""


class NoSuchTaskError(LookupError):
    """There is no such task, or it ended so long ago that it is forgotten."""


class Progress:
    """Where a runner writes down what it did; read at any time."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.findings: list[str] = []
        self.first = self.unlisted = 0

    def set(self, **counts: int) -> None:
        """Set counters to what they are now."""
        self.counts.update(counts)

    def found(self, finding: str) -> None:
        """Note something found; after a thousand that nobody has read only the number of further ones is kept."""
        if len(self.findings) < _FINDINGS and not self.unlisted:
            self.findings.append(finding)
        else:
            self.unlisted += 1

    def read(self, number: int) -> None:
        """Somebody has so many findings, from the first one on: they make room for further ones."""
        done = max(0, min(number - self.first, len(self.findings)))
        del self.findings[:done]
        self.first += done


Runner = Callable[[TaskRequest, Progress], Awaitable[None]]


class _Entry:
    def __init__(self, request: TaskRequest) -> None:
        self.id = secrets.token_hex(8)
        self.request = request
        self.progress = Progress()
        self.state: Literal["running", "done", "failed", "cancelled"] = "running"
        self.started_ms = _now_ms()
        self.ended_ms: int | None = None
        self.error = ""
        self.job: asyncio.Task[None] | None = None

    async def run(self, runner: Runner) -> None:
        try:
            await runner(self.request, self.progress)
            self.state = "done"
        except asyncio.CancelledError:
            self.state = "cancelled"
            raise
        except Exception as error:  # noqa: BLE001 (a task that fails ends as failed, and says why)
            self.state, self.error = "failed", f"{type(error).__name__}: {error}"
            _log.exception("maintenance task %s (%s) failed", self.id, self.request.kind)
        finally:
            self.ended_ms = _now_ms()

    def cancelled(self) -> None:
        """A job that was cancelled before its first step never ran `run`'s own book-keeping."""
        if self.state == "running":
            self.state, self.ended_ms = "cancelled", _now_ms()

    def document(self) -> Task:
        return Task(
            id=self.id,
            request=self.request,
            state=self.state,
            started_ms=self.started_ms,
            ended_ms=self.ended_ms,
            progress=dict(self.progress.counts),
            findings=tuple(self.progress.findings),
            first=self.progress.first,
            unlisted=self.progress.unlisted,
            error=self.error,
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class TaskBoard:
    """The tasks of one node."""

    def __init__(self, runners: Mapping[Kind, Runner]) -> None:
        self._runners = runners
        self._entries: dict[str, _Entry] = {}

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What maintenance there is."""
        return tuple(sorted(self._runners))

    def start(self, request: TaskRequest) -> Task:
        """Begin a task and return at once; TaskRunningError while one of its kind runs."""
        if request.kind not in self._runners:
            raise UnknownKindError(f"this release does not {request.kind}; it has {', '.join(self.kinds)}")
        for entry in self._entries.values():
            if entry.state == "running" and entry.request.kind == request.kind:
                raise TaskRunningError(f"{request.kind} runs already as task {entry.id}: wait for it or cancel it")
        entry = _Entry(request)
        entry.job = asyncio.create_task(entry.run(self._runners[request.kind]), name=f"{request.kind} {entry.id}")
        self._entries[entry.id] = entry
        ended = [key for key, other in self._entries.items() if other.state != "running"]
        for key in ended[:-_KEPT]:
            del self._entries[key]
        return entry.document()

    def tasks(self) -> tuple[Task, ...]:
        """Every task that is remembered, newest first."""
        return tuple(entry.document() for entry in reversed(self._entries.values()))

    def task(self, task_id: str, read: int = 0) -> Task:
        """The task, with the findings behind so many that were read, which are forgotten; NoSuchTaskError."""
        entry = self._entry(task_id)
        entry.progress.read(read)
        return entry.document()

    async def cancel(self, task_id: str) -> Task:
        """Stop a task, and return it once it has stopped; NoSuchTaskError."""
        entry = self._entry(task_id)
        if entry.job is not None and not entry.job.done():
            entry.job.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await entry.job
            entry.cancelled()
        return entry.document()

    async def close(self) -> None:
        """Cancel whatever runs."""
        for task_id in list(self._entries):
            await self.cancel(task_id)

    def _entry(self, task_id: str) -> _Entry:
        try:
            return self._entries[task_id]
        except KeyError:
            raise NoSuchTaskError(f"there is no task {task_id!r}") from None
