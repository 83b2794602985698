"""The lock of a new version, by headers and its bucket's default; who bypasses governance; what readers are told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from moln_node.s3 import xml
from moln_node.s3.errors import S3Error
from moln_node.s3.lock import configuration
from moln_node.store.model import COMPLIANCE, GOVERNANCE, HOLD_ON, UNLOCKED, Lock, Retention

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.s3.call import Call
    from moln_node.store.model import Record

MODE: Final = "x-amz-object-lock-mode"
UNTIL: Final = "x-amz-object-lock-retain-until-date"
HOLD: Final = "x-amz-object-lock-legal-hold"
_BYPASS: Final = "x-amz-bypass-governance-retention"
MODES: Final = frozenset({GOVERNANCE, COMPLIANCE})
HOLDS: Final = frozenset({HOLD_ON, "OFF"})


async def for_write(call: Call, asking: Mapping[str, str], key: str) -> Lock:
    """The lock of a new object: as asked for, else as the bucket retains by default; S3Error."""
    lock = await asked_for(call, asking, key)
    default = configuration.default_retention(call.bucket_record, call.settings.now())
    return lock if default is None or lock.retention.mode else Lock(default, lock.hold)


async def asked_for(call: Call, asking: Mapping[str, str], key: str) -> Lock:
    """The lock that headers (or a form's fields) ask for, by who may; AccessDenied, InvalidArgument, InvalidRequest."""
    if not any(name in asking for name in (MODE, UNTIL, HOLD)):
        return UNLOCKED
    configuration.require_enabled(call.bucket_record)
    retention, hold = Retention(), asking.get(HOLD, "")
    if MODE in asking or UNTIL in asking:
        if asking.get(MODE) not in MODES or UNTIL not in asking:
            raise S3Error(
                "InvalidArgument",
                f"{UNTIL} and {MODE} (GOVERNANCE or COMPLIANCE) must both be supplied",
                ArgumentName=MODE,
                ArgumentValue=asking.get(MODE, ""),
            )
        retention = Retention(asking[MODE], moment(asking[UNTIL], call.settings.now()))
        await call.authorise("s3:PutObjectRetention", call.bucket, key, headers=asking)
    if hold:
        if hold not in HOLDS:
            raise S3Error("InvalidArgument", "Legal Hold must be either of 'ON' or 'OFF'", ArgumentName=HOLD)
        await call.authorise("s3:PutObjectLegalHold", call.bucket, key, headers=asking)
    return Lock(retention, hold)


def moment(text: str, now: float) -> int:
    """A time to retain until, in milliseconds; InvalidArgument if it is none, or has passed at `now`."""
    try:
        until = datetime.fromisoformat(text.strip())
    except ValueError:
        raise S3Error("InvalidArgument", "The retain until date must be provided in ISO 8601 format") from None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    if until.timestamp() <= now:
        raise S3Error("InvalidArgument", "The retain until date must be in the future!")
    return int(until.timestamp() * 1000)


async def bypasses(call: Call, key: str) -> bool:
    """Whether the request passes a retention of governance; AccessDenied if its sender may not."""
    if call.headers.get(_BYPASS, "").lower() != "true":
        return False
    await call.authorise("s3:BypassGovernanceRetention", call.bucket, key)
    return True


async def shown(call: Call, record: Record) -> dict[str, str]:
    """What GET and HEAD say of a version's lock, to those who may read it."""
    lock = record.attributes.lock
    if lock == UNLOCKED:
        return {}
    told: dict[str, str] = {}
    if lock.retention.mode and await _may(call, "s3:GetObjectRetention", record):
        told |= {MODE: lock.retention.mode, UNTIL: xml.iso_time(lock.retention.until_ms)}
    if lock.hold and await _may(call, "s3:GetObjectLegalHold", record):
        told[HOLD] = lock.hold
    return told


async def _may(call: Call, action: str, record: Record) -> bool:
    try:
        await call.authorise(action, record.bucket, record.key, version_id=call.query.get("versionId"))
    except S3Error:
        return False
    return True
