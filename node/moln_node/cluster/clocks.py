"""What time it is: by the clocks of the cloud's nodes together, for what removes by age.

Not by one alone: a clock that is years ahead must not remove what is new, nor one without the time keep what is old.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.messages import Report, ReportAsk
from moln_spec.placement import quorum

if TYPE_CHECKING:
    from moln_node.cluster.members import Obeyed


async def agreed_ms(now: Obeyed) -> int:
    """Milliseconds since 1970 by the middle one of the clocks, of two in the middle by the earlier one.

    Raises:
        UnavailableError: fewer than a majority of the nodes tell theirs.
    """
    asked = [now.replica(name).report(ReportAsk()) for name in now.participants]
    reports = await asyncio.gather(*asked, return_exceptions=True)
    told = sorted(report.clock_ms for report in reports if isinstance(report, Report) and report.clock_ms)
    if len(told) < quorum(len(asked), len(asked)):
        raise UnavailableError("too few nodes tell the time by their clocks")
    return told[(len(told) - 1) // 2]
