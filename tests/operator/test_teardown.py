"""The order in which a Cloud with deletionPolicy Delete is taken down."""

from __future__ import annotations

from typing import Any

import pytest
from tests.operator.given import a_claim, a_cloud, a_pod, a_stateful_set, observed

from moln_operator.plan.teardown import teardown

SETS = {"photos": a_stateful_set()}
CLAIMS = {"data-photos-0": a_claim("data-photos-0", "10Gi")}
SECRETS = ("photos-root", "photos-cluster", "photos-master-keys")
KEPT = frozenset({*(("Secret", name) for name in SECRETS), ("ConfigMap", "photos-map")})


@pytest.mark.parametrize(
    ("state", "deleted", "waiting"),
    [
        ({"stateful_sets": SETS, "claims": CLAIMS, "children": KEPT}, ["photos"], "waiting for photos-0 to stop"),
        ({"claims": CLAIMS, "children": KEPT}, [], "waiting for photos-0 to stop"),
        ({"pods": {}, "claims": CLAIMS, "children": KEPT}, ["data-photos-0"], "deleting the volumes data-photos-0"),
        ({"pods": {}, "children": KEPT}, [*SECRETS, "photos-map"], "deleting keys and map"),
        ({"pods": {}, "children": frozenset()}, [], ""),
    ],
    ids=["nodes", "nodes stop", "volumes", "keys and map", "nothing left"],
)
def test_each_step_waits_for_the_one_before(state: dict[str, Any], deleted: list[str], waiting: str) -> None:
    """Nodes stop before their volumes go; keys and map go last, so that every earlier step can be tried again."""
    step = teardown(observed(**{"pods": {"photos-0": a_pod()}, **state}))
    assert [name for _, name in step.delete] == deleted
    assert step.waiting == waiting


def test_a_secret_that_the_user_wrote_stays() -> None:
    """A root Secret without the operator's label is not among the children, so it is not deleted."""
    step = teardown(observed(a_cloud(rootSecretName="mine"), pods={}, children=frozenset({("Secret", "photos-map")})))
    assert step.delete == ()
