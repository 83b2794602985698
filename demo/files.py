"""Real files for the demo: this repository's own history and documents, and large generated media."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_RATE = 48_000


def _sound(path: Path, seconds: int) -> None:
    """A stereo WAV file of a slow chord with noise in its lowest bits, as a recording has."""
    frames = seconds * _RATE
    second = b"".join(
        struct.pack(
            "<hh",
            int(9000 * math.sin(2 * math.pi * 220 * t / _RATE) + 6000 * math.sin(2 * math.pi * 277 * t / _RATE)),
            int(9000 * math.sin(2 * math.pi * 330 * t / _RATE)),
        )
        for t in range(_RATE)
    )
    with path.open("wb") as file:
        header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + frames * 4, b"WAVE", b"fmt ", 16, 1, 2, _RATE,
                             _RATE * 4, 4, 16, b"data", frames * 4)  # fmt: skip
        file.write(header)
        for _ in range(seconds):
            noise = int.from_bytes(os.urandom(len(second))) & int.from_bytes(b"\x03\x00" * (len(second) // 2))
            file.write((int.from_bytes(second) ^ noise).to_bytes(len(second)))


def gather(folder: Path, checkout: Path) -> None:
    """Fill `folder`: documents, source, the history as a git bundle, a recording, a disk image, a sealed archive."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=checkout, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        target = folder / "project" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (checkout / name).is_file():
            shutil.copyfile(checkout / name, target)
    media = folder / "media"
    media.mkdir()
    subprocess.run(["git", "bundle", "create", "--quiet", media / "history.bundle", "HEAD"], cwd=checkout, check=True)
    _sound(media / "recording.wav", seconds=300)
    with (media / "disk.img").open("wb") as image:
        image.truncate(48 << 20)
    with (media / "backup.tar.enc").open("wb") as archive:
        for _ in range(96):
            archive.write(os.urandom(1 << 20))


def fingerprints(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path below `folder`."""
    prints = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            prints[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return prints
