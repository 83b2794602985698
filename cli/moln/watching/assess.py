"""Is the cloud all right? One word, and the reasons. Pure: `moln health` is this and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from moln_spec.coverage import Coverage, coverage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moln.watching.snapshot import Snapshot

FULL_PERCENT: Final = 90
"""As the operator's Degraded condition has it."""
_BAD: Final = {"Ready": "False", "Accepted": "False", "Degraded": "True", "ScaleDownBlocked": "True"}
_STATES: Final = ("warn", "fail")


class Level(IntEnum):
    """How a cloud is, from well to worst."""

    HEALTHY = 0
    DEGRADED = 1
    AT_RISK = 2

    @property
    def word(self) -> str:
        """The word for people and programs."""
        return {0: "healthy", 1: "degraded", 2: "data at risk"}[self.value]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A cloud's level, the sentences that led to it, the worst first, and how many copies serve."""

    level: Level
    reasons: tuple[str, ...]
    coverage: Coverage


def assess(seen: Snapshot, full_percent: int = FULL_PERCENT) -> Verdict:
    """Judge a cloud by what was seen of it, a volume as too full from `full_percent` up.

    What was not seen is never taken for well.
    """
    found = coverage(seen.map, {page.name for page in seen.pages if page.serves})
    reasons = sorted(
        [*_copies(found), *_nodes(seen, full_percent), *_conditions(seen)], key=lambda reason: -reason[0]
    )  # sorted is stable: within a level they stay as they were found
    level = max((level for level, _ in reasons), default=Level.HEALTHY)
    return Verdict(level, tuple(dict.fromkeys(sentence for _, sentence in reasons)), found)


def _copies(found: Coverage) -> Iterator[tuple[Level, str]]:
    if found.fewest == 0:
        yield Level.AT_RISK, "of some keys no owner serves: they can't be reached"
    elif found.at_risk:
        yield Level.AT_RISK, f"of some keys one of {found.copies} owners serves: the next loss costs data"
    if found.stuck:
        share = f"{found.stuck} of {found.partitions} partitions"
        yield Level.DEGRADED, f"{share} can't be read or written: no majority of their owners serves"


def _nodes(seen: Snapshot, full_percent: int) -> Iterator[tuple[Level, str]]:
    epoch = max(seen.map.epoch, *(page.epoch for page in seen.pages))
    for page in seen.pages:
        if page.error:
            yield Level.DEGRADED, f"{page.name}: {page.error}"
            continue
        for check in page.checks:
            if check.state in _STATES:
                yield Level.DEGRADED, f"{page.name}: {check.name}: {check.message}"
        if page.bad:
            yield Level.AT_RISK, f"{page.name}: its last scrub found {page.bad} damaged copies, and no good ones"
        percent = 100 * page.used / max(page.capacity, 1)
        if percent >= full_percent:
            yield Level.DEGRADED, f"{page.name}: its volume is {percent:.0f} % full"
        if page.epoch < epoch:
            yield Level.DEGRADED, f"{page.name}: it obeys epoch {page.epoch} of the map, not {epoch}"
    if waiting := sum(page.hints for page in seen.pages):
        yield Level.DEGRADED, f"{waiting} registers wait for repair: an owner lacks something"
    if letters := sum(page.dead_letters for page in seen.pages):
        yield Level.AT_RISK, f"{letters} dead letters: writes that are on one disk only; see `moln letters`"


def _conditions(seen: Snapshot) -> Iterator[tuple[Level, str]]:
    for condition in seen.conditions:
        if condition.status == _BAD.get(condition.type):
            yield Level.DEGRADED, f"{condition.reason}: {condition.message}"
