"""The cloud of `moln dev`, found by the profile that it writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import urllib3
from pydantic import ValidationError

from moln.errors import CliError, Exit
from moln.watching import page
from moln.watching.snapshot import Snapshot
from moln_spec.cloudmap import CloudMap

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT: Final = 5.0


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
        pages = self._threads.map(lambda node: page.read(self._http, node.name, node.address), cloud_map.nodes)
        return Snapshot(cloud_map.cloud, self._where, self._endpoint, cloud_map, tuple(pages))

    def close(self) -> None:
        """See `Source.close`."""
        self._threads.shutdown()
        self._http.clear()

    def _map(self) -> CloudMap:
        try:
            secret = self._secret_file.read_text(encoding="utf-8").split("\n")[0].strip()
        except OSError as error:
            raise CliError(f"cannot read the cloud secret from {self._secret_file}: {error.strerror}") from error
        url = f"http://{self._peer}/v1/map"
        headers = {"Authorization": f"Bearer {secret}"}
        try:
            answer = self._http.request("GET", url, headers=headers, timeout=_TIMEOUT, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise CliError(f"{url} does not answer: is the cloud running there?", Exit.UNREACHABLE) from error
        if answer.status != 200:
            raise CliError(f"{url} answers {answer.status}", Exit.DENIED if answer.status == 401 else Exit.FAILURE)
        try:
            return CloudMap.model_validate_json(answer.data)
        except ValidationError as error:
            raise CliError("the node's map is none that this release of `moln` knows") from error
