"""Object lock: which version may be removed, and how its retention may change. Pure; asked where a delete is decided.

A version under legal hold, or retained until a time that has not come, is removed by nobody; only GOVERNANCE lets those
by who may bypass it. Time is that of the node that decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moln_node.store.errors import BucketStateError, ObjectLockedError
from moln_node.store.model import GOVERNANCE, HOLD_ON, Lock, Retention, Versioning

if TYPE_CHECKING:
    from moln_node.store.model import Bucket

SETTING: Final = "object-lock"
"""The bucket's setting that says it has object lock; it is never removed."""


def require_removable(lock: Lock, now_ms: int, *, bypass: bool) -> None:
    """ObjectLockedError unless a version with this lock may be removed."""
    if lock.hold == HOLD_ON:
        raise ObjectLockedError("Access Denied because object protected by object lock: it is under legal hold.")
    if _binds(lock.retention, now_ms, bypass=bypass):
        raise ObjectLockedError(
            f"Access Denied because object protected by object lock: it is retained ({lock.retention.mode})."
        )


def require_retainable(lock: Lock, wanted: Retention, now_ms: int, *, bypass: bool) -> None:
    """ObjectLockedError unless a version with this lock may be retained so instead: longer, or because it is free."""
    now = lock.retention
    prolonged = wanted.mode == now.mode and wanted.until_ms >= now.until_ms
    if _binds(now, now_ms, bypass=bypass) and not prolonged:
        raise ObjectLockedError(
            f"Access Denied because object protected by object lock: its retention ({now.mode}) can only be prolonged."
        )


def require_sound(bucket: Bucket) -> None:
    """BucketStateError if a bucket with object lock does not keep versions: a write would take a locked one's place."""
    if SETTING in bucket.settings and bucket.versioning is not Versioning.ENABLED:
        raise BucketStateError(
            "Object lock needs versioning: it must be enabled before, and cannot be suspended after."
        )


def _binds(retention: Retention, now_ms: int, *, bypass: bool) -> bool:
    return retention.until_ms > now_ms and not (bypass and retention.mode == GOVERNANCE)
