"""The chart on a real Kubernetes: installed, used, tested, upgraded, uninstalled, with no rights to spare."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
import yaml
from tests.certificates import Pair
from tests.e2e.cluster import CLASS, a_cloud, eventually
from tests.e2e.conftest import ROOT
from tests.e2e.test_tls import secret

from moln_lab.errors import LabError
from moln_operator.kube import labels

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.cluster import Namespace

pytestmark = pytest.mark.lab
APART = pytest.mark.xdist_group("chart")
"""Releases of one chart share its CRDs: one at a time."""
CHART = ROOT / "charts" / "moln"
FIRST = {"enabled": True, "name": "first", "spec": a_cloud("first")["spec"]}


def helm(namespace: Namespace, *arguments: str, timeout: float = 200) -> str:
    """Run helm on the lab; AssertionError with its words when it fails."""
    command = [str(namespace.lab.programs / "helm"), "--namespace", namespace.name, *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={"KUBECONFIG": namespace.kubeconfig, "HOME": str(namespace.scratch)},
    )
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout


def values(namespace: Namespace, **operator: Any) -> tuple[str, ...]:
    """Flags for a release that looks after the test's namespace alone, with the image under test."""
    repository, _, tag = namespace.image.rpartition(":")
    document = {
        "image": {"repository": repository, "tag": tag},
        "operator": {"namespaces": [namespace.name], "class": CLASS, "pollSeconds": 5, **operator},
        "cloud": FIRST,
        "rbac": {"aggregate": False},
    }
    path = namespace.scratch / "values.json"  # JSON, because Helm takes a bare tag such as 12e34 for a number
    path.write_text(json.dumps(document))
    return ("--values", str(path), "--take-ownership", "--force-conflicts", "--wait", "--timeout", "150s")


@APART
def test_install_use_test_upgrade_uninstall(namespace: Namespace) -> None:
    """A release with a first Cloud; its data stays when the release goes, and a new release takes over."""
    helm(namespace, "install", "moln", str(CHART), *values(namespace))
    namespace.wait_ready("first")
    s3 = namespace.s3("first")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="a", Body=b"x")
    assert "Phase:          Succeeded" in helm(namespace, "test", "moln", "--timeout", "150s")
    log = namespace.kubectl("logs", "deployment/moln")
    assert "forbidden" not in log
    assert "defect" not in log

    _looked_at(namespace)
    _told_by_the_operator(namespace)

    pod = namespace.get("pod", "first-0")["metadata"]["uid"]
    helm(namespace, "upgrade", "moln", str(CHART), *values(namespace, logFormat="text"))

    def new_log() -> bool:  # the old pod may be there for a while
        log = namespace.kubectl("logs", "deployment/moln")
        assert log, "it says nothing"
        return not log.startswith("{")

    eventually(new_log, "the new operator logs, as text")
    namespace.wait_ready("first")
    assert namespace.get("pod", "first-0")["metadata"]["uid"] == pod, (
        "an upgrade that changes no image restarts no node"
    )

    helm(namespace, "uninstall", "moln", "--wait")
    assert namespace.get("pod", "first-0")["metadata"]["uid"] == pod, "uninstalling leaves clouds alone"
    assert namespace.lab.kubectl("get", "crd", "clouds.moln.dev")
    assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"x"

    helm(namespace, "install", "moln", str(CHART), *values(namespace))
    namespace.patch("cloud", "first", {"spec": {"limits": {"uploadExpiryDays": 3}}})
    namespace.wait_ready("first")
    helm(namespace, "uninstall", "moln", "--wait")


@APART
def test_the_operator_in_its_container_speaks_tls_with_nodes(namespace: Namespace, tmp_path: Path) -> None:
    """Its disk is read-only, and its rights are the chart's: it makes certificates and shows one all the same."""
    helm(namespace, "install", "moln", str(CHART), *values(namespace))
    namespace.wait_ready("first")
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", f"first.{namespace.name}.svc")
    pair.renew()
    namespace.apply(secret(pair))
    namespace.patch("cloud", "first", {"spec": {"tls": {"secretName": "cert"}}})
    namespace.wait_settled("first", "1/1")
    assert namespace.peer("first", "first-0", "/v1/status")[0] == 400
    assert namespace.node_status("first", "first-0")["ready"]
    log = namespace.kubectl("logs", "deployment/moln")
    assert "forbidden" not in log
    assert "PRIVATE" not in log
    helm(namespace, "uninstall", "moln", "--wait")


def _looked_at(namespace: Namespace) -> None:
    """`moln status` and `moln health` find the first Cloud by kubectl, its node by a forwarded port."""

    def moln(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "KUBECONFIG": namespace.kubeconfig,
            "HOME": str(namespace.scratch),
            "PATH": str(namespace.lab.programs),
        }
        command = [sys.executable, "-m", "moln", *arguments, "-n", namespace.name]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)

    shown = moln("status", "--json")
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert (document["cloud"], document["level"], document["reasons"]) == ("first", "healthy", [])
    assert [(node["name"], node["ready"], node["objects"]) for node in document["nodes"]] == [("first-0", True, 1)]
    assert {one["type"]: one["status"] for one in document["conditions"]}["Ready"] == "True"
    assert moln("health", "first").returncode == 0
    assert moln("health", "absent").returncode == 6


def _told_by_the_operator(namespace: Namespace) -> None:
    """The operator's metrics and page know the Cloud, its map and its pod, as they are in the cluster."""
    (pod,) = namespace.list("pod", "app.kubernetes.io/name=moln-operator")
    address = f"http://{pod['status']['podIP']}:8080"
    of_first = f'{{cloud="first",cloud_namespace="{namespace.name}"}}'
    metrics = urllib3.request("GET", f"{address}/metrics", timeout=10).data.decode()
    assert f"moln_operator_cloud_fewest_serving_copies{of_first} 1.0" in metrics
    assert f"moln_operator_cloud_reconciled_timestamp_seconds{of_first}" in metrics
    page = urllib3.request("GET", f"{address}/", timeout=10).data.decode()
    assert "1 Cloud, all is well" in page
    assert "<td>first-0</td>" in page


@pytest.mark.alone
@pytest.mark.xdist_group("alone")
def test_an_upgrade_brings_the_crds_along(namespace: Namespace) -> None:
    """From a chart whose CRD was another: after `helm upgrade` it is as this release wants it."""
    old = namespace.scratch / "old"
    shutil.copytree(CHART, old)
    crd = old / "templates" / "crds" / "clouds.yaml"
    crd.write_text(crd.read_text().replace("    - cl\n", "    - old\n"))

    def short_names() -> list[str]:
        found = json.loads(namespace.lab.kubectl("get", "crd", "clouds.moln.dev", "-o", "json"))
        return list(found["spec"]["names"]["shortNames"])

    helm(namespace, "install", "moln", str(old), *values(namespace))
    assert short_names() == ["old"]
    helm(namespace, "upgrade", "moln", str(CHART), *values(namespace))
    assert short_names() == ["cl"]
    helm(namespace, "uninstall", "moln", "--wait")


@APART
def test_the_operator_has_no_rights_beyond_its_namespaces(namespace: Namespace) -> None:
    """Installed for one namespace, it can't read Secrets, or write anything, in another."""
    helm(namespace, "install", "moln", str(CHART), *values(namespace))
    user = f"--as=system:serviceaccount:{namespace.name}:moln"

    def may(verb: str, what: str, where: str) -> bool:
        resource, _, part = what.partition("/")
        try:
            said = namespace.lab.kubectl("auth", "can-i", verb, resource, f"--subresource={part}", "-n", where, user)
            return said.strip() == "yes"
        except LabError:
            return False  # can-i answers "no" with a failure

    assert may("get", "secrets", namespace.name)
    for verb, what in (("get", "secrets"), ("create", "statefulsets.apps"), ("delete", "persistentvolumeclaims")):
        assert not may(verb, what, "kube-system"), f"{verb} {what}"
    for verb, what in (("create", "pods"), ("get", "pods/log"), ("create", "pods/exec"), ("update", "roles.rbac")):
        assert not may(verb, what, namespace.name), f"{verb} {what}"
    assert not may("delete", "clouds.moln.dev", namespace.name), "the operator never deletes a Cloud"
    helm(namespace, "uninstall", "moln", "--wait")


@APART
def test_two_replicas_elect_a_leader_and_the_other_takes_over(namespace: Namespace) -> None:
    """One works at a time; when it is gone without a word, the other goes on."""
    helm(namespace, "install", "moln", str(CHART), *values(namespace, replicas=2))

    def leader() -> str:
        return str(namespace.get("lease", "moln-operator")["spec"]["holderIdentity"])

    first = eventually(leader, "a leader")
    namespace.wait_ready("first")
    namespace.kubectl("delete", "pod", first, "--force", "--grace-period=0")
    eventually(lambda: leader() not in ("", first), "another leader", 60)
    namespace.kubectl("delete", "service/first")
    eventually(lambda: namespace.get("service", "first"), "the new leader repairs", 60)
    helm(namespace, "uninstall", "moln", "--wait")


def test_monitoring_is_rendered_as_it_was_asked_for(namespace: Namespace) -> None:
    """Dashboards and alerts are those of the files, monitors select what the operator makes, typos are told."""
    asked = (
        "--set",
        "monitoring.monitors.enabled=true,monitoring.alerts.enabled=true,monitoring.dashboards.enabled=true",
    )
    more = (
        "--set",
        "monitoring.alerts.runbooks=https://example.com/",
        "--set",
        "monitoring.monitors.labels.release=prom",
    )
    made = {
        (one["kind"], one["metadata"]["name"]): one
        for one in yaml.safe_load_all(helm(namespace, "template", "moln", str(CHART), *asked, *more))
        if one
    }
    boards = made["ConfigMap", "moln-dashboards"]
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    files = {path.name: path.read_text() for path in (CHART / "dashboards").glob("*.json")}
    assert {name: json.loads(text) for name, text in boards["data"].items()} == {
        name: json.loads(text) for name, text in files.items()
    }
    rules = (CHART / "rules" / "moln.yaml").read_text().replace(" docs/runbooks", " https://example.com/docs/runbooks")
    assert made["PrometheusRule", "moln"]["spec"] == yaml.safe_load(rules)
    pods = made["PodMonitor", "moln-nodes"]
    assert pods["metadata"]["labels"]["release"] == "prom"
    assert (
        pods["spec"]["selector"]["matchLabels"].items() <= labels.of_cloud("c").items() | labels.of_nodes("c").items()
    )
    (scrape,) = pods["spec"]["podMetricsEndpoints"]
    (scheme,) = scrape["relabelings"]
    assert scheme["sourceLabels"] == ["__meta_kubernetes_pod_annotation_" + re.sub(r"\W", "_", labels.SCHEME)]
    assert (scheme["targetLabel"], scheme["replacement"]) == ("__scheme__", "https")
    operator = made["Deployment", "moln"]["spec"]["template"]["metadata"]
    assert made["ServiceMonitor", "moln"]["spec"]["selector"]["matchLabels"].items() <= operator["labels"].items()
    assert operator["annotations"]["prometheus.io/port"] == "8080"
    plain = helm(namespace, "template", "moln", str(CHART), "--set", "monitoring.annotations=false,operator.page=false")
    assert "--page=off" in plain
    assert "monitoring.coreos.com" not in plain
    assert "prometheus.io" not in plain
    with pytest.raises(AssertionError, match="additional properties 'enable' not allowed"):
        helm(namespace, "template", "moln", str(CHART), "--set", "monitoring.alerts.enable=true")
