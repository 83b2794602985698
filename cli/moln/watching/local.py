"""The cloud of `moln dev`, found by the profile that it writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import urllib3

from moln.watching import page
from moln.watching.ask import ask, read_secret
from moln.watching.snapshot import Doors, Snapshot
from moln_spec.cloudmap import CloudMap

if TYPE_CHECKING:
    from pathlib import Path


class LocalCloud:
    """A cloud whose nodes this machine reaches; `peer` is one of them, and `secret_file` opens its map."""

    def __init__(self, profile: str, endpoint: str, peer: str, secret_file: Path) -> None:
        self._where = f"profile {profile}"
        self._endpoint = endpoint
        self._peer = peer
        self._secret_file = secret_file
        self._http = urllib3.PoolManager(maxsize=4)
        self._threads = ThreadPoolExecutor(max_workers=8)

    def look(self) -> Snapshot:
        """See `Source.look`."""
        cloud_map = self._map()
        pages = self._threads.map(
            lambda node: page.read(self._http, node.name, f"http://{node.address}"), cloud_map.nodes
        )
        return Snapshot(cloud_map.cloud, self._where, self._endpoint, cloud_map, tuple(pages))

    def close(self) -> None:
        """See `Source.close`."""
        self._threads.shutdown()
        self._http.clear()

    def doors(self) -> Doors:
        """See `Source.doors`."""
        addresses = {node.name: f"http://{node.address}" for node in self._map().nodes}
        return Doors(addresses, read_secret(self._secret_file))

    def _map(self) -> CloudMap:
        return ask(self._http, f"http://{self._peer}", read_secret(self._secret_file), "/v1/map", CloudMap)
