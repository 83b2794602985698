"""Telling the person who waits: what is being done, for how long so far, and about how long it takes.

The last duration of each step is remembered in the cache, so the second run knows what the first one learned.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from moln_lab.errors import LabError

_TICK = {True: 1.0, False: 15.0}
_SHORT = 0.5


class Progress:
    """Prints one line per step to standard error; on a terminal the line of a long step counts the seconds."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._memory = cache / "durations.json"
        self._terminal = sys.stderr.isatty()

    @contextmanager
    def step(self, what: str, about: float | None = None) -> Iterator[None]:
        """Show a step while the block runs, and remember how long it took when it succeeds.

        Args:
            what: The step, in the words a person reads.
            about: The seconds it takes on a small machine, for the first time it is done here.
        """
        usual = self._recall().get(what, about)
        started = time.monotonic()
        done = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(what, usual, started, done), daemon=True)
        ticker.start()
        try:
            yield
        except BaseException:
            done.set()
            ticker.join()
            self._show(f"{what}: failed after {_seconds(time.monotonic() - started)}", last=True)
            raise
        done.set()
        ticker.join()
        took = time.monotonic() - started
        if took >= _SHORT:
            self._remember(what, took)
        self._show(f"{what}: done in {_seconds(took)}", last=True)

    def _tick(self, what: str, usual: float | None, started: float, done: threading.Event) -> None:
        about = f", about {_seconds(usual)} in all" if usual else ""
        if self._terminal or (usual or 0) > _TICK[False]:
            self._show(f"{what} ...{about}", last=False)
        while not done.wait(_TICK[self._terminal]):
            self._show(f"{what}: {_seconds(time.monotonic() - started)} so far{about}", last=False)

    def _show(self, text: str, *, last: bool) -> None:
        if self._terminal:
            print(f"\r\x1b[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _recall(self) -> dict[str, float]:
        try:
            return dict(json.loads(self._memory.read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def _remember(self, what: str, seconds: float) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        self._memory.write_text(json.dumps(self._recall() | {what: round(seconds, 1)}, indent=1, sort_keys=True))


def wait_for(condition: Callable[[], bool], what: str, timeout: float, poll: float = 0.1) -> None:
    """Wait until a condition holds.

    Raises:
        LabError: It does not hold after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what} took longer than {timeout:g} s")
        time.sleep(poll)


def _seconds(value: float) -> str:
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{value:.1f} s"
