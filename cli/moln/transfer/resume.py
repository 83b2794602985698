"""What is remembered of an unfinished upload, so that the same command goes on where it stopped.

One small file per upload under ~/.cache/moln/uploads, named by everything that makes it the same upload: endpoint,
object, file, its size and modification time, part size. A changed file is another upload.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from moln.files import write_private


class Unfinished(BaseModel):
    """An upload that was begun; `full_object` says that the server promised a checksum over the whole object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload_id: str
    full_object: bool


def _directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "moln" / "uploads"


@dataclass(frozen=True, slots=True)
class Memory:
    """The place where one upload is remembered."""

    file: Path

    @classmethod
    def of(cls, endpoint: str, name: str, path: Path, part_size: int, attributes: str) -> Memory:
        """The place for uploading this file, as it is now, to this name."""
        status = path.stat()
        facts = (endpoint, name, str(path.absolute()), status.st_size, status.st_mtime_ns, part_size, attributes)
        return cls(_directory() / hashlib.sha256(repr(facts).encode()).hexdigest())

    def recall(self) -> Unfinished | None:
        """The upload that was begun, if one was."""
        try:
            return Unfinished.model_validate_json(self.file.read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return None

    def keep(self, unfinished: Unfinished) -> None:
        """Remember; where that is not possible, an interrupted upload begins anew."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self.file, unfinished.model_dump_json())
        except OSError:
            return

    def forget(self) -> None:
        """The upload is complete, or gone."""
        self.file.unlink(missing_ok=True)
