"""One look at one Cloud: observe, plan, apply, report. The same from any state, however often it is called."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import httpx2
from lightkube import ApiError

from moln_operator.apply import authority, secrets
from moln_operator.apply.children import NameTakenError
from moln_operator.kube import labels
from moln_operator.plan import cloudmap, names, peers
from moln_operator.plan.children import children, superfluous
from moln_operator.plan.credentials import credentials
from moln_operator.plan.pools import problems
from moln_operator.plan.rolling import Roll, roll
from moln_operator.plan.rotation import refreshes, rotation, who_is_behind
from moln_operator.plan.statefulset import rolls_by_itself
from moln_operator.plan.teardown import teardown
from moln_operator.plan.volumes import growth
from moln_operator.report.outcome import Outcome
from moln_operator.report.steps import told
from moln_spec.mapmaking import UnusableCloudError

if TYPE_CHECKING:
    from moln_operator.apply.children import Applier, Change
    from moln_operator.apply.finalizers import Finalizers
    from moln_operator.apply.push import Pusher
    from moln_operator.kube.inventory import CloudKey
    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.gather import Observer
    from moln_operator.observe.state import ClusterSecret, Observed
    from moln_operator.plan.peers import Peering
    from moln_operator.plan.rotation import Rotation
    from moln_operator.report.events import Events
    from moln_operator.report.orphans import Orphans
    from moln_operator.report.write import Reporter
    from moln_operator.settings import Settings
    from moln_spec.cloudmap import CloudMap
    from moln_spec.resources.cloud import Cloud, CloudStatus

logger = logging.getLogger(__name__)
SOON_SECONDS: Final = 2.0


class ReconcileError(Exception):
    """A look that did not reach its end; it was reported, and is to be tried again."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Everything that a look needs."""

    observer: Observer
    applier: Applier
    finalizers: Finalizers
    pusher: Pusher
    reporter: Reporter
    orphans: Orphans
    events: Events
    settings: Settings

    async def reconcile(self, key: CloudKey) -> float | None:
        """Bring one Cloud nearer to its spec; seconds until the next look, None for no need of one.

        ReconcileError when something failed that is worth another try.
        """
        if not self.observer.is_ours(key):
            return None
        observed = await self.observer.observe(key)
        if observed is None:
            self.applier.forget(key)
            await self.finalizers.release_pools(self.observer.storage_nodes(key))
            await self.orphans.report(key)
            return None
        if observed.cloud.metadata.deletion_timestamp is not None:
            return await self._delete(observed)
        outcome = Outcome(observed, observed.previous_map, observed.answers, problems(observed))
        failure: Exception | None = None
        if not outcome.problems and not observed.cloud.spec.paused:
            try:
                outcome = await self._bring_about(key, observed)
            except (UnusableCloudError, NameTakenError) as error:
                outcome = replace(outcome, problems=error.problems)
            except httpx2.HTTPError as error:
                if _namespace_ends(error):
                    return None
                outcome, failure = replace(outcome, error=f"the Kubernetes API refuses a change: {error}"), error
        status = await self.reporter.report(outcome)
        if failure is not None:
            raise ReconcileError(str(failure)) from failure
        return self.settings.poll_seconds if outcome.problems or _is_settled(status) else SOON_SECONDS

    async def _bring_about(self, key: CloudKey, observed: Observed) -> Outcome:
        """Apply the plan, in an order in which every step finds what it needs."""
        await self.finalizers.guard_data(observed.cloud)
        found = await self._with_keys(key, observed)
        cluster = found.cluster if found is not None else None
        if found is None or cluster is None:
            return Outcome(observed, observed.previous_map, observed.answers, error="the keys are not written yet")
        observed = found
        step = cloudmap.next_step(observed) if cloudmap.may_begin(observed) else None
        cloud_map = step.map if step is not None else None
        if cloud_map is not None:
            await self._publish(key, observed, cloud_map)
        await self.finalizers.hold_pools(observed, cloud_map)
        document = credentials(observed)
        for name, known in observed.stateful_sets.items():
            if rolls_by_itself(known):
                strategy = {"type": "OnDelete", "rollingUpdate": None}
                await self.applier.merge(key, "StatefulSet", name, {"spec": {"updateStrategy": strategy}})
        turn = await self._rotate(key, observed, cluster)
        peering, certificates = await self._secure(observed)
        by_tls = peering is not None and peering.mode != "off"
        planned = children(observed, cloud_map, document, turn.given, self.settings, certificates, peers_by_tls=by_tls)
        for manifest in planned:
            await self._tell(observed.cloud, await self.applier.apply(key, manifest))
        for kind, name in superfluous(observed, planned, cloud_map):
            await self._tell(observed.cloud, await self.applier.delete(key, kind, name))
        await self._grow(key, observed)
        if cloud_map is None:
            return Outcome(observed, None, observed.answers, rotation=turn, peering=peering)
        answers = await self.pusher.push(observed, cloud_map, document)
        rolled = await self._roll(key, observed, cloud_map, peers.holds_restarts(observed, peering))
        return Outcome(observed, cloud_map, answers, step=step, roll=rolled, rotation=turn, peering=peering)

    async def _with_keys(self, key: CloudKey, observed: Observed) -> Observed | None:
        """The cloud with every Secret that nodes can't start without; None where one can't be made."""
        for manifest in secrets.missing(observed):
            await self._tell(observed.cloud, await self.applier.create(key, manifest))
        if observed.has_keys:
            return observed
        again = await self.observer.observe(key)
        return again if again is not None and again.has_keys else None

    async def _rotate(self, key: CloudKey, observed: Observed, cluster: ClusterSecret) -> Rotation:
        """The next step of a change of the cloud secret; and pods' files are brought up to date where they are old."""
        turn = rotation(cluster, who_is_behind(observed, observed.previous_map))
        if turn.given != cluster.given and turn.doing:
            await self.events.say(observed.cloud, "Normal", "SecretRotates", turn.words)
        for pod, mark in refreshes(observed).items():
            patch = {"metadata": {"annotations": {labels.REFRESHED: mark}}}
            await self.applier.merge(key, "Pod", pod, patch)
        return turn

    async def _secure(self, observed: Observed) -> tuple[Peering | None, tuple[Manifest, ...]]:
        """The next step of TLS on port 9001, and the Secrets that it takes."""
        signer = authority.new_authority(observed) if peers.wants_authority(observed) else observed.authority
        found = peers.peering(observed, signer, peers.who_is_behind(observed, observed.previous_map))
        if found is None:
            return None, ()
        files = authority.peer_files(observed, found, signer)
        if found.doing and files != observed.peers:
            await self.events.say(observed.cloud, "Normal", "PeersChange", found.words)
        return found, authority.secrets(observed, signer, files)

    async def _roll(self, key: CloudKey, observed: Observed, cloud_map: CloudMap, hold: str) -> Roll:
        """Restart the one pod that may be restarted now."""
        found = roll(observed, cloud_map, hold)
        if found.restart is not None and await self.applier.restart(key, found.restart):
            more = len(found.outdated) - 1
            note = f"{found.restart.name} is restarted, to run as the spec asks now; {more} more to go"
            await self.events.say(observed.cloud, "Normal", "NodeRestarts", note)
        return found

    async def _publish(self, key: CloudKey, observed: Observed, cloud_map: CloudMap) -> None:
        """Store the map before any node can hear of it, so that no epoch is ever made twice."""
        change = await self.applier.apply(key, cloudmap.config_map(observed, cloud_map))
        before = observed.previous_map
        if change is not None and (before is None or before.epoch < cloud_map.epoch):
            for reason, note in told(before, cloud_map):
                await self.events.say(observed.cloud, "Normal", reason, note)

    async def _grow(self, key: CloudKey, observed: Observed) -> None:
        for claim, size in growth(observed).items():
            await self.applier.merge(
                key, "PersistentVolumeClaim", claim, {"spec": {"resources": {"requests": {"storage": size}}}}
            )
            await self.events.say(observed.cloud, "Normal", "VolumeGrows", f"volume {claim} grows to {size}")

    async def _delete(self, observed: Observed) -> float | None:
        """Take the next step of a deletion; without our finalizer Kubernetes needs no help."""
        cloud = observed.cloud
        key = (cloud.metadata.namespace, cloud.metadata.name)
        await self.finalizers.release_pools(observed.storage_nodes)
        if names.FINALIZER not in cloud.metadata.finalizers:
            return None
        if cloud.spec.paused:
            await self.reporter.report(Outcome(observed, observed.previous_map, waiting="paused: set paused: false"))
            return None
        if cloud.spec.deletion_policy == "Retain":
            await self.finalizers.release_data(cloud)
            return None
        step = teardown(observed)
        for kind, name in step.delete:
            await self._tell(cloud, await self.applier.delete(key, kind, name))
        if not step.waiting:
            await self.finalizers.release_data(cloud)
            return None
        await self.reporter.report(Outcome(observed, observed.previous_map, waiting=step.waiting))
        return SOON_SECONDS

    async def _tell(self, cloud: Cloud, change: Change | None) -> None:
        if change is not None:
            await self.events.say(cloud, "Normal", change.action, f"{change.kind} {change.name}")


def _is_settled(status: CloudStatus) -> bool:
    """Whether all is as it should be, and nothing is on its way."""
    found = {condition.type: condition.status for condition in status.conditions}
    return (found["Ready"], found["Progressing"]) == ("True", "False")


def _namespace_ends(error: Exception) -> bool:
    """Whether a write failed because the namespace is being deleted: then there is nothing left to do."""
    if not isinstance(error, ApiError) or error.status.code != 403 or error.status.details is None:
        return False
    return any(cause.reason == "NamespaceTerminating" for cause in error.status.details.causes or ())
