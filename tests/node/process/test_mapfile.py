"""Which map a node obeys: decided by epoch and identity, kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.node.process.harness import cloud_map

from moln_node import mapfile
from moln_node.exits import StartError
from moln_node.mapfile import MapNotKeptError, MapRefusedError
from moln_spec.cloudmap import CloudMap

if TYPE_CHECKING:
    from pathlib import Path


def _map(epoch: int, **changes: Any) -> CloudMap:
    return CloudMap.model_validate(cloud_map(epoch, **changes))


@pytest.mark.parametrize(
    ("offered", "taken"),
    [(_map(6), True), (_map(99), True), (_map(5), False), (_map(4), False), (_map(1, cloud="older"), False)],
)
def test_only_a_higher_epoch_is_taken(offered: CloudMap, taken: bool) -> None:
    """The same and older epochs change nothing."""
    assert mapfile.newer(_map(5), offered, "n-0") is taken


@pytest.mark.parametrize(
    "offered", [_map(6, uid="other"), _map(5, cloud="other"), _map(6, node="n-1"), _map(6, partitions=8)]
)
def test_what_can_never_be_obeyed_is_refused(offered: CloudMap) -> None:
    """Another cloud, a second map of one epoch, one without this node, other partitions."""
    with pytest.raises(MapRefusedError):
        mapfile.newer(_map(5), offered, "n-0")


def test_the_newest_map_ever_kept_is_the_one_to_start_with(tmp_path: Path) -> None:
    """The file on disk beats an older given one and gives way to a newer one."""
    assert mapfile.choose(tmp_path, _map(3), "n-0").epoch == 3
    mapfile.keep(tmp_path, _map(5))
    assert mapfile.choose(tmp_path, _map(3), "n-0").epoch == 5
    assert mapfile.choose(tmp_path, _map(7), "n-0").epoch == 7
    assert mapfile.choose(tmp_path, _map(3), "n-0").epoch == 5


def test_a_torn_map_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    """A kept map that cannot be read is never silently replaced: it says which cloud the disk belongs to."""
    mapfile.keep(tmp_path, _map(5))
    (tmp_path / "cloud-map.json").write_text('{"cloud": ')
    with pytest.raises(StartError, match="kept cloud map"):
        mapfile.choose(tmp_path, _map(9), "n-0")


def test_an_interrupted_write_leaves_the_old_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new map appears whole or not at all: a failing fsync changes nothing that is read."""
    mapfile.keep(tmp_path, _map(5))

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("moln_node.mapfile.os.fsync", fail)
    with pytest.raises(MapNotKeptError, match="epoch 6 can't be kept on this disk: Input/output error"):
        mapfile.keep(tmp_path, _map(6))
    assert mapfile.choose(tmp_path, _map(1), "n-0").epoch == 5


def test_a_map_that_is_kept_already_wants_no_room(tmp_path: Path) -> None:
    """A node starts again on a disk that is full."""
    mapfile.keep(tmp_path, _map(5))
    (tmp_path / "cloud-map.json.new").mkdir()  # whoever writes it fails
    mapfile.keep(tmp_path, _map(5))
    with pytest.raises(MapNotKeptError):
        mapfile.keep(tmp_path, _map(6))
