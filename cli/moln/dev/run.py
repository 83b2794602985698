"""The life of `moln dev`: folder, map, nodes, ready file, edits, stop. Reads top to bottom."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import tempfile
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from moln import profiles
from moln.dev import cloudfile, state, watch
from moln.dev.banner import banner
from moln.dev.nodes import NodePlan, NodeProcess, first_death
from moln.dev.push import push_map
from moln.errors import CliError, Exit
from moln.files import write_private
from moln_spec.credentials import AccessKey, Credentials
from moln_spec.membership import Seat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moln.dev.cloudfile import CloudFile
    from moln.dev.state import Identity, State
    from moln_spec.cloudmap import CloudMap

_HOST: Final = "127.0.0.1"
_STOP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for; `data` None is a temporary folder, `port` 0 any free one."""

    yaml: Path
    data: Path | None
    port: int
    nodes: int | None
    ready_file: Path | None
    access_keys: tuple[AccessKey, ...]
    master_keys: tuple[str, ...]
    profile: str
    verbose: bool


def run(options: Options) -> None:
    """Run the cloud until Ctrl-C or SIGTERM; CliError when it cannot start or a node dies."""
    text = cloudfile.read(options.yaml)
    wanted = _parse(text, options)
    with _folder(options.data) as directory, state.opened(directory) as kept:
        asyncio.run(_Dev(options, kept, text, wanted).run())


def _parse(text: str, options: Options) -> CloudFile:
    wanted = cloudfile.parse(text, str(options.yaml))
    return wanted if options.nodes is None else wanted.with_nodes(options.nodes)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="moln-dev-") as temporary:
        yield Path(temporary)


class _Dev:
    """One run."""

    def __init__(self, options: Options, kept: State, text: str, wanted: CloudFile) -> None:
        self._options = options
        self._kept = kept
        self._text = text
        self._wanted = wanted
        self._identity: Identity = kept.identity(options.master_keys)
        previous = kept.previous_map()
        self._seats = _seats(wanted, previous)
        self._map = self._draw(wanted, previous)
        self._pushed = self._map.epoch

    def _draw(self, wanted: CloudFile, previous: CloudMap | None) -> CloudMap:
        drawn = wanted.make_map(self._seats, previous, self._identity.uid)
        self._kept.keep_map(drawn)
        return drawn

    async def run(self) -> None:
        """Start, serve, stop."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        keys = (self._root_key(), *self._options.access_keys)
        self._kept.keep_credentials(Credentials(keys=keys, master_keys=self._identity.master_keys))
        async with AsyncExitStack() as stack:
            nodes: list[NodeProcess] = []
            stack.push_async_callback(_stop, nodes)
            for seat in self._seats:
                nodes.append(await self._start(seat, first=not nodes))
            stopping = asyncio.create_task(stop.wait())
            dying = asyncio.create_task(first_death(nodes))
            serving = asyncio.create_task(self._serve(stack, nodes))
            tasks = (stopping, dying, serving)
            stack.push_async_callback(_cancel, tasks)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            if dying.done() and not stopping.done():
                raise dying.result()
            print("stopping", flush=True)

    async def _start(self, seat: Seat, *, first: bool) -> NodeProcess:
        """Start a node; the first one has the port that was asked for, the others any."""
        port = self._options.port if first else 0
        plan = NodePlan(
            name=seat.name,
            data=self._kept.node_directory(seat.name),
            map=self._kept.map_file,
            credentials=self._kept.credentials_file,
            cloud_secret=self._kept.secret_file,
            listen=f"{_HOST}:{port}",
            peer_listen=seat.address,
            domains=("localhost", *self._wanted.cloud.spec.domains),
            access_log=self._options.verbose,
        )
        ready_file = self._kept.directory / f"{seat.name}.ready.json"
        return await NodeProcess.start(plan, ready_file, verbose=self._options.verbose)

    async def _serve(self, stack: AsyncExitStack, nodes: Sequence[NodeProcess]) -> None:
        """Wait for the nodes, tell the world, then hand on edits for ever."""
        answers = [await node.serving() for node in nodes]
        endpoint = f"http://{answers[0].s3}"
        identity = self._identity
        self._write_profile(stack, endpoint, answers[0].peer)
        print(
            banner(
                cloud=self._map.cloud,
                endpoint=endpoint,
                access_key=identity.access_key,
                secret_key=identity.secret_key,
                data=self._kept.directory,
                temporary=self._options.data is None,
            ),
            flush=True,
        )
        self._write_ready_file(stack, endpoint, [node.pid for node in nodes])
        async for edited in watch.edits(self._options.yaml, self._text):
            await self._edit(edited, [answer.peer for answer in answers])

    async def _edit(self, text: str, peers: Sequence[str]) -> None:
        """Bring an edit to the nodes; one that cannot be obeyed is refused, and the cloud goes on as it was."""
        try:
            wanted = self._parse_edit(text)
            self._map = self._draw(wanted, self._map)
        except CliError as error:
            print(f"edit refused, nothing changed: {error}", file=sys.stderr, flush=True)
            return
        self._wanted = wanted
        if self._map.epoch == self._pushed:
            print("edited: nothing that nodes obey has changed", flush=True)
            return
        try:
            await push_map(peers, self._identity.cloud_secret, self._map)
        except CliError as error:
            print(f"edited, but not everywhere: {error}; save the file again", file=sys.stderr, flush=True)
            return
        self._pushed = self._map.epoch
        print(f"edited: the cloud obeys epoch {self._map.epoch}", flush=True)

    def _parse_edit(self, text: str) -> CloudFile:
        """What an edit asks for; CliError if it cannot be had while nodes run."""
        wanted = _parse(text, self._options)
        if wanted.cloud.metadata.name != self._map.cloud or wanted.pools != self._wanted.pools:
            raise CliError("the cloud's name and its pools cannot change while it runs: start `moln dev` again")
        return wanted

    def _root_key(self) -> AccessKey:
        identity = self._identity
        return AccessKey(
            access_key=identity.access_key, secret_key=SecretStr(identity.secret_key), policy="admin", expires=None
        )

    def _write_profile(self, stack: AsyncExitStack, endpoint: str, peer: str) -> None:
        profile = profiles.Profile(
            endpoint=endpoint,
            access_key=self._identity.access_key,
            secret_key=SecretStr(self._identity.secret_key),
            peer=peer,
            cloud_secret_file=self._kept.secret_file,
        )
        try:
            profiles.save(self._options.profile, profile)
        except OSError as error:
            print(f"no profile is written for the other commands: {error}", file=sys.stderr, flush=True)
        else:
            stack.callback(profiles.remove, self._options.profile, profile)

    def _write_ready_file(self, stack: AsyncExitStack, endpoint: str, pids: list[int]) -> None:
        file = self._options.ready_file
        if file is None:
            return
        identity = self._identity
        document = {
            "endpoint": endpoint,
            "access_key": identity.access_key,
            "secret_key": identity.secret_key,
            "pids": pids,
        }
        try:
            write_private(file, json.dumps(document) + "\n")
        except OSError as error:
            raise CliError(f"cannot write the ready file {file}: {error.strerror}", Exit.USAGE) from error
        stack.callback(file.unlink, missing_ok=True)


def _seats(wanted: CloudFile, previous: CloudMap | None) -> tuple[Seat, ...]:
    """A seat for every node; its peer port is the one it had, if that is free."""
    known = {node.name: node.address for node in previous.nodes} if previous is not None else {}
    names = [(pool, f"{pool}-{number}") for pool, replicas in wanted.pools for number in range(replicas)]
    return tuple(Seat(name=name, address=_free_address(known.get(name, "")), pool=pool) for pool, name in names)


def _free_address(preferred: str) -> str:
    """`host:port` on which a node can listen now: the preferred one, or any."""
    port = int(preferred.rpartition(":")[2] or 0)
    for candidate in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, candidate))
            except OSError:
                continue
            return f"{_HOST}:{probe.getsockname()[1]}"
    raise CliError("there is no free port for the node's peer API")


async def _stop(nodes: Sequence[NodeProcess]) -> None:
    """Stop all nodes at once: none of them waits for one that is gone already."""
    await asyncio.gather(*(node.stop(_STOP_SECONDS) for node in nodes))


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
