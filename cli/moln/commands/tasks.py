"""Maintenance that every node of a cloud does at once: begun over port 9001, and waited for."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

from moln.watching.ask import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moln.watching.snapshot import Doors

_POLL_SECONDS: Final = 0.3
_MANY: Final = 100
"""Findings in one answer after which the next is asked for at once, before the node has more than it keeps."""


class Request(BaseModel):
    """What is to be done; each kind adds what it takes."""

    kind: str


class Task(BaseModel):
    """How far a node is with it.

    Attributes:
        findings: all of them, read as they came.
        first: how many findings are before these.
        unlisted: findings that the node did not keep, because they were too many to be read in time.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    state: str
    progress: dict[str, int]
    findings: tuple[str, ...]
    first: int = 0
    unlisted: int = 0
    error: str


def run(
    doors: Doors, request: Request, watch: Callable[[Mapping[str, Task]], None] = lambda _: None
) -> Mapping[str, Task]:
    """Let every node do it, and wait for the end: each node's task by its name. `watch` sees them meanwhile."""
    with doors.http as http:
        tasks = {
            name: ask(http, address, doors.secret, "/v1/tasks", Task, post=request)
            for name, address in doors.addresses.items()
        }
        found: defaultdict[str, list[str]] = defaultdict(list)
        new = _take(tasks, found)
        while running := [name for name, task in tasks.items() if task.state == "running"]:
            watch(tasks)
            if new < _MANY:
                time.sleep(_POLL_SECONDS)
            for name in running:
                path = f"/v1/tasks/{tasks[name].id}"
                read = {"read": str(len(found[name]))}
                tasks[name] = ask(http, doors.addresses[name], doors.secret, path, Task, read)
            new = _take({name: tasks[name] for name in running}, found)
    return {name: task.model_copy(update={"findings": tuple(found[name])}) for name, task in tasks.items()}


def _take(tasks: Mapping[str, Task], found: Mapping[str, list[str]]) -> int:
    """Add the findings that are not known yet, of an older release's answer too; how many of a node at most."""
    most = 0
    for name, task in tasks.items():
        known = found[name]
        new = task.findings[len(known) - task.first :]
        known.extend(new)
        most = max(most, len(new))
    return most


def unlisted(tasks: Mapping[str, Task]) -> int:
    """How many findings of all nodes are not in their lists."""
    return sum(task.unlisted for task in tasks.values())


def unlisted_words(tasks: Mapping[str, Task]) -> list[str]:
    """A line that says so; none where all are there."""
    number = unlisted(tasks)
    return [f"... and {number} more, too many to be listed"] if number else []
