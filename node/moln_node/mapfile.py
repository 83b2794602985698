"""The cloud map on the node's disk: which cloud this disk belongs to, and the newest epoch that was ever obeyed.

Used by the process at its start and by port 9001. Never an older epoch, never another cloud's map.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from moln_node.documents import read_document
from moln_node.exits import ExitCode, StartError
from moln_spec.cloudmap import CloudMap

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = "cloud-map.json"


class MapRefusedError(Exception):
    """The map cannot be obeyed here: another cloud's, without this node, or a second map of one epoch."""


class MapNotKeptError(MapRefusedError):
    """The map can be obeyed, but not be kept on this disk: try again."""


def newer(current: CloudMap, offered: CloudMap, node: str) -> bool:
    """Whether `offered` takes the place of `current` on this node; MapRefusedError if it must not be obeyed at all.

    Two different maps of one epoch mean two writers: neither is taken over the other.
    """
    if offered.uid != current.uid:
        raise MapRefusedError(f"the map is of cloud {offered.uid}; this node belongs to cloud {current.uid}")
    if offered.epoch < current.epoch:
        return False
    if offered.epoch == current.epoch:
        if offered != current:
            raise MapRefusedError(f"another map of epoch {current.epoch} is obeyed already: raise the epoch")
        return False
    require_node(offered, node)
    if offered.partitions != current.partitions:
        raise MapRefusedError(f"partitions are fixed: {current.partitions}, and not {offered.partitions}")
    return True


def require_node(cloud_map: CloudMap, node: str) -> None:
    """MapRefusedError if the map does not name this node."""
    if node not in (member.name for member in cloud_map.nodes):
        names = ", ".join(member.name for member in cloud_map.nodes)
        raise MapRefusedError(f"the map does not name this node {node!r}; it names {names}")


def keep(directory: Path, cloud_map: CloudMap) -> None:
    """Write the map so that it survives a power cut: whole new file, synced, renamed, directory synced.

    Raises:
        MapNotKeptError: The disk did not take it.
    """
    try:
        _keep(directory, cloud_map.model_dump_json(indent=1).encode())
    except OSError as error:
        raise MapNotKeptError(
            f"the map of epoch {cloud_map.epoch} can't be kept on this disk: {error.strerror or error}"
        ) from error


def _keep(directory: Path, content: bytes) -> None:
    final, temporary = directory / _NAME, directory / f"{_NAME}.new"
    if not final.exists() or final.read_bytes() != content:  # a full disk keeps nobody from starting again
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(final)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def choose(directory: Path, given: CloudMap, node: str) -> CloudMap:
    """The map to start with: the one kept on this disk, or the given one where that is newer. Writes nothing.

    StartError if the disk belongs to another cloud or the map does not name this node.
    """
    path = directory / _NAME
    try:
        if path.exists():
            kept = read_document(path, CloudMap, "kept cloud map")
            if given.uid == kept.uid and given.epoch <= kept.epoch:
                return kept
            newer(kept, given, node)
        require_node(given, node)
    except MapRefusedError as error:
        raise StartError(f"{error} (data directory {directory})", ExitCode.DATA) from error
    return given
