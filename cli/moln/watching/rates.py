"""What happens each second, from two looks at a node's counters. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln.watching.page import Counters


@dataclass(frozen=True, slots=True)
class Rates:
    """A node's traffic between two looks; `slowest` is the time within which 99 of 100 requests were answered.

    That time is the upper bound of a histogram's bucket in seconds: inf beyond the last, None without requests.
    """

    requests: float = 0
    errors: float = 0
    received: float = 0
    sent: float = 0
    slowest: float | None = None


def between(before: Counters, now: Counters) -> Rates | None:
    """The rates; None where there was no look before, or the node has begun anew since."""
    seconds = now.at - before.at
    if not before.at or not now.at or seconds <= 0 or now.requests < before.requests or now.sent < before.sent:
        return None
    return Rates(
        requests=(now.requests - before.requests) / seconds,
        errors=(now.errors - before.errors) / seconds,
        received=(now.received - before.received) / seconds,
        sent=(now.sent - before.sent) / seconds,
        slowest=_quantile(0.99, before.latency, now.latency),
    )


def _quantile(share: float, before: Mapping[float, float], now: Mapping[float, float]) -> float | None:
    counts = {bound: count - before.get(bound, 0) for bound, count in sorted(now.items())}
    total = counts.get(math.inf, 0)
    if total <= 0:
        return None
    return next(bound for bound, count in counts.items() if count >= share * total)
