"""The epoch at which this node answers as an owner, and what it has begun under older ones.

A sender finds a register's owners by the map of its epoch. An owner answers at its own epoch only, so that no attempt
mixes the lists of two maps; docs/membership.md says what rests on that. Used on the event loop.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from moln_node.cluster.errors import LateEpochError, StaleEpochError

if TYPE_CHECKING:
    from collections.abc import Callable


class Gate:
    """Lets calls of one epoch in.

    Attributes:
        epoch: of the calls that are let in now.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._under_way: Counter[int] = Counter()

    @property
    def obeyed(self) -> int:
        """The epoch by which this node does everything that it does: what it began under an older one is over."""
        return min((self.epoch, *self._under_way))

    def enter(self, epoch: int) -> Callable[[], None]:
        """Begin a call of that epoch; what is returned ends it.

        Raises:
            StaleEpochError: this node is ahead: take its map, find the owners anew.
            LateEpochError: this node is behind: hand it the newer map, and ask again.
        """
        if epoch < self.epoch:
            raise StaleEpochError(self.epoch)
        if epoch > self.epoch:
            raise LateEpochError(self.epoch)
        self._under_way[epoch] += 1
        return partial(self._leave, epoch)

    def _leave(self, epoch: int) -> None:
        self._under_way[epoch] -= 1
        if not self._under_way[epoch]:
            del self._under_way[epoch]
