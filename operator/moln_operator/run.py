"""The operator's life: watches fill the inventory, the queue says whom they concern, workers reconcile."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import httpx2
from pydantic import ValidationError

from moln_operator import health, page
from moln_operator.apply.children import Applier
from moln_operator.apply.finalizers import Finalizers
from moln_operator.apply.first_cloud import write_first_cloud
from moln_operator.apply.push import Pusher
from moln_operator.kube.api import Api
from moln_operator.kube.connection import connect
from moln_operator.kube.inventory import CloudKey, Inventory
from moln_operator.kube.kinds import WATCHED
from moln_operator.kube.watch import Watch
from moln_operator.leader import Leadership
from moln_operator.metrics import Metrics
from moln_operator.observe.gather import Observer
from moln_operator.observe.nodes import NodeClient
from moln_operator.observe.overview import Overview
from moln_operator.observe.zones import Zones
from moln_operator.queue import WorkQueue
from moln_operator.reconcile import ReconcileError, Reconciler
from moln_operator.report.events import Events
from moln_operator.report.orphans import Orphans
from moln_operator.report.write import Reporter

if TYPE_CHECKING:
    from moln_operator.settings import Settings

logger = logging.getLogger(__name__)

LONGEST_LOOK: Final = 120.0
HOUSEKEEPING_SECONDS: Final = 30.0


class Operator:
    """One running operator."""

    def __init__(self, settings: Settings, api: Api, nodes: NodeClient, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.inventory = Inventory()
        self.overview = Overview(self.inventory, settings.operator_class)
        metrics.show_clouds(self.overview.clouds)
        self.queue = WorkQueue()
        self.leads = False
        self.stands_by = settings.leader_election
        self._api = api
        self._pusher = Pusher(nodes)
        self._watches = [
            Watch(api, kind, namespace, self.inventory, self._concerned)
            for namespace in settings.namespaces
            for kind in WATCHED
        ]
        events = Events(api, settings.identity)
        reporter = Reporter(api, self.inventory, events)
        applier = self._applier = Applier(api, self.inventory)
        self._reconciler = Reconciler(
            observer=Observer(api, self.inventory, nodes, Zones(api), metrics.heard, settings.operator_class),
            applier=applier,
            finalizers=Finalizers(applier),
            pusher=self._pusher,
            reporter=reporter,
            orphans=Orphans(self.inventory, reporter),
            events=events,
            settings=settings,
        )

    def _concerned(self, clouds: set[CloudKey]) -> None:
        """What a watch saw concerns these clouds. Before this process leads, nobody works on the queue."""
        if self.leads:
            for key in clouds:
                self.queue.add(key)

    def problems_live(self) -> list[str]:
        """What makes this process worth restarting: a watch that has not been heard of."""
        now = time.monotonic()
        return [
            f"the watch of {watch.kind} in {watch.namespace} is dead"
            for watch in self._watches
            if watch.listed.is_set() and not watch.is_alive(now)
        ]

    def problems_ready(self) -> list[str]:
        """What keeps this process from working; nothing while it stands by for another leader."""
        if self.stands_by:
            return []
        return [f"{watch.kind} is not listed yet" for watch in self._watches if not watch.listed.is_set()]

    def show_page(self) -> str:
        """The page for people."""
        return page.render(self.overview.clouds(), leads=self.leads)

    async def run(self) -> None:
        """Work until cancelled."""
        self.stands_by = False
        async with asyncio.TaskGroup() as tasks:
            for watch in self._watches:
                tasks.create_task(watch.run(), name=f"watch {watch.kind} in {watch.namespace}")
            await asyncio.gather(*(watch.listed.wait() for watch in self._watches))
            self.leads = True
            self.metrics.leader.set(1)
            logger.info("everything is listed: %d objects", len(self.inventory))
            if self.settings.first_cloud is not None:
                await write_first_cloud(self._api, self.settings.first_cloud)
            for key in list(self.inventory.clouds()):
                self.queue.add(key)
            for number in range(self.settings.workers):
                tasks.create_task(self._work(), name=f"worker {number}")
            tasks.create_task(self._keep_house(), name="housekeeping")

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            self.metrics.queue.set(len(self.queue))
            try:
                await self._look(key)
            finally:
                self.queue.done(key)

    async def _look(self, key: CloudKey) -> None:
        """One reconcile, whose every failure ends in the log and in another try."""
        try:
            with self.metrics.duration.time():
                async with asyncio.timeout(LONGEST_LOOK):
                    again = await self._reconciler.reconcile(key)
        except (ReconcileError, httpx2.HTTPError, TimeoutError) as error:
            self._failed(key, str(error) or type(error).__name__)
        except ValidationError as error:
            self._failed(key, f"not understood by this release: {_why(error)}")
        except Exception:
            logger.exception("%s/%s: this is a defect of the operator", *key)
            self._failed(key, "defect")
        else:
            self.metrics.reconciled("gone" if again is None else "ok", key)
            self.queue.succeeded(key)
            if again is not None:
                self.queue.add_after(key, again)

    def _failed(self, key: CloudKey, reason: str) -> None:
        self.metrics.reconciled("error", key)
        logger.warning("%s/%s: %s; again in %.1f s", *key, reason, self.queue.retry(key))

    async def _keep_house(self) -> None:
        """Let go of what is remembered of pods that are gone, and count."""
        while True:
            pods = {pod.uid for pod in self.inventory.every("Pod")}
            self._pusher.keep_only(pods)
            self._applier.keep_only(pods)
            self.metrics.objects.set(len(self.inventory))
            await asyncio.sleep(HOUSEKEEPING_SECONDS)


def _why(error: ValidationError) -> str:
    """Why a resource is not understood, without its values."""
    return "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(len(settings.namespaces)))
        nodes = await stack.enter_async_context(NodeClient())
        metrics = Metrics()
        api = Api(client, metrics)
        operator = Operator(settings, api, nodes, metrics)
        stack.callback(operator.queue.close)
        port = await stack.enter_async_context(
            health.served(
                settings, operator.metrics, operator.problems_live, operator.problems_ready, operator.show_page
            )
        )
        logger.info("health and metrics on port %d", port)
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait(), name="stop")]
        if settings.leader_election:
            leadership = Leadership(api, settings.operator_namespace, settings.identity)
            ends.append(asyncio.create_task(_lead(leadership, operator), name="lead"))
            stack.push_async_callback(leadership.release)
        else:
            ends.append(asyncio.create_task(operator.run(), name="operator"))
        done, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
    logger.info("stopped")


async def _lead(leadership: Leadership, operator: Operator) -> None:
    """Wait for the Lease, then work for as long as it is held."""
    await leadership.acquire()
    work = asyncio.create_task(operator.run(), name="operator")
    hold = asyncio.create_task(leadership.hold(), name="hold")
    try:
        done, _ = await asyncio.wait((work, hold), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (work, hold):
            task.cancel()
        await asyncio.gather(work, hold, return_exceptions=True)
