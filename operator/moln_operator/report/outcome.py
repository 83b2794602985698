"""What one reconcile found and did: what a status is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_operator.observe.nodes import Answer
    from moln_operator.observe.state import Observed
    from moln_operator.plan.peers import Peering
    from moln_operator.plan.rolling import Roll
    from moln_operator.plan.rotation import Rotation
    from moln_spec.cloudmap import CloudMap
    from moln_spec.membership import Step


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one reconcile.

    Attributes:
        observed: what it started from.
        cloud_map: the map that nodes shall obey; None when there is none yet.
        answers: what nodes said at the end.
        problems: why the spec could not be put into effect, as sentences.
        error: what failed on the way; empty when nothing did.
        waiting: what a deletion waits for.
        roll: which pods do not run as the spec asks yet; None where nobody looked.
        rotation: where a change of the cloud secret is; None where nobody looked.
        peering: where TLS on port 9001 is; None where there is none, or nobody looked.
        step: what was decided of the nodes' membership; None where nothing was.
    """

    observed: Observed
    cloud_map: CloudMap | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    error: str = ""
    waiting: str = ""
    step: Step | None = None
    roll: Roll | None = None
    rotation: Rotation | None = None
    peering: Peering | None = None
