"""What a lab remembers about itself from `up` to `down`, and the locks that keep two commands apart."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from moln_lab.errors import LabError
from moln_lab.files import write
from moln_lab.progress import Progress
from moln_lab.topology import Settings


class Saved(BaseModel):
    """The builds that a lab runs, and how many nodes it has."""

    nodes: int
    kubernetes: Path
    csi: Path

    @classmethod
    def find(cls, settings: Settings) -> Self | None:
        """Return what the last `up` wrote.

        An `up` by another version of the lab is as good as none: the next one makes what this version needs.
        """
        try:
            return cls.model_validate_json(_file(settings).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the last `up` wrote.

        Raises:
            LabError: There was none.
        """
        saved = cls.find(settings)
        if saved is None:
            raise LabError(f"the lab {settings.name!r} is not up: `moln-lab --name {settings.name} up` starts it")
        return saved

    def save(self, settings: Settings) -> None:
        """Remember this."""
        write(_file(settings), self.model_dump_json())


@contextlib.contextmanager
def locked(settings: Settings, what: str, progress: Progress) -> Iterator[None]:
    """Have something to oneself: a lab, by its name, or the builds in the cache.

    The kernel takes it back when the process ends, however it ends.
    """
    folder = settings.cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / what).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step("wait for another moln-lab to end"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _file(settings: Settings) -> Path:
    return settings.state / "lab.json"
