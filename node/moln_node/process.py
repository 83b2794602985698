"""The node's process from start to stop: directory, documents, store, the two ports, signals, the ready file.

Called by `__main__` with settings; wires `s3/`, `cluster/` and `peer/` together and is the only room that knows all
three. Reads top to bottom as the life of a node.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node import either, mapfile, tracing
from moln_node.cluster import clocks, expiry, turns
from moln_node.cluster.cluster import Cluster
from moln_node.cluster.local import LocalStore
from moln_node.documents import read_document
from moln_node.exits import ExitCode, StartError, StopError
from moln_node.peer.app import make_app as make_peer_app
from moln_node.peer.figures import Ends
from moln_node.peer.maintenance import runners
from moln_node.peer.metrics import Metrics
from moln_node.peer.node import Node
from moln_node.peer.secret import CloudSecret
from moln_node.peer.tasks import TaskBoard
from moln_node.peer.watch import Watch
from moln_node.peertls import PeerTls
from moln_node.s3.app import make_runner as make_s3_runner
from moln_node.s3.auth.keyring import Keyring
from moln_node.s3.settings import Settings as S3Settings
from moln_node.store.errors import StoreError
from moln_node.tls import Certificate
from moln_spec.cloudmap import CloudMap
from moln_spec.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    import apsw

    from moln_node.settings import Address, Settings
    from moln_node.store.store import Store

_BACKLOG: Final = 1024
_PEER_STOP_SECONDS: Final = 1.0
_JOIN_SECONDS: Final = 10.0
_log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was started, within bounds. StartError if it cannot start."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    if settings.until_stdin_closes:
        _stop_on_end_of_input(stop)
    async with serving(settings, stop):
        await stop.wait()
        _log.info("stopping: finishing the requests under way, at most %.0f s", settings.stop_seconds)
    _log.info("stopped")


@asynccontextmanager
async def serving(settings: Settings, stop: asyncio.Event) -> AsyncIterator[Node]:
    """A node that serves while the context is open. Everything is undone in the opposite order of its making."""
    async with AsyncExitStack() as stack:
        cloud_map = mapfile.choose(settings.data, read_document(settings.map, CloudMap, "cloud map"), settings.name)
        credentials = read_document(settings.credentials, Credentials, "credentials")
        secret = CloudSecret(settings.cloud_secret)
        certificate = None if settings.tls is None else Certificate(*settings.tls)
        peer_tls = None if settings.peer_tls is None else PeerTls(settings.peer_tls)
        keyring = Keyring(credentials)
        version = metadata.version("moln")
        metrics = Metrics(version, cloud_map.cloud)
        stack.enter_context(tracing.started(os.environ, node=settings.name, cloud=cloud_map.cloud, version=version))

        local = await _open(settings, cloud_map)
        stack.push_async_callback(local.close)
        await stack.enter_async_context(_in_background(_until_the_disk_fails(local.store), stop))
        try:
            await asyncio.to_thread(mapfile.keep, settings.data, cloud_map)
        except mapfile.MapNotKeptError as error:
            raise StartError(str(error), ExitCode.DATA) from error
        cluster = await Cluster.start(
            local, cloud_map, settings.name, lambda: secret.current, peer_tls, settings.scrub_days
        )
        stack.push_async_callback(cluster.close)
        watch = Watch(settings.data, partial(local.store.look, _read_something), metrics)
        await watch.probe()
        node = Node(
            name=settings.name,
            version=version,
            directory=settings.data,
            cloud_map=cloud_map,
            credentials=credentials,
            local=local,
            cluster=cluster,
            watch=watch,
            use_credentials=keyring.replace,
            secrets=lambda: secret.fingerprints,
            certificate=lambda: "" if certificate is None else certificate.fingerprint,
            peer_tls=lambda: "" if peer_tls is None else peer_tls.now.fingerprint,
        )
        cluster.members.session.take_map = node.follow_map
        board = TaskBoard(runners(local, cluster))
        stack.push_async_callback(board.close)
        await stack.enter_async_context(_in_background(watch.run(), stop))
        expiring = expiry.run(
            cluster.objects,
            partial(turns.is_ours, cluster.members),
            lambda: clocks.agreed_ms(cluster.members.now),
            ended=metrics.expired.set_to_current_time,
        )
        await stack.enter_async_context(_in_background(expiring, stop))

        peer_app = make_peer_app(
            node,
            board,
            secret,
            metrics,
            lambda: Ends(
                None if certificate is None else certificate.expires,
                None if peer_tls is None else peer_tls.now.expires,
                keyring.leaving(),
            ),
            settings.slow_seconds,
            peer_tls,
        )
        cluster.add_routes(peer_app)
        peer_runner = web.AppRunner(peer_app, access_log=None, shutdown_timeout=_PEER_STOP_SECONDS)
        if peer_tls is None:
            peer = await stack.enter_async_context(_listening(peer_runner, settings.peer_listen))
        else:
            await stack.enter_async_context(_in_background(peer_tls.follow(), stop))
            peer = await stack.enter_async_context(_listening_to_either(peer_runner, settings.peer_listen, peer_tls))
        s3_settings = S3Settings(
            domains=settings.domains,
            trust_forwarded=settings.trust_forwarded,
            stop_seconds=settings.stop_seconds,
            slow_seconds=settings.slow_seconds,
            observe=metrics.observe_request,
        )
        s3_runner = make_s3_runner(cluster.objects, keyring, s3_settings)
        metrics.watch_requests(lambda: s3_runner.under_way)
        if certificate is not None:
            await stack.enter_async_context(_in_background(certificate.follow(), stop))
        s3 = await stack.enter_async_context(_listening(s3_runner, settings.listen, certificate))

        await cluster.joined(_JOIN_SECONDS)
        _log.info("serves cloud %s (epoch %d): S3 on %s, peers on %s", cloud_map.cloud, cloud_map.epoch, s3, peer)
        if settings.ready_file is not None:
            _write_ready_file(settings.ready_file, s3, peer)
        yield node
        node.stopping = True


async def _open(settings: Settings, cloud_map: CloudMap) -> LocalStore:
    """The data on this disk; StartError where the disk is what keeps the node from starting."""
    try:
        return await LocalStore.start(settings.data, cloud_map, settings.name)
    except (OSError, StoreError) as error:
        raise StartError(f"cannot open the store in {settings.data}: {error}", ExitCode.DATA) from error


async def _until_the_disk_fails(store: Store) -> None:
    """StopError once it does: after a failed commit only the disk knows what it kept, so it is to be opened anew."""
    error = await store.fails()
    _log.critical("%s: this node ends, and what the disk has shows when it starts again", error)
    raise StopError(str(error), ExitCode.DISK)


def _read_something(index: apsw.Connection) -> None:
    """The smallest question that the store's index can only answer if its disk does."""
    index.execute("SELECT value FROM meta LIMIT 1").fetchall()


@asynccontextmanager
async def _listening(
    runner: web.BaseRunner, address: Address, certificate: Certificate | None = None
) -> AsyncIterator[str]:
    """A server on a port, as `host:port`; at the end it takes no more requests and finishes those under way."""
    await runner.setup()
    try:
        try:
            context = None if certificate is None else certificate.context
            await web.TCPSite(runner, address.host, address.port, backlog=_BACKLOG, ssl_context=context).start()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise StartError(f"cannot listen on {address.host}:{address.port}: {reason}") from error
        yield _written(runner.addresses[0])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _listening_to_either(runner: web.AppRunner, address: Address, tls: PeerTls) -> AsyncIterator[str]:
    """As `_listening`, for TLS and plain HTTP; who may still come by plain HTTP is the application's business."""
    await runner.setup()
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        try:
            listener = socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise StartError(f"cannot listen on {address.host}:{address.port}: {reason}") from error
        if runner.server is None:
            raise AssertionError  # it is there once the runner is set up
        async with either.accepting(listener, runner.server, lambda: tls.now.server):
            yield _written(listener.getsockname())
    finally:
        await runner.cleanup()


def _written(bound: tuple[str, int]) -> str:
    """The address of a socket as `host:port`."""
    host, port = bound[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@asynccontextmanager
async def _in_background(job: Coroutine[None, None, None], stop: asyncio.Event) -> AsyncIterator[None]:
    """Run a job beside the node; one that ends by itself is a defect, and ends the node with it."""
    task = asyncio.create_task(job)
    task.add_done_callback(lambda _: stop.set())
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _stop_on_end_of_input(stop: asyncio.Event) -> None:
    """Watch standard input, a pipe whose other end the parent holds: it ends when the parent does, even by kill -9."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            _log.warning("the parent process is gone")
            stop.set()

    try:
        loop.add_reader(descriptor, readable)
    except OSError as error:
        raise StartError("--until-stdin-closes wants a pipe as standard input") from error


def _write_ready_file(path: Path, s3: str, peer: str) -> None:
    """Say where the node serves, in a file that appears whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        temporary.write_text(json.dumps({"s3": s3, "peer": peer, "pid": os.getpid()}), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StartError(f"cannot write the ready file {path}: {error.strerror}") from error
