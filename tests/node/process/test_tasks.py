"""The task board: one of a kind at a time, progress at any time, cancelled on request."""

from __future__ import annotations

import asyncio

import pytest

from moln_node.peer.tasks import NoSuchTaskError, Progress, TaskBoard, TaskRequest, TaskRunningError, UnknownKindError

SCRUB = TaskRequest(kind="scrub")


async def _ended(board: TaskBoard, task_id: str) -> None:
    async with asyncio.timeout(10):
        while board.task(task_id).state == "running":  # noqa: ASYNC110 (the board offers no event: its callers poll)
            await asyncio.sleep(0)


async def test_a_task_shows_progress_while_it_runs_and_its_end() -> None:
    """Counters and findings can be read before it ends, and stay when it has."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def scrub(_: TaskRequest, progress: Progress) -> None:
        progress.set(bodies=1)
        begun.set()
        await go_on.wait()
        progress.set(bodies=2, bad=1)
        progress.found("body 7: checksum")

    board = TaskBoard({"scrub": scrub})
    task_id = board.start(SCRUB).id
    await begun.wait()
    running = board.task(task_id)
    assert (running.state, running.progress, running.ended_ms) == ("running", {"bodies": 1}, None)
    with pytest.raises(TaskRunningError, match=task_id):
        board.start(SCRUB)
    go_on.set()
    await _ended(board, task_id)
    ended = board.task(task_id)
    assert (ended.state, ended.progress, ended.findings) == ("done", {"bodies": 2, "bad": 1}, ("body 7: checksum",))
    assert ended.ended_ms is not None


async def test_a_cancelled_task_has_stopped_when_cancel_returns() -> None:
    """What the task was doing is over, and another one of its kind may begin."""
    stopped = False

    async def scrub(_: TaskRequest, __: Progress) -> None:
        nonlocal stopped
        try:
            await asyncio.Event().wait()
        finally:
            stopped = True

    board = TaskBoard({"scrub": scrub})
    task_id = board.start(SCRUB).id
    await asyncio.sleep(0)
    assert (await board.cancel(task_id)).state == "cancelled"
    assert stopped
    board.start(SCRUB)
    await board.close()
    assert [task.state for task in board.tasks()] == ["cancelled", "cancelled"]


async def test_findings_and_ended_tasks_are_bounded() -> None:
    """A disk full of bad bodies does not fill the memory, nor do years of nightly scrubs."""

    async def scrub(_: TaskRequest, progress: Progress) -> None:
        for number in range(2500):
            progress.found(str(number))

    board = TaskBoard({"scrub": scrub})
    for _ in range(100):
        task_id = board.start(SCRUB).id
        await _ended(board, task_id)
    kept = board.task(task_id)
    assert (len(kept.findings), kept.unlisted) == (1000, 1500)
    assert len(board.tasks()) <= 33


async def test_findings_that_are_read_in_time_are_all_told() -> None:
    """What was read makes room; what was not kept is counted, and no later finding hides the gap."""
    step = asyncio.Event()

    async def scrub(_: TaskRequest, progress: Progress) -> None:
        for turn in range(3):
            for number in range(900):
                progress.found(f"{turn}.{number}")
            await step.wait()
            step.clear()

    board = TaskBoard({"scrub": scrub})
    task_id = board.start(SCRUB).id
    seen: list[str] = []
    for turn in range(2):
        await asyncio.sleep(0)
        task = board.task(task_id, len(seen))
        assert (task.first, task.unlisted, len(task.findings)) == (900 * turn, 0, 900)
        seen += task.findings
        if turn == 0:
            board.task(task_id, len(seen))
            step.set()
            await asyncio.sleep(0)
    assert board.task(task_id, len(seen)).findings == ()
    step.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    seen += board.task(task_id, len(seen)).findings
    step.set()
    await _ended(board, task_id)
    assert seen == [f"{turn}.{number}" for turn in range(3) for number in range(900)]


async def test_what_is_not_there_is_named() -> None:
    """Unknown tasks and kinds are errors of their own."""
    board = TaskBoard({})
    with pytest.raises(NoSuchTaskError):
        board.task("x")
    with pytest.raises(UnknownKindError, match="scrub"):
        board.start(SCRUB)
