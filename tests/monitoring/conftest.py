"""A real Prometheus that watches a real cloud, and what the operator would say of it."""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import threading
import time
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
import yaml
from botocore.exceptions import ClientError
from tests.certificates import Authority, Pair
from tests.cli.harness import CLOUD, Desk, Dev
from tests.node.process.harness import Node, Nodes
from tests.operator.test_overview import a_drain, a_map_config, an_inventory

from moln_operator.metrics import Metrics
from moln_operator.observe.overview import Overview
from moln_spec.cloudmap import CloudMap, MapNode

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "moln" / "rules" / "moln.yaml"
DASHBOARDS = sorted((ROOT / "charts" / "moln" / "dashboards").glob("*.json"))
SECONDS = 120
WINDOW = "1m"
"""Of rates: Grafana's `$__rate_interval`."""


def program(name: str) -> str:
    """Where a program is; the test fails, and says what to run, where it is not."""
    cache = Path(os.environ.get("MOLN_CACHE") or Path.home() / ".cache/moln") / "monitoring"
    built = sorted(cache.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)
    if not built:
        pytest.fail(f"{name} is not there: run scripts/install-monitoring")
    return str(built[-1])


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server that scrapes, asked as Grafana asks it."""

    address: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API; an AssertionError with its words if it refuses."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        answer = urllib3.request("GET", url, timeout=SECONDS, retries=False)
        assert answer.status == 200, f"{parameters}: {answer.data.decode()}"
        return answer.json()["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found


def is_wrong(prometheus: Prometheus, alert: str, cloud: str = "photos") -> bool:
    """Whether what an alert warns of is so of a cloud now, however long it would have to last."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    (expr,) = (rule["expr"] for group in groups for rule in group["rules"] if rule["alert"] == alert)
    return any(one["metric"].get("cloud") == cloud for one in prometheus.query(expr))


def until_it_is(prometheus: Prometheus, alert: str, cloud: str = "photos", *, wrong: bool) -> None:
    """Wait until what an alert warns of is so, or is so no more."""
    deadline = time.monotonic() + SECONDS
    while is_wrong(prometheus, alert, cloud) is not wrong:
        assert time.monotonic() < deadline, f"{alert} is not {wrong}"
        time.sleep(0.2)


def chosen(expr: str, window: str = WINDOW) -> str:
    """The expression as Grafana sends it once its variables are chosen."""
    choices = {"$__rate_interval": window, "$namespace": ".*", "$cloud": "photos", "$pod": "photos-0"}
    for variable, value in choices.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr, "a variable that the dashboard does not have"
    return expr


@contextmanager
def serving(metrics: Metrics) -> Iterator[str]:
    """The operator's /metrics on a port of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = metrics.render()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def an_operator() -> Metrics:
    """The metrics of an operator that looks after the cloud `photos`, which a node leaves, and has worked a little."""
    metrics = Metrics()
    inventory = an_inventory()
    inventory.put(a_map_config(8, 2, nodes=4))
    metrics.show_clouds(Overview(inventory).clouds)
    metrics.heard(("home", "photos"), a_drain())
    metrics.leader.set(1)
    look(metrics)
    return metrics


def look(metrics: Metrics) -> None:
    """One look at the cloud."""
    metrics.wrote("StatefulSet", "apply")
    metrics.reconciled("ok", ("home", "photos"))
    metrics.duration.observe(0.1)


@contextmanager
def scraping(folder: Path, targets: dict[str, tuple[str, str]]) -> Iterator[Prometheus]:
    """Prometheus with the project's rules; `targets` by pod: namespace and address."""
    static = [
        {"targets": [address], "labels": {"namespace": namespace, "pod": pod}}
        for pod, (namespace, address) in targets.items()
    ]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "moln", "static_configs": static}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    words = folder / "prometheus.log"
    with words.open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(address_in(words))
        wait_for(prometheus, f"count(count_over_time(up[1m]) > 3 and up == 1) == {len(static)}")
        yield prometheus
    finally:
        process.terminate()
        process.wait(SECONDS)


def address_in(words: Path) -> str:
    """Where a Prometheus listens: on a free port, which it tells."""
    deadline = time.monotonic() + SECONDS
    while not (found := re.search(r'msg="Listening on".* address=(\S+)', words.read_text())):
        assert time.monotonic() < deadline, words.read_text()
        time.sleep(0.05)
    return found[1]


def wait_for(prometheus: Prometheus, expr: str) -> None:
    """Ask until there is an answer."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            if prometheus.query(expr):
                return
        except (urllib3.exceptions.HTTPError, AssertionError):  # it starts
            pass
        if time.monotonic() > deadline:
            pytest.fail(f"not within {SECONDS} s: {expr}")
        time.sleep(0.1)


@contextmanager
def a_cloud(folder: Path) -> Iterator[tuple[Dev, Node, dict[str, tuple[str, str]]]]:
    """The cloud `photos` of three nodes, and one that speaks TLS and has a key that ends: place and address by pod."""
    desk, single = Desk(folder), Nodes(folder)
    (folder / "photos.yaml").write_text(CLOUD.replace("name: test", "name: photos"))
    data = folder / "dev"
    try:
        dev = desk.spawn("--nodes", "3", "--data", str(data), yaml="photos.yaml").wait_ready()
        work(dev, data)
        pair = Pair(folder / "tls.crt", folder / "tls.key")
        pair.renew()
        Authority().write(folder / "peers", "accept")
        flags = {"tls_certificate": pair.chain, "tls_key": pair.key, "peer_tls": folder / "peers"}
        secure = single.start(**{name: str(path) for name, path in flags.items()})
        leaving = {"access_key": "older", "secret_key": "older-secret-key", "expires": int(time.time()) + 3600}
        secure.call("PUT", "/v1/credentials", {"keys": [leaving]})
        places = {node.name: ("home", node.address) for node in nodes_of(data)} | {"secure-0": ("other", secure.peer)}
        yield dev, secure, places
    finally:
        single.end()
        desk.end()


def work(dev: Dev, data: Path) -> None:
    """A request of each kind that a dashboard shows, refused ones and one of what is not built too; and scrubs."""
    s3 = dev.s3()
    s3.create_bucket(Bucket="bucket")
    for number in range(5):
        s3.put_object(Bucket="bucket", Key=f"k{number}", Body=b"x" * 10_000)
        s3.get_object(Bucket="bucket", Key=f"k{number}")["Body"].read()
    s3.delete_object(Bucket="bucket", Key="k0")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket="bucket", Key="k0")
    with pytest.raises(ClientError, match="NotImplemented"):
        s3.put_bucket_request_payment(Bucket="bucket", RequestPaymentConfiguration={"Payer": "Requester"})
    s3.close()
    secret = (data / "cloud-secret").read_text().strip()
    for node in nodes_of(data):
        answer = urllib3.request(
            "POST",
            f"http://{node.address}/v1/tasks",
            json={"kind": "scrub"},
            headers={"Authorization": f"Bearer {secret}"},
            timeout=SECONDS,
        )
        assert answer.status in (202, 409)


def nodes_of(data: Path) -> tuple[MapNode, ...]:
    """The nodes of the cloud in this folder."""
    return CloudMap.model_validate_json((data / "map.json").read_text()).nodes


@dataclass(frozen=True, slots=True)
class Watched:
    """A cloud and the Prometheus that watches it; `data` is the folder of `moln dev`.

    `secure` is a node of another cloud, which speaks TLS and has no key but one that ends.
    """

    prometheus: Prometheus
    dev: Dev
    data: Path
    secure: Node


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A Prometheus that has seen a cloud, a node with TLS and an operator at work for some seconds."""
    folder = tmp_path_factory.mktemp("watched")
    operator = an_operator()
    with (
        a_cloud(folder) as (dev, secure, pods),
        serving(operator) as address,
        scraping(folder, {**pods, "moln-0": ("moln-system", address)}) as found,
    ):
        work(dev, folder / "dev")
        look(operator)
        for histogram in (
            'moln_s3_request_seconds_count{pod="photos-0"}',
            'moln_peer_request_seconds_count{pod="photos-0"}',
            'moln_node_fsync_seconds_count{pod="photos-0"}',
            "moln_operator_reconcile_seconds_count",
        ):
            wait_for(found, f"sum(rate({histogram}[{WINDOW}])) > 0")
        yield Watched(found, dev, folder / "dev", secure)


@pytest.fixture(scope="module")
def prometheus(watched: Watched) -> Prometheus:
    """The Prometheus alone."""
    return watched.prometheus
