"""One body file: blocks of equal length, each raw or a zstd frame, then an index of them with their checksums.

Layout (docs/on-disk-format.md has it byte by byte): header, blocks back to back, block index, trailer. A file is
written from front to end in one go and never changed. Blocking: called on the store's threads, one thread at a time.
"""

from __future__ import annotations

import os
import struct
import threading
from array import array
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from moln_node.store import checksum
from moln_node.store.codec import Compressor, decompress
from moln_node.store.errors import CorruptError, UnsupportedFormatError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMAT: Final = 1
BLOCK: Final = 256 * 1024
"""Plain bytes of a block; the last one of a body may be shorter."""

_MAGIC: Final = b"molnbody"
_END: Final = b"ydobnlom"
_HEADER: Final = struct.Struct("<8sHHIQ")
_CHECK: Final = struct.Struct("<Q")
_ENTRY: Final = struct.Struct("<IQ")
_TRAILER: Final = struct.Struct("<QQIIQ")
HEADER_LENGTH: Final = _HEADER.size + _CHECK.size
TRAILER_LENGTH: Final = _TRAILER.size + _CHECK.size + len(_END)
_COMPRESSED: Final = 1 << 31
_INDEX_PART: Final = (1 << 32) - 1  # the seeds of header, index and trailer: part numbers that no block has
_TRAILER_PART: Final = (1 << 32) - 2
_HEADER_PART: Final = (1 << 32) - 3
PLAIN: Final = 1
"""In a header: not compressed; a zstd level is one more than itself, and 0 where the writer did not tell."""


class _Scratch(threading.local):
    """A block of memory of each thread, for bytes that are only looked at."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(BLOCK))


_scratch: Final = _Scratch()


@dataclass(frozen=True, slots=True)
class Written:
    """A body file whose bytes are on the disk."""

    size: int
    stored: int


class BodyFileWriter:
    """Writes one body file, made with the first byte, after `prepare`. `finish` or `discard` ends it."""

    def __init__(self, path: Path, body_id: int, level: int | None, prepare: Callable[[], None]) -> None:
        self.id = body_id
        self._path = path
        self._prepare = prepare
        self._compressor = Compressor(level)
        self._packed = packed(level)
        self._lengths = array("L")
        self._checks = array("Q")
        self._size = 0
        self._payload = 0
        self._rest = b""
        self._fd = -1

    def write(self, pieces: list[bytes]) -> None:
        """Append bytes. Whole blocks of them are written; what is left waits for more, or for `finish`."""
        data = b"".join((self._rest, *pieces)) if self._rest or len(pieces) != 1 else pieces[0]
        whole = len(data) - len(data) % BLOCK
        self._append(memoryview(data)[:whole])
        self._rest = data[whole:]

    def _append(self, data: memoryview) -> None:
        """Write blocks; only the last one of the body may be shorter."""
        stored: list[bytes | memoryview] = [] if self._fd >= 0 else [self._begin()]
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            frame = self._compressor.compress(block)
            content = block if frame is None else frame
            self._checks.append(checksum.of(content, checksum.seed(self.id, len(self._lengths))))
            self._lengths.append(len(content) | (0 if frame is None else _COMPRESSED))
            self._payload += len(content)
            stored.append(content)
        self._size += len(data)
        _write_all(self._fd, stored)

    def _begin(self) -> bytes:
        """Make the file; its header."""
        self._prepare()
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        header = _HEADER.pack(_MAGIC, FORMAT, self._packed, BLOCK, self.id)
        return header + _CHECK.pack(checksum.of(header, checksum.seed(self.id, _HEADER_PART)))

    def finish(self) -> Written:
        """Write the index and the trailer, and bring the bytes to the disk; the name is the caller's to sync."""
        self._append(memoryview(self._rest))
        index = b"".join(map(_ENTRY.pack, self._lengths, self._checks))
        check = checksum.of(index, checksum.seed(self.id, _INDEX_PART))
        trailer = _TRAILER.pack(self._size, self._payload, len(self._lengths), BLOCK, check)
        check = checksum.of(trailer, checksum.seed(self.id, _TRAILER_PART))
        _write_all(self._fd, [index + trailer + _CHECK.pack(check) + _END])
        os.fdatasync(self._fd)
        os.close(self._fd)
        self._fd = -1
        return Written(self._size, HEADER_LENGTH + self._payload + len(index) + TRAILER_LENGTH)

    def discard(self) -> None:
        """Leave nothing behind; also after `finish`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._path.unlink(missing_ok=True)


class BodyFile:
    """A body file opened for reading. It stays readable until closed, also when its name is gone."""

    def __init__(self, path: Path, body_id: int) -> None:
        self._path = path
        self._id = body_id
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        """Read and check header, trailer and index; the blocks are checked as they are read."""
        self.stored = os.fstat(self._fd).st_size
        self._check_header()
        end = self._raw(max(0, self.stored - TRAILER_LENGTH), TRAILER_LENGTH)
        fields, (check,) = end[: _TRAILER.size], _CHECK.unpack_from(end, _TRAILER.size)
        if end[-len(_END) :] != _END or check != checksum.of(fields, checksum.seed(self._id, _TRAILER_PART)):
            raise CorruptError(f"{self._path}: its trailer does not match its checksum")
        self.size, payload, blocks, self.block, index_check = _TRAILER.unpack(fields)
        index = self._raw(HEADER_LENGTH + payload, blocks * _ENTRY.size)
        if index_check != checksum.of(index, checksum.seed(self._id, _INDEX_PART)):
            raise CorruptError(f"{self._path}: its block index does not match its checksum")
        entries = list(_ENTRY.iter_unpack(index))
        self._lengths = [length & ~_COMPRESSED for length, _ in entries]
        self._compressed = [bool(length & _COMPRESSED) for length, _ in entries]
        self._checks = [check for _, check in entries]
        self._offsets = list(accumulate(self._lengths, initial=HEADER_LENGTH))

    def _check_header(self) -> None:
        """Refuse a file of another format, another body's, or a damaged one."""
        head = self._raw(0, HEADER_LENGTH)
        magic, version, self.packed, _, body_id = _HEADER.unpack_from(head)
        (check,) = _CHECK.unpack_from(head, _HEADER.size)
        if (
            magic != _MAGIC
            or body_id != self._id
            or check != checksum.of(head[: _HEADER.size], checksum.seed(self._id, _HEADER_PART))
        ):
            raise CorruptError(f"{self._path}: its header is damaged, or it is another body's")
        if version != FORMAT:
            raise UnsupportedFormatError(f"{self._path} has format {version}; this release reads {FORMAT}")

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self._lengths)

    def read(self, start: int, end: int) -> list[bytes]:
        """The plain bytes from `start` up to `end`, checked, reading only the blocks they are in."""
        plain = []
        for number in range(start // self.block, (end - 1) // self.block + 1):
            base = number * self.block
            block = self._plain(number)
            low, high = max(0, start - base), end - base
            plain.append(block if low == 0 and high >= len(block) else block[low:high])
        return plain

    def _plain(self, number: int) -> bytes:
        """The plain bytes of a block, after checking what is stored of it."""
        content = self._raw(self._offsets[number], self._lengths[number])
        self._check(number, content)
        if self._compressed[number]:
            return decompress(content, min(self.block, self.size - number * self.block))
        return content

    def place(self, start: int, end: int) -> int | None:
        """Where in the file the plain bytes from `start` up to `end` are, checked there; None if any is compressed.

        CorruptError as in `read`.
        """
        first, last = start // self.block, (end - 1) // self.block
        if self.block > BLOCK or any(self._compressed[first : last + 1]):
            return None
        for number in range(first, last + 1):
            content = _scratch.memory[: self._lengths[number]]
            if os.preadv(self._fd, [content], self._offsets[number]) != len(content):
                raise CorruptError(f"{self._path} is cut short")
            self._check(number, content)
        offset: int = self._offsets[first] + start - first * self.block
        return offset

    def fileno(self) -> int:
        """The open file, as the system knows it."""
        return self._fd

    def _check(self, number: int, content: bytes | memoryview) -> None:
        """Hold what is stored of a block against its checksum and, where it is not compressed, its length."""
        if checksum.of(content, checksum.seed(self._id, number)) != self._checks[number]:
            raise CorruptError(f"{self._path}: block {number} does not match its checksum")
        size = min(self.block, self.size - number * self.block)
        if not self._compressed[number] and len(content) != size:
            raise CorruptError(f"{self._path}: block {number} has {len(content)} bytes instead of {size}")

    def _raw(self, offset: int, length: int) -> bytes:
        """Bytes of the file as they are; CorruptError where it ends too soon."""
        data = os.pread(self._fd, length, offset)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                raise CorruptError(f"{self._path} is cut short")
            data += more
        return data

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def packed(level: int | None) -> int:
    """How a header tells the zstd level, or None."""
    return PLAIN if level is None else PLAIN + level


def _write_all(fd: int, buffers: list[bytes | memoryview]) -> None:
    """Write every byte, however many calls it takes."""
    while buffers:
        written = os.writev(fd, buffers)
        while buffers and written >= len(buffers[0]):
            written -= len(buffers.pop(0))
        if written:
            buffers[0] = memoryview(buffers[0])[written:]
