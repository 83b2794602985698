"""StorageNodes and policies whose Cloud does not exist: they are told so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from moln_operator.report.conditions import Verdict, dated
from moln_operator.report.status import policy_status
from moln_spec.resources.policy import ReplicationPolicy
from moln_spec.resources.storagenode import StorageNode

if TYPE_CHECKING:
    from moln_operator.kube.inventory import CloudKey, Inventory
    from moln_operator.report.write import Reporter


class Orphans:
    """Reports on what refers to a Cloud that is not there."""

    def __init__(self, inventory: Inventory, reporter: Reporter) -> None:
        self._inventory = inventory
        self._reporter = reporter

    async def report(self, key: CloudKey) -> None:
        """Bring the statuses of what refers to this missing Cloud up to date."""
        now = time.time()
        for known in self._inventory.of(key, "ReplicationPolicy"):
            policy = ReplicationPolicy.model_validate(known.content)
            await self._reporter.write(key, policy, policy_status(policy, None, 0, (), now))
        for known in self._inventory.of(key, "StorageNode"):
            if known.deleting:
                continue
            pool = StorageNode.model_validate(known.content)
            missing = Verdict("Accepted", "False", "NoSuchCloud", f"there is no Cloud {key[1]} in this namespace")
            conditions = dated((missing,), pool.status.conditions, pool.metadata.generation, now)
            found = pool.status.model_copy(
                update={"conditions": conditions, "observed_generation": pool.metadata.generation}
            )
            await self._reporter.write(key, pool, found)
