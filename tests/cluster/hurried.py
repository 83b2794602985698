"""`python -m tests.cluster.hurried`: a node that drops bodies which nothing names within seconds, not in 5 minutes.

What makes that safe is hurried along with it: how long a body may be named after it was written. Sweeps come every few
seconds too, and promises are forgotten that are younger than clocks are wrong.
"""

from __future__ import annotations

import sys

from moln_node import __main__ as node
from moln_node.cluster import apart, sweep, unnamed

_WINDOW_SECONDS = 1.0
_LAG_SECONDS = 4.0

if __name__ == "__main__":
    vars(apart)["WINDOW_SECONDS"] = _WINDOW_SECONDS
    vars(unnamed).update(LAG_SECONDS=_LAG_SECONDS, TURN_SECONDS=1.0, WALK_SECONDS=2 * _LAG_SECONDS, AHEAD_MS=125_000)
    vars(sweep).update(INTERVAL_SECONDS=_LAG_SECONDS, PROMISE_MS=2_000)
    sys.exit(node.main())
