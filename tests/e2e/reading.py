"""Reading from the API server by the names that kubectl knows, over connections that stay open.

A story asks some hundred times what there is. Each kubectl would be a program that starts, loads certificates and asks
for all kinds first: a tenth of a second of processor time that the clouds under test lack.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Self

import urllib3
from lightkube import KubeConfig
from lightkube.config.client_adapter import verify_cluster

from moln_lab.errors import LabError

if TYPE_CHECKING:
    from types import TracebackType

Manifest = dict[str, Any]
_SECONDS = 30
_CONNECTIONS = 8


class Reader:
    """Gets and lists objects; LabError with the API server's words when it refuses."""

    def __init__(self, kubeconfig: str) -> None:
        """Of the cluster that a kubeconfig names."""
        config = KubeConfig.from_file(kubeconfig).get()
        assert config is not None
        assert config.user is not None
        context = verify_cluster(config.cluster, config.user, config.abs_file)
        self._server = config.cluster.server
        self._pool = urllib3.PoolManager(ssl_context=context, maxsize=_CONNECTIONS, timeout=_SECONDS, retries=2)
        self._kinds: dict[str, tuple[str, Manifest]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.clear()

    def get(self, namespace: str, kind: str, name: str) -> Manifest:
        """One object."""
        place, _ = self._place(namespace, kind)
        return self._ask(f"{place}/{name}")

    def every(self, namespace: str, kinds: str, selector: str = "") -> list[Manifest]:
        """Every object of these kinds, whose names are joined by commas."""
        found = (self._list(namespace, kind, selector) for kind in kinds.split(","))
        return list(itertools.chain.from_iterable(found))

    def _list(self, namespace: str, kind: str, selector: str) -> list[Manifest]:
        place, described = self._place(namespace, kind)
        found = self._ask(place, {"labelSelector": selector} if selector else {})
        return [{"apiVersion": found["apiVersion"], "kind": described["kind"], **item} for item in found["items"]]

    def _place(self, namespace: str, kind: str) -> tuple[str, Manifest]:
        """Where a kind is, and how the API server describes it; `kind` is any of its names, with its group or not."""
        if kind not in self._kinds:
            self._discover()  # resources may have been added
        if kind not in self._kinds:
            raise LabError(f"the server has no resource {kind}")
        group, described = self._kinds[kind]
        return f"{group}/namespaces/{namespace}/{described['name']}", described

    def _discover(self) -> None:
        groups = self._ask("/apis")["groups"]
        for path in ("/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)):
            for described in self._ask(path)["resources"]:
                if described["namespaced"] and "/" not in described["name"]:
                    plain = {described["name"], described["singularName"], *described.get("shortNames", ())}
                    qualified = f"{described['name']}.{path.split('/')[2]}"
                    for name in plain | {qualified}:
                        self._kinds.setdefault(name, (path, described))  # the first group has the plain name

    def _ask(self, path: str, parameters: dict[str, str] | None = None) -> Manifest:
        try:
            answer = self._pool.request("GET", f"{self._server}{path}", fields=parameters)
        except urllib3.exceptions.HTTPError as error:
            raise LabError(f"{path}: {error}") from error
        found: Manifest = json.loads(answer.data)
        if answer.status != 200:
            raise LabError(str(found.get("message", found)))
        return found
