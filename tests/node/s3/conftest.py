"""A real S3 front over a real store, on a free port, for real clients.

One server serves a module; every test gets buckets of its own. The server has its own event loop in a thread, so that a
blocking client (boto3) can speak to it.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import threading
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import SecretStr
from tests.cluster.in_process import many

from moln_node.s3.app import make_runner
from moln_node.s3.auth.keyring import Keyring
from moln_node.s3.settings import Settings
from moln_spec.classes import Compression, StorageClass
from moln_spec.cloudmap import CloudMap, MapNode
from moln_spec.credentials import AccessKey, Credentials, MasterKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from moln_node.cluster.objects import Objects

KEYS = Credentials(
    keys=(
        AccessKey(access_key="MAINKEY", secret_key="main-secret-key", id="main-id", name="Main"),
        AccessKey(access_key="ALTKEY", secret_key="alt-secret-key", id="alt-id", name="Alt"),
        AccessKey(access_key="ADMINKEY", secret_key="admin-secret-key", id="admin-id", name="Admin", policy="admin"),
        AccessKey(access_key="READKEY", secret_key="read-secret-key", id="main-id", name="Main", policy="read-only"),
    ),
    master_keys=(
        MasterKey(id="first", key=SecretStr("A" * 43 + "=")),
        MasterKey(id="second", key=SecretStr("B" * 43 + "=")),
    ),
)
CLOUD_MAP = CloudMap(
    cloud="test",
    uid="test",
    epoch=1,
    nodes=(MapNode(name="node-0", number=0, address="127.0.0.1:0", pool="test"),),
    storage_classes=(
        StorageClass(name="STANDARD", default=True),
        StorageClass(name="COLD"),
        StorageClass(name="ZSTD", compression=Compression(algorithm="zstd", level=3)),
        StorageClass(name="DEDUP", deduplication=True),
    ),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A front that serves: where it is, and what it serves, for tests that look behind it."""

    host: str
    port: int
    objects: Objects
    loop: asyncio.AbstractEventLoop
    keyring: Keyring
    credentials: Credentials = KEYS

    @property
    def url(self) -> str:
        """The endpoint, as clients want it."""
        return f"http://{self.host}:{self.port}"

    def client(self, access_key: str = "MAINKEY", secret_key: str = "main-secret-key", **config: Any) -> Any:  # noqa: S107 a test's
        """A boto3 client of this server."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=Config(
                retries={"max_attempts": 1}, s3={"addressing_style": "path"}, signature_version="s3v4", **config
            ),
        )

    def run(self, coroutine: Any) -> Any:
        """Await something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of a module's tests."""
    with serving(tmp_path_factory.mktemp("data")) as running:
        yield running


class serving:  # noqa: N801 used as a context manager, named as one
    """Serve a data directory from a thread for the length of a `with`."""

    def __init__(self, data: Path, settings: Settings | None = None) -> None:
        self._data = data
        self._settings = settings or Settings()
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._server: Server | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="s3-server")

    def __enter__(self) -> Server:
        self._thread.start()
        self._ready.wait(30)
        if self._server is None:
            raise RuntimeError("the server did not start") from self._failure
        return self._server

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 raised again where the server was wanted
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with _objects(self._data) as objects:
            keyring = Keyring(KEYS)
            runner = make_runner(objects, keyring, self._settings)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self._server = Server(host, port, objects, asyncio.get_running_loop(), keyring)
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()


@asynccontextmanager
async def _objects(data: Path) -> AsyncIterator[Objects]:
    """One node's objects; with MOLN_TEST_NODES the objects of so many, each call through the next of them."""
    async with many(data, int(os.environ.get("MOLN_TEST_NODES", "1")), CLOUD_MAP) as objects:
        yield objects


@pytest.fixture
def serve() -> Callable[[Path], serving]:
    """A server of one test's own, over a directory that it may look into, for the length of a `with`."""
    return serving


@pytest.fixture
def s3(server: Server) -> Iterator[Any]:
    """A boto3 client with the ordinary key."""
    client = server.client()
    yield client
    client.close()


@pytest.fixture
def alt(server: Server) -> Iterator[Any]:
    """A boto3 client of another owner."""
    client = server.client("ALTKEY", "alt-secret-key")
    yield client
    client.close()


_numbers = itertools.count(1)


@pytest.fixture
def new_bucket(s3: Any) -> Callable[[], str]:
    """Makes buckets of names that no other test has."""

    def make() -> str:
        name = f"bucket-{next(_numbers)}"
        s3.create_bucket(Bucket=name)
        return name

    return make


@pytest.fixture
def bucket(new_bucket: Callable[[], str]) -> str:
    """An empty bucket of the ordinary key's owner."""
    return new_bucket()


@pytest.fixture
def raw(server: Server) -> Iterator[http.client.HTTPConnection]:
    """A plain HTTP connection, for what clients hide."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    yield connection
    connection.close()


@contextmanager
def _refused(status: int, code: str) -> Iterator[None]:
    with pytest.raises(ClientError) as caught:
        yield
    response = caught.value.response
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code)


@pytest.fixture
def refused() -> Callable[[int, str], Any]:
    """A context in which a boto3 call is refused with a status and a code, which it takes."""
    return _refused
