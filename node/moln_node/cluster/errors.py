"""Why a cloud of many nodes can't answer now. All of them are the store's kind of error, and temporary."""

from __future__ import annotations

from moln_node.store.errors import StoreError


class UnavailableError(StoreError):
    """Too few owners answered, or the outcome could not be made certain in time: try again."""


class PeerError(Exception):
    """A peer did not do what it was asked. `sent` says whether it may have done it all the same."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class StaleEpochError(PeerError):
    """The peer obeys a newer cloud map, of this epoch: whoever asked by an older one begins anew."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"a peer obeys the newer cloud map of epoch {epoch}", sent=False)
        self.epoch = epoch


class LateEpochError(PeerError):
    """The peer obeys an older cloud map, of this epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"a peer obeys the older cloud map of epoch {epoch}", sent=False)
        self.epoch = epoch
