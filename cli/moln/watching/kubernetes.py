"""A Cloud on Kubernetes, found by kubectl with whatever connection and rights it has.

Reads the Cloud, its map and its pods, and reaches each node through `kubectl port-forward`. A user who may not forward
ports still learns what the operator says.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import urllib3
from pydantic import ValidationError

from moln.errors import CliError, Exit
from moln.watching.page import Page, read
from moln.watching.security import connections
from moln.watching.snapshot import Condition, Doors, Snapshot
from moln_spec.cloudmap import CloudMap
from moln_spec.peertls import CERTIFICATE_FILE, TRUSTED_FILE, fingerprint, server_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS: Final = 20.0
_AT_ONCE: Final = 8
_PEER_PORT: Final = 9001
_MAP_KEY: Final = "cloud-map.json"
_SCHEME: Final = "prometheus.io/scheme"
_FORWARDING: Final = "Forwarding from "


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with the flags that say which cluster and namespace."""

    namespace: str | None = None
    context: str | None = None

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        chosen = [f"--context={self.context}"] if self.context else []
        chosen += [f"--namespace={self.namespace}"] if self.namespace else []
        return ["kubectl", *chosen, *arguments]

    def get(self, *what: str) -> dict[str, Any]:
        """An object or a list; CliError with kubectl's words."""
        try:
            done = subprocess.run(
                self.command("get", *what, "-o", "json"), capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except FileNotFoundError:
            raise CliError("kubectl is not on PATH: it is how `moln` reaches a cluster", Exit.USAGE) from None
        except subprocess.TimeoutExpired:
            raise CliError(f"kubectl has no answer after {_SECONDS:.0f} s", Exit.UNREACHABLE) from None
        if done.returncode:
            words = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
            raise CliError(f"kubectl: {words[0].removeprefix('Error from server ')}", _code(done.stderr))
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def _code(words: str) -> Exit:
    for part, code in (("NotFound", Exit.NOT_FOUND), ("Forbidden", Exit.DENIED), ("refused", Exit.UNREACHABLE)):
        if part in words:
            return code
    return Exit.FAILURE


@dataclass
class Forward:
    """A port of this machine that leads to a node's port 9001, for as long as its pod lives."""

    process: subprocess.Popen[str]
    address: str

    @classmethod
    def start(cls, kubectl: Kubectl, pod: str) -> Forward:
        """Begin forwarding; CliError with kubectl's words when it can't."""
        command = kubectl.command("port-forward", f"pod/{pod}", f":{_PEER_PORT}", "--address=127.0.0.1")
        command += ["--pod-running-timeout=3s"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = process.stdout if process.stdout is not None else iter(())
        line = next(iter(lines), "port-forward ended").strip()
        if not line.startswith(_FORWARDING):
            cls(process, "").stop()
            raise CliError(line.removeprefix("error: ").removeprefix("Error from server "))
        # it tells of every connection: nobody listens, and its pipe must not fill
        threading.Thread(target=deque, args=(lines, 0), daemon=True).start()
        return cls(process, line.removeprefix(_FORWARDING).partition(" ->")[0])

    @property
    def alive(self) -> bool:
        """Whether it still forwards."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass
class KubernetesCloud:
    """A Cloud, looked at again and again over the same forwarded ports."""

    kubectl: Kubectl
    name: str
    forwards: dict[str, Forward] = field(default_factory=dict)
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=2))
    certificates: str = ""
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=_AT_ONCE))

    def look(self) -> Snapshot:
        """See `Source.look`."""
        asked = self.threads.submit(self.kubectl.get, "configmap", f"{self.name}-map")
        secured = self.threads.submit(self._secured)
        cloud = self.kubectl.get("clouds.moln.dev", self.name)
        status = cloud.get("status") or {}
        conditions = tuple(
            Condition(one["type"], one["status"], one.get("reason", ""), one.get("message", ""))
            for one in status.get("conditions", ())
        )
        cloud_map = self._map(asked.result, conditions)
        namespace = cloud["metadata"]["namespace"]
        by_tls = secured.result()
        if by_tls:
            self._trust(namespace)
        pages = tuple(self.threads.map(lambda node: self._page(node.name, node.name in by_tls), cloud_map.nodes))
        where = f"namespace {namespace}"
        endpoint = status.get("externalEndpoint") or status.get("endpoint") or ""
        return Snapshot(self.name, where, endpoint, cloud_map, pages, conditions)

    def doors(self) -> Doors:
        """See `Source.doors`: of the ready nodes, for who may read the cloud's Secret and forward ports."""
        secret = self.kubectl.get("secret", f"{self.name}-cluster")["data"]["secret"]
        ready = {
            pod["metadata"]["name"]: pod
            for pod in self._pods()
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        }
        if not ready:
            raise CliError(f"no node of cloud {self.name} is ready to be asked", Exit.UNREACHABLE)
        self.forwards |= {name: Forward.start(self.kubectl, name) for name in ready if name not in self.forwards}
        by_tls = {name for name, pod in ready.items() if _speaks_tls(pod)}
        http = urllib3.PoolManager()
        if by_tls:
            namespace = next(iter(ready.values()))["metadata"]["namespace"]
            http = connections(self._files(), server_name(self.name, namespace))
        addresses = {name: _url(self.forwards[name], by_tls=name in by_tls) for name in ready}
        return Doors(addresses, base64.b64decode(secret).decode(), http)

    def close(self) -> None:
        """See `Source.close`."""
        self.threads.shutdown()
        self.http.clear()
        for forward in self.forwards.values():
            forward.stop()

    def _pods(self) -> list[dict[str, Any]]:
        return list(self.kubectl.get("pods", "-l", f"moln.dev/cloud={self.name}")["items"])

    def _secured(self) -> set[str]:
        """The pods whose port 9001 speaks TLS; none where the user may not list pods."""
        try:
            return {pod["metadata"]["name"] for pod in self._pods() if _speaks_tls(pod)}
        except CliError:
            return set()

    def _files(self) -> dict[str, str]:
        """What TLS on port 9001 takes; CliError."""
        data = self.kubectl.get("secret", f"{self.name}-peers")["data"]
        return {name: base64.b64decode(value).decode() for name, value in data.items()}

    def _trust(self, namespace: str) -> None:
        """Be ready for TLS; who may not read the Secret still sees the open pages."""
        try:
            files = self._files()
            known = fingerprint("", files.get(TRUSTED_FILE, ""), files.get(CERTIFICATE_FILE, ""))
        except CliError:
            files, known = None, "unchecked"
        if known != self.certificates:
            self.http.clear()
            self.http, self.certificates = connections(files, server_name(self.name, namespace)), known

    def _map(self, ask: Any, conditions: tuple[Condition, ...]) -> CloudMap:
        """The cloud map; where there is none yet, the operator's reason."""
        try:
            return CloudMap.model_validate_json(ask()["data"][_MAP_KEY])
        except CliError as error:
            if error.code != Exit.NOT_FOUND:
                raise
            said = next((one.message for one in conditions if one.type == "Ready"), "no operator looks after it")
            raise CliError(f"cloud {self.name} has no map yet: {said}", Exit.NOT_FOUND) from error
        except (KeyError, ValidationError) as error:
            raise CliError(f"ConfigMap {self.name}-map is none that this release of `moln` knows") from error

    def _page(self, pod: str, by_tls: bool) -> Page:  # noqa: FBT001 (of this class alone)
        forward = self.forwards.get(pod)
        if forward is None or not forward.alive:
            if forward is not None:
                forward.stop()
            try:
                forward = self.forwards[pod] = Forward.start(self.kubectl, pod)
            except CliError as error:
                self.forwards.pop(pod, None)
                return Page(pod, error=str(error))
        found = read(self.http, pod, _url(forward, by_tls=by_tls))
        if found.error:  # its pod may be another by now: forward anew at the next look
            self.forwards.pop(pod).stop()
        return found


def _speaks_tls(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's port 9001 answers TLS: its template says so to Prometheus as well."""
    annotations: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    return annotations.get(_SCHEME) == "https"


def _url(forward: Forward, *, by_tls: bool) -> str:
    return f"{'https' if by_tls else 'http'}://{forward.address}"


def only_cloud(kubectl: Kubectl) -> str:
    """The name of the one Cloud in the namespace; CliError where there is none or several."""
    names = [item["metadata"]["name"] for item in kubectl.get("clouds.moln.dev")["items"]]
    if len(names) == 1:
        return str(names[0])
    if not names:
        raise CliError("there is no Cloud in this namespace: name another with -n", Exit.NOT_FOUND)
    raise CliError(f"which of {', '.join(sorted(names))}? name one", Exit.USAGE)
