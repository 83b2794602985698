"""How far transfers are: a bar on a terminal, silence elsewhere; and the word to stop, which every worker hears."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator


class StoppedError(Exception):
    """The user interrupted: what was done so far is kept, and running the command again goes on from there."""


class Progress(Protocol):
    """Where workers report bytes; called from many threads."""

    def expect(self, size: int) -> None:
        """There are so many more bytes to move."""

    def advance(self, size: int) -> None:
        """So many bytes have been moved; StoppedError if the user interrupted."""


class Silent:
    """Counts nothing and shows nothing; can be stopped."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def expect(self, size: int) -> None:
        """Nothing to show."""

    def advance(self, size: int) -> None:  # noqa: ARG002 (the protocol's)
        """Hear the word to stop."""
        if self._stopped.is_set():
            raise StoppedError

    def stop(self) -> None:
        """Make every worker stop at its next step."""
        self._stopped.set()


class Bar(Silent):
    """A rich progress bar over all transfers of a command."""

    def __init__(self, title: str) -> None:
        super().__init__()
        from rich.console import Console  # noqa: PLC0415 (only terminals need it)
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bars.add_task(title, total=0)
        self._total = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def expect(self, size: int) -> None:
        """Lengthen the bar."""
        with self._lock:
            self._total += size
            self._bars.update(self._task, total=self._total)

    def advance(self, size: int) -> None:
        """Fill the bar."""
        super().advance(size)
        self._bars.advance(self._task, size)


@contextmanager
def shown(title: str, *, visible: bool) -> Iterator[Silent]:
    """A bar if it is to be visible, silence otherwise."""
    if not visible:
        yield Silent()
        return
    with Bar(title) as bar:
        yield bar
