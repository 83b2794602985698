"""Writes statuses, only where they differ, and tells of what changed in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lightkube import ApiError

from moln_operator.report import status

if TYPE_CHECKING:
    from moln_operator.kube.api import Api
    from moln_operator.kube.inventory import CloudKey, Inventory
    from moln_operator.report.events import Events
    from moln_operator.report.outcome import Outcome
    from moln_spec.model import Document
    from moln_spec.resources.cloud import Cloud, CloudStatus
    from moln_spec.resources.policy import ReplicationPolicy
    from moln_spec.resources.storagenode import StorageNode

_BAD_NEWS: Final = ("Degraded", "ScaleDownBlocked")
"""Conditions that are as they should be while they are False."""


class Reporter:
    """Writes what a reconcile found."""

    def __init__(self, api: Api, inventory: Inventory, events: Events) -> None:
        self._api = api
        self._inventory = inventory
        self._events = events

    async def report(self, outcome: Outcome) -> CloudStatus:
        """Bring the statuses of a Cloud, its pools and its policies up to date; the Cloud's new status."""
        observed = outcome.observed
        cloud = observed.cloud
        key = (cloud.metadata.namespace, cloud.metadata.name)
        found = status.cloud_status(outcome)
        await self.write(key, cloud, found)
        await self._tell(cloud, found)
        for pool in observed.storage_nodes:
            await self.write(key, pool, status.storage_node_status(outcome, pool))
        members = outcome.cloud_map.layout.members if outcome.cloud_map is not None else ()
        for policy in observed.policies:
            pools = policy.spec.pools
            nodes = sum(not pools or member.pool in pools for member in members)
            found_policy = status.policy_status(policy, cloud, nodes, outcome.problems, observed.now)
            await self.write(key, policy, found_policy)
        return found

    async def write(self, key: CloudKey, resource: Cloud | StorageNode | ReplicationPolicy, now: Document) -> None:
        """Write the status of one resource, unless it says the same already."""
        if resource.status == now:
            return
        document = now.model_dump(mode="json", by_alias=True)
        try:
            made = await self._api.set_status(resource.kind, key[0], resource.metadata.name, document)
        except ApiError as error:
            if error.status.code == 404:
                return
            raise
        self._inventory.put(made)

    async def _tell(self, cloud: Cloud, found: CloudStatus) -> None:
        """An event for each condition that changed."""
        before = {condition.type: condition for condition in cloud.status.conditions}
        for condition in found.conditions:
            old = before.get(condition.type)
            is_bad = condition.status == ("True" if condition.type in _BAD_NEWS else "False")
            is_start = condition.reason == "NodesStarting"
            is_same = old is not None and (old.status, old.reason) == (condition.status, condition.reason)
            if condition.type == "Progressing" or (is_same and (not is_bad or is_start or old == condition)):
                continue
            if old is None and condition.reason in ("Valid", "AsExpected"):
                continue
            note = condition.message or f"{condition.type} is {condition.status}"
            await self._events.say(cloud, "Warning" if is_bad and not is_start else "Normal", condition.reason, note)
