"""What the end-to-end stories share: kubectl on the lab, a namespace of their own, an operator that looks after it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from moln_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.reading import Reader

    from moln_lab.lab import Lab

Manifest = dict[str, Any]
CLASS = "e2e"
"""The tests' Clouds are looked after by the tests' operators alone, whatever else is installed on the lab."""


def eventually(says: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first answer of `says` that is true; an AssertionError with the last answer after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = says()
            seen = repr(answer)
        except (LabError, AssertionError, OSError, BotoCoreError, ClientError) as error:
            answer, seen = None, str(error)
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {seen}")
        time.sleep(0.2)


@dataclass
class Namespace:
    """A namespace on the lab, and what users do in it."""

    lab: Lab
    name: str
    image: str
    kubeconfig: str
    reader: Reader
    scratch: Path
    operators: list[Operator] = field(default_factory=list)

    def kubectl(self, *arguments: str, stdin: bytes | None = None, timeout: float = 60) -> str:
        """Run kubectl in the namespace; LabError with its words when it refuses."""
        return self.lab.kubectl("--namespace", self.name, *arguments, stdin=stdin, timeout=timeout)

    def apply(self, *manifests: Manifest, options: tuple[str, ...] = ()) -> str:
        """`kubectl apply`, as users do."""
        documents = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        return self.kubectl("apply", *options, "-f", "-", stdin=json.dumps(documents).encode())

    def get(self, kind: str, name: str) -> Manifest:
        """One object as the API server has it."""
        return self.reader.get(self.name, kind, name)

    def list(self, kind: str, selector: str = "") -> list[Manifest]:
        """Every object of a kind."""
        return self.reader.every(self.name, kind, selector)

    def patch(self, kind: str, name: str, patch: Manifest) -> None:
        """`kubectl patch --type=merge`."""
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def secret(self, name: str) -> dict[str, str]:
        """A Secret's values in clear."""
        data = self.get("secret", name).get("data") or {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def condition(self, name: str, kind: str = "Ready", resource: str = "cloud") -> Manifest:
        """A condition of a Cloud; empty where it is not there yet, or speaks of an older spec."""
        found = self.get(resource, name)
        for condition in found.get("status", {}).get("conditions", ()):
            if condition["type"] == kind and condition["observedGeneration"] == found["metadata"]["generation"]:
                return dict(condition)
        return {}

    def wait_ready(self, name: str, seconds: float = 90) -> None:
        """Wait until the Cloud says that it is ready by its newest spec."""

        def ready() -> bool:
            found = self.condition(name)
            assert found.get("status") == "True", found
            return True

        eventually(ready, f"cloud {name} is Ready", seconds)

    def wait_settled(self, name: str, summary: str, seconds: float = 240) -> None:
        """Wait until the Cloud has as many nodes as its newest spec asks for, and nothing is on its way."""

        def settled() -> bool:
            ready, progressing = self.condition(name), self.condition(name, "Progressing")
            assert (ready.get("status"), progressing.get("status")) == ("True", "False"), (ready, progressing)
            nodes = self.get("cloud", name)["status"]["nodes"]
            assert (nodes["summary"], nodes["current"]) == (summary, nodes["desired"]), nodes
            return True

        eventually(settled, f"cloud {name} has {summary} nodes and is settled", seconds)

    def map(self, name: str) -> Manifest:
        """The cloud map as it is published."""
        return dict(json.loads(self.get("configmap", f"{name}-map")["data"]["cloud-map.json"]))

    def node_status(self, name: str, pod: str) -> Manifest:
        """What a node says of itself on port 9001."""
        status, body = self.peer(name, pod, "/v1/status", tls=self.peer_tls(name) if self._speaks_tls(pod) else None)
        assert status == 200, body
        return dict(json.loads(body))

    def peer(
        self, cloud: str, pod: str, path: str, *, tls: ssl.SSLContext | None = None, secret: bool = True
    ) -> tuple[int, str]:
        """What a node answers on port 9001, by TLS where there is a context; OSError where there is no answer."""
        bearer = self.secret(f"{cloud}-credentials")["cloud-secret"].split()[0]
        headers = {"Authorization": f"Bearer {bearer}"} if secret else {}
        address = self.get("pod", pod)["status"]["podIP"]
        name = f"{cloud}-nodes.{self.name}.svc"
        scheme = "http" if tls is None else "https"
        with urllib3.PoolManager(ssl_context=tls, server_hostname=name, retries=False, timeout=20) as pool:
            try:
                answer = pool.request("GET", f"{scheme}://{address}:9001{path}", headers=headers)
            except urllib3.exceptions.HTTPError as error:
                raise OSError(str(error)) from error
        return answer.status, answer.data.decode()

    def peer_tls(self, cloud: str, shown: tuple[str, str] | None = None, *, nothing: bool = False) -> ssl.SSLContext:
        """Who trusts port 9001 of a cloud, and shows its own certificate, another pair, or nothing."""
        given = self.secret(f"{cloud}-peers")
        context = ssl.create_default_context(cadata=given["ca.crt"])
        if not nothing:
            file = self.scratch / f"{uuid.uuid4().hex}.pem"
            file.write_text("".join(shown or (given["tls.crt"], given["tls.key"])))
            context.load_cert_chain(file)
        return context

    def _speaks_tls(self, pod: str) -> bool:
        return bool(self.get("pod", pod)["metadata"].get("annotations", {}).get("prometheus.io/scheme") == "https")

    def epoch(self, name: str) -> int:
        """The epoch that every node of a Cloud has acknowledged."""
        return int(self.get("cloud", name).get("status", {}).get("map", {}).get("acknowledged", 0))

    def s3(
        self, cloud: str, key: dict[str, str] | None = None, pod: str = "", address: str = "", scheme: str = "http"
    ) -> Any:
        """boto3 on a node of the cloud (the first if none is named), as a program in the cluster uses it."""
        pair = key or self.secret(f"{cloud}-root")
        address = address or self.get("pod", pod or f"{cloud}-0")["status"]["podIP"]
        return boto3.client(
            "s3",
            endpoint_url=f"{scheme}://{address}:9000",
            verify=False if scheme == "https" else None,
            aws_access_key_id=pair["access_key"],
            aws_secret_access_key=pair["secret_key"],
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 2, "mode": "standard"}, connect_timeout=3, read_timeout=10),
        )

    def operator(self, *, poll_seconds: float = 5) -> Operator:
        """Start an operator that looks after this namespace alone."""
        started = Operator.start(self, poll_seconds)
        self.operators.append(started)
        return started

    def snapshot(self, cloud: str) -> dict[str, Any]:
        """Every object of a cloud without what differs from one making to the next."""
        kinds = "statefulsets,services,configmaps,secrets,serviceaccounts,networkpolicies,storagenodes,pvc"
        found = self.list(kinds, f"moln.dev/cloud={cloud}")
        return {f"{item['kind']}/{item['metadata']['name']}": _without_chance(item) for item in found}


class Clients:
    """boto3 on one ready node after the other, as the Service spreads connections."""

    def __init__(self, namespace: Namespace, cloud: str = "photos") -> None:
        self._namespace = namespace
        self._cloud = cloud
        self._turn = itertools.count()

    def __call__(self) -> Any:
        """A client of a node that is ready now, by TLS where that node speaks it."""
        ready = eventually(self._ready, "a node is ready", 120)
        address, scheme = ready[next(self._turn) % len(ready)]
        return self._namespace.s3(self._cloud, address=address, scheme=scheme)

    def _ready(self) -> list[tuple[str, str]]:
        """The addresses of the pods that are ready and stay, as a Service has them, and how each speaks."""
        return [
            (pod["status"]["podIP"], "https" if "--tls-key" in str(pod["spec"]["containers"][0]["args"]) else "http")
            for pod in self._namespace.list("pods", f"moln.dev/cloud={self._cloud}")
            if "deletionTimestamp" not in pod["metadata"] and is_ready(pod)
        ]


def is_ready(pod: Manifest) -> bool:
    """Whether a pod takes requests."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


_MASTER_KEY_ID = re.compile(r"^key-[0-9a-f]+$")
_CHANCE = {"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "annotations"}


def _without_chance(item: Manifest) -> Manifest:
    """An object without ids, times, keys and addresses."""
    metadata = {name: value for name, value in item["metadata"].items() if name not in _CHANCE}
    metadata["ownerReferences"] = [{**o, "uid": ""} for o in metadata.get("ownerReferences", ())]
    kept = {**item, "metadata": metadata}
    kept.pop("status", None)
    if item["kind"] in ("Secret", "ConfigMap"):
        kept["data"] = sorted(_MASTER_KEY_ID.sub("key-ID", name) for name in item.get("data") or {})
    if item["kind"] in ("Service", "PersistentVolumeClaim"):
        chance = ("clusterIP", "clusterIPs", "volumeName")
        kept["spec"] = {name: value for name, value in item["spec"].items() if name not in chance}
    return kept


def renamed(snapshot: dict[str, Any], name: str) -> dict[str, str]:
    """A snapshot in which the cloud has another name, so that two can be compared."""
    return {key.replace(name, "NAME"): repr(value).replace(name, "NAME") for key, value in snapshot.items()}


@dataclass
class Operator:
    """An operator process of this machine."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @classmethod
    def start(cls, namespace: Namespace, poll_seconds: float) -> Self:
        """Start it, and wait until it has listed everything."""
        number = len(namespace.operators)
        log = namespace.scratch / f"operator-{number}.log"
        command = [sys.executable, "-m", "moln_operator", "run"]
        flags = {
            "image": namespace.image,
            "namespaces": namespace.name,
            "class": CLASS,
            "listen": "127.0.0.1:0",
            "log-format": "text",
            "workers": "4",
            "poll-seconds": str(poll_seconds),
        }
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, *(f"--{name}={value}" for name, value in flags.items())],
                env={**os.environ, "KUBECONFIG": namespace.kubeconfig},
                stderr=file,
                start_new_session=True,
            )
        started = cls(process, 0, log)
        started.port = int(eventually(lambda: _port(log), "the operator says its port"))
        eventually(lambda: started.page("ready")[0] == 200, "the operator is ready")
        return started

    def page(self, path: str) -> tuple[int, str]:
        """What the operator answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def writes(self) -> dict[str, float]:
        """How often it wrote to the Kubernetes API, by kind and verb."""
        lines = [line for line in self.page("metrics")[1].splitlines() if "api_writes_total{" in line]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def looks(self) -> float:
        """How often it looked at a cloud."""
        lines = [line for line in self.page("metrics")[1].splitlines() if "reconciles_total{" in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """SIGTERM, as Kubernetes does."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


def _port(log: Path) -> str:
    for line in log.read_text().splitlines():
        if "health and metrics on port" in line:
            return line.rpartition(" ")[2]
    return ""


def a_cloud(name: str, **spec: Any) -> Manifest:
    """A small Cloud."""
    nodes = {"volume": {"size": "300Mi"}, "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}}
    return {
        "apiVersion": "moln.dev/v1alpha1",
        "kind": "Cloud",
        "metadata": {"name": name, "annotations": {"moln.dev/operator": CLASS}},
        "spec": {"nodes": {**nodes, **spec.pop("nodes", {})}, **spec},
    }
