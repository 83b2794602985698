"""Volumes that grow: claims whose request is below the size that the pool asks for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_operator.plan import names
from moln_operator.plan.pools import pools
from moln_spec.quantity import to_bytes

if TYPE_CHECKING:
    from moln_operator.observe.state import Observed


def growth(observed: Observed) -> dict[str, str]:
    """The new size of each claim that must grow. Never a smaller one: Kubernetes refuses, and data would not fit."""
    wanted: dict[str, str] = {}
    for pool, spec in pools(observed).items():
        for ordinal in range(spec.replicas):
            claim = observed.claims.get(names.claim(names.pod(pool, ordinal)))
            requested = claim.content["requested"] if claim is not None else ""
            if requested and to_bytes(requested) < to_bytes(spec.volume.size):
                wanted[names.claim(names.pod(pool, ordinal))] = spec.volume.size
    return wanted
