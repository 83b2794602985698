"""A disk whose power can be cut: for the crash tests of anything that claims to have written.

    with PowerCutDisk(tmp_path, size=1 << 30) as disk:
        store = start_writer(disk.mount)
        acknowledged = list(store.acknowledged)  # before the cut: what came later may be lost
        cut = disk.cut()
        store.kill()
        disk.restore(cut)
        ...  # disk.mount holds what had reached the device at the moment of the cut, after XFS replayed its log

The disk is an XFS in a file on a loop device. A cut is a reflink of that file: it has every write that the device had
taken, and nothing of what was still in the page cache above. So what was not fsynced is lost (or is there, should the
kernel have written it back already), and what was fsynced is there. The device has no volatile cache of its own: a
program that forgets only the flush command, yet has written to the device, is not caught.

Needs root and loop devices; nothing of Kubernetes. Called by the store's tests and by `moln_lab.volumes`.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from moln_lab import block

_POOL_SIZE = 256 << 30  # sparse: it must only never be the thing that is full


@dataclass(frozen=True, slots=True)
class Cut:
    """A disk as it was at one moment. It can be restored any number of times."""

    image: Path


class Pool:
    """An XFS that keeps images, so that they can be reflinked: itself a sparse file on a loop device.

    `<directory>/pool.img` mounted at `<directory>/pool`.
    """

    def __init__(self, directory: Path) -> None:
        self._image = directory / "pool.img"
        self.mount = directory / "pool"

    def open(self) -> None:
        """Make the pool where there is none yet, and mount it; nothing happens when it is mounted."""
        self._image.parent.mkdir(parents=True, exist_ok=True)
        if not self._image.exists():
            block.make_xfs(self._image, _POOL_SIZE)
        block.mount_image(self._image, self.mount)


class PowerCutDisk:
    """An XFS of `size` bytes (at least 300 MiB) at `directory`/mount; see the module for what a cut means.

    A context manager: on leaving, mounts and loop devices are gone. Whatever was left in `directory` by a killed
    process is released on entering, and the disk starts empty.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory.resolve()
        self._size = size
        self._pool = Pool(self._directory)
        self._image = self._pool.mount / "disk.img"
        self._cuts = 0
        self.mount = self._directory / "mount"
        """Where the disk is mounted."""

    def __enter__(self) -> Self:
        try:
            block.release_under(self._directory)
            self._pool.open()
            block.make_xfs(self._image, self._size)
            block.mount_image(self._image, self.mount)
        except BaseException:
            block.release_under(self._directory)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        block.release_under(self._directory)

    def cut(self) -> Cut:
        """Keep what has reached the device at this moment, while writers run on; takes milliseconds."""
        self._cuts += 1
        image = self._image.with_name(f"cut-{self._cuts}.img")
        block.reflink(self._image, image)
        return Cut(image)

    def restore(self, cut: Cut) -> None:
        """Bring the disk back as it was at `cut`, mounted at the same place; XFS replays its log.

        Raises:
            LabError: a process still has a file open on the disk: kill the writers first.
        """
        block.unmount(self.mount)
        copy = self._image.with_name("restored.img")
        block.reflink(cut.image, copy)
        copy.rename(self._image)
        block.mount_image(self._image, self.mount)
