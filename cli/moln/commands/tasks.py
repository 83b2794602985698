"""Maintenance that every node of a cloud does at once: begun over port 9001, and waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

from moln.watching.ask import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moln.watching.snapshot import Doors

_POLL_SECONDS: Final = 0.3


class Request(BaseModel):
    """What is to be done; each kind adds what it takes."""

    kind: str


class Task(BaseModel):
    """How far a node is with it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    state: str
    progress: dict[str, int]
    findings: tuple[str, ...]
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
        while running := [name for name, task in tasks.items() if task.state == "running"]:
            watch(tasks)
            time.sleep(_POLL_SECONDS)
            for name in running:
                path = f"/v1/tasks/{tasks[name].id}"
                tasks[name] = ask(http, doors.addresses[name], doors.secret, path, Task)
    return tasks
