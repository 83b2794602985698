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
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from moln import profiles
from moln.dev import cloudfile, state, watch
from moln.dev.banner import banner
from moln.dev.nodes import NodePlan, NodeProcess
from moln.dev.push import push_map, reports
from moln.errors import CliError, Exit
from moln.files import write_private
from moln_spec.credentials import AccessKey, Credentials
from moln_spec.membership import Seat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from moln.dev.cloudfile import CloudFile
    from moln.dev.state import Identity, State
    from moln_spec.cloudmap import CloudMap
    from moln_spec.membership import Report, Step

_HOST: Final = "127.0.0.1"
_STOP_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.2
_TURN_SECONDS: Final = 0.5


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
        self._addresses = {node.name: _free_address(node.address) for node in previous.nodes} if previous else {}
        self._nodes: dict[str, NodeProcess] = {}
        self._peers: dict[str, str] = {}
        self._step = self._draw(wanted, previous, {})
        names = [node.name for node in self._map.nodes]
        asked = f"{wanted.pools[0][0]}-0"  # of the default pool, which no edit takes away
        self._first = asked if asked in names else names[0]

    @property
    def _map(self) -> CloudMap:
        return self._step.map

    def _draw(self, wanted: CloudFile, previous: CloudMap | None, reports: Mapping[str, Report]) -> Step:
        """The next step, whose map is kept before any node can hear of it."""
        step = wanted.next_step(self._seats(wanted), previous, self._identity.uid, reports)
        self._kept.keep_map(step.map)
        return step

    def _seats(self, wanted: CloudFile) -> tuple[Seat, ...]:
        """A seat for every node that is asked for; its peer port is the one it had, if that was free."""
        names = [(pool, f"{pool}-{number}") for pool, replicas in wanted.pools for number in range(replicas)]
        for _, name in names:
            if name not in self._addresses:
                self._addresses[name] = _free_address("")
        return tuple(Seat(name=name, address=self._addresses[name], pool=pool) for pool, name in names)

    async def run(self) -> None:
        """Start, serve, stop."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        keys = (self._root_key(), *self._options.access_keys)
        self._kept.keep_credentials(Credentials(keys=keys, master_keys=self._identity.master_keys))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_stop, self._nodes)
            for node in self._map.nodes:
                self._nodes[node.name] = await self._start(node.name, self._addresses[node.name])
            stopping = asyncio.create_task(stop.wait())
            dying = asyncio.create_task(self._first_death())
            serving = asyncio.create_task(self._serve(stack))
            tasks = (stopping, dying, serving)
            stack.push_async_callback(_cancel, tasks)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            if dying.done() and not stopping.done():
                raise dying.result()
            print("stopping", flush=True)

    async def _first_death(self) -> CliError:
        """Wait until any of the nodes ends that shall run."""
        while True:
            for node in list(self._nodes.values()):
                if node.ended:
                    return await node.death()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _start(self, name: str, address: str) -> NodeProcess:
        """Start a node; the first one has the port that was asked for, the others any."""
        port = self._options.port if name == self._first else 0
        plan = NodePlan(
            name=name,
            data=self._kept.node_directory(name),
            map=self._kept.map_file,
            credentials=self._kept.credentials_file,
            cloud_secret=self._kept.secret_file,
            listen=f"{_HOST}:{port}",
            peer_listen=address,
            domains=("localhost", *self._wanted.cloud.spec.domains),
            access_log=self._options.verbose,
        )
        ready_file = self._kept.directory / f"{name}.ready.json"
        return await NodeProcess.start(plan, ready_file, verbose=self._options.verbose)

    async def _serve(self, stack: AsyncExitStack) -> None:
        """Wait for the nodes, tell the world, then bring about what is edited, for ever."""
        answers = {name: await node.serving() for name, node in self._nodes.items()}
        self._peers = {name: answer.peer for name, answer in answers.items()}
        first = answers[self._first]
        endpoint = f"http://{first.s3}"
        identity = self._identity
        self._write_profile(stack, endpoint, first.peer)
        print(
            banner(
                cloud=self._map.cloud,
                endpoint=endpoint,
                access_key=identity.access_key,
                secret_key=identity.secret_key,
                data=self._kept.directory,
                temporary=self._options.data is None,
                tls=self._wanted.cloud.spec.tls is not None,
            ),
            flush=True,
        )
        self._write_ready_file(endpoint)
        if self._options.ready_file is not None:
            stack.callback(self._options.ready_file.unlink, missing_ok=True)
        self._tell_waits(frozenset())
        edits: asyncio.Queue[str] = asyncio.Queue()
        reading = asyncio.create_task(_read_edits(self._options.yaml, self._text, edits))
        stack.push_async_callback(_cancel, (reading,))
        while True:
            try:
                async with asyncio.timeout(_TURN_SECONDS if self._is_changing() else None):
                    self._edit(await edits.get())
            except TimeoutError:
                pass
            if await self._turn():
                self._write_ready_file(endpoint)

    def _is_changing(self) -> bool:
        """Whether there are steps to come that nobody has to ask for."""
        active = all(node.state == "active" for node in self._map.nodes)
        asked = bool(self._step.waits) or self._step.refusal is not None
        return asked or self._map.change is not None or not active

    def _edit(self, text: str) -> None:
        """Take an edit; one that cannot be obeyed is refused, and the cloud goes on as it was."""
        try:
            self._wanted = self._parse_edit(text)
        except CliError as error:
            print(f"edit refused, nothing changed: {error}", file=sys.stderr, flush=True)

    def _parse_edit(self, text: str) -> CloudFile:
        """What an edit asks for; CliError if it cannot be had."""
        wanted = _parse(text, self._options)
        if wanted.cloud.metadata.name != self._map.cloud:
            raise CliError("the cloud's name cannot change while it runs: start `moln dev` again")
        step = wanted.next_step(self._seats(wanted), self._map, self._identity.uid, {})
        if step.map == self._map and not step.waits:
            print("edited: nothing that nodes obey has changed", flush=True)
        return wanted

    async def _turn(self) -> bool:
        """Take the next step towards what is wanted; whether nodes came or went."""
        secret = self._identity.cloud_secret
        before = self._step
        self._step = self._draw(self._wanted, before.map, await reports(self._peers, secret))
        named = {node.name for node in self._map.nodes}
        gone = {name: self._nodes.pop(name) for name in list(self._nodes) if name not in named}
        come = [name for name in sorted(named) if name not in self._nodes]
        await _stop(gone)
        for name in gone:
            del self._peers[name]
        started = {name: await self._start(name, self._addresses[name]) for name in come}
        for name, node in started.items():
            self._peers[name] = (await node.serving()).peer
            self._nodes[name] = node
        if self._map != before.map:
            try:
                await push_map(list(self._peers.values()), secret, self._map)
            except CliError as error:
                print(f"not every node has the map yet: {error}", file=sys.stderr, flush=True)
        self._tell(before)
        return bool(gone or come)

    def _tell(self, before: Step) -> None:
        """Say what was decided, and what is waited for, each once."""
        if self._map != before.map:
            print(f"edited: the cloud obeys epoch {self._map.epoch}", flush=True)
            if before.map.change is not None and self._map.change is None:
                names = ", ".join(node.name for node in self._map.nodes if node.state == "active")
                print(f"every key is with its owners: {names}", flush=True)
        self._tell_waits({*before.waits, before.refusal.message if before.refusal else ""})

    def _tell_waits(self, said: AbstractSet[str]) -> None:
        """Say what is waited for, or can't be, unless it was said before."""
        refused = () if self._step.refusal is None else (self._step.refusal.message,)
        for sentence in (*self._step.waits, *refused):
            if sentence not in said:
                print(f"  {sentence}", flush=True)

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

    def _write_ready_file(self, endpoint: str) -> None:
        file = self._options.ready_file
        if file is None:
            return
        identity = self._identity
        document = {
            "endpoint": endpoint,
            "access_key": identity.access_key,
            "secret_key": identity.secret_key,
            "pids": [node.pid for node in self._nodes.values()],
        }
        try:
            write_private(file, json.dumps(document) + "\n")
        except OSError as error:
            raise CliError(f"cannot write the ready file {file}: {error.strerror}", Exit.USAGE) from error


async def _read_edits(path: Path, text: str, into: asyncio.Queue[str]) -> None:
    async for edited in watch.edits(path, text):
        into.put_nowait(edited)


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


async def _stop(nodes: Mapping[str, NodeProcess]) -> None:
    """Stop all nodes at once: none of them waits for one that is gone already."""
    await asyncio.gather(*(node.stop(_STOP_SECONDS) for node in nodes.values()))


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
