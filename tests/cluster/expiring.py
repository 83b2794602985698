"""`python -m tests.cluster.expiring`: a node that carries out lifecycle rules every half second, not every hour."""

from __future__ import annotations

import sys
from functools import partial

from moln_node import __main__ as node
from moln_node.cluster import expiry

if __name__ == "__main__":
    vars(expiry)["run"] = partial(expiry.run, interval_s=0.5)
    sys.exit(node.main())
