"""The objects that a cloud is made of: what each must and must not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.operator.given import SETTINGS, a_claim, a_cloud, a_map_of, a_pool, a_stateful_set, an_outcome, observed

from moln_operator.kube import labels
from moln_operator.plan.children import children, superfluous
from moln_operator.plan.credentials import credentials
from moln_operator.plan.disruption import disruption_budget
from moln_operator.plan.volumes import growth
from moln_operator.report.status import cloud_status
from moln_spec.cloudmap import Change

if TYPE_CHECKING:
    from moln_spec.cloudmap import CloudMap
    from moln_spec.resources.cloud import Cloud


def planned(cloud: Cloud | None = None, **more: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """Every child by kind and name."""
    state = observed(cloud, **more)
    return {
        (m["kind"], m["metadata"]["name"]): m
        for m in children(state, state.previous_map, credentials(state), ("s3cret",), SETTINGS)
    }


def test_a_cloud_alone_gets_everything_it_needs() -> None:
    """The least spec plans a pool, an account, keys, two Services, a policy for port 9001 and a StatefulSet."""
    assert sorted(planned()) == [
        ("NetworkPolicy", "photos-nodes"),
        ("PodDisruptionBudget", "photos"),
        ("Secret", "photos-credentials"),
        ("Service", "photos"),
        ("Service", "photos-nodes"),
        ("ServiceAccount", "photos-node"),
        ("StatefulSet", "photos"),
        ("StorageNode", "photos"),
    ]


def test_every_child_is_owned_and_labelled() -> None:
    """Children go with the Cloud, and watches find them."""
    for child in planned().values():
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Cloud", "u1", True)
        assert child["metadata"]["labels"][labels.CLOUD] == "photos"
        assert child["metadata"]["labels"][labels.MANAGED_BY] == labels.MANAGER
        assert child["metadata"]["namespace"] == "home"


def test_what_holds_data_or_keys_is_never_owned() -> None:
    """No claim, root key, cluster secret or map among the owned children: deleting a Cloud can't take them."""
    names = {name for _, name in planned()}
    assert not names & {"photos-root", "photos-cluster", "photos-map"}
    assert "PersistentVolumeClaim" not in {kind for kind, _ in planned()}


def test_nodes_have_no_privileges_and_nothing_writable_but_their_volume() -> None:
    """The pod passes the restricted Pod Security Standard."""
    pod = planned()["StatefulSet", "photos"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["fsGroup"] == 65532
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")] == ["/data", "/tmp"]


def test_volumes_outlive_their_stateful_set() -> None:
    """Neither deleting nor scaling takes a volume."""
    spec = planned()["StatefulSet", "photos"]["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert spec["podManagementPolicy"] == "Parallel"


def test_the_secrets_of_a_pod_are_only_those_it_needs() -> None:
    """The Secret with the identity is not mounted, and no key is in the command line or environment."""
    pod = planned()["StatefulSet", "photos"]["spec"]["template"]["spec"]
    mounted = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    assert mounted == {"photos-credentials"}
    assert "root-secret-1" not in str(pod)


def test_a_volume_grows_by_its_claim_and_not_by_the_template() -> None:
    """A StatefulSet's template can't change: it keeps its size, and the claims are patched."""
    cloud = a_cloud(nodes={"volume": {"size": "20Gi"}})
    state = observed(
        cloud,
        stateful_sets={"photos": a_stateful_set("10Gi")},
        claims={"data-photos-0": a_claim("data-photos-0", "10Gi"), "data-photos-1": a_claim("data-photos-1", "10Gi")},
    )
    assert growth(state) == {"data-photos-0": "20Gi"}
    stateful_set = planned(cloud, stateful_sets=state.stateful_sets)["StatefulSet", "photos"]
    (template,) = stateful_set["spec"]["volumeClaimTemplates"]
    assert template["spec"]["resources"]["requests"]["storage"] == "10Gi"


@pytest.mark.parametrize("requested", ["20Gi", "30Gi", "21474836480"])
def test_a_volume_never_shrinks(requested: str) -> None:
    """A claim that asks for as much or more is left alone."""
    state = observed(
        a_cloud(nodes={"volume": {"size": "20Gi"}}), claims={"data-photos-0": a_claim("data-photos-0", requested)}
    )
    assert growth(state) == {}


ONE, TWO = a_map_of({"photos-0": "active"}), a_map_of({"photos-0": "active", "photos-1": "active"})


@pytest.mark.parametrize(
    ("cloud_map", "only"),
    [
        (None, ""),
        (ONE, "photos-0"),
        (a_map_of({"photos-0": "active", "photos-1": "spare", "photos-2": "spare"}), "photos-0"),
        (
            a_map_of({"photos-0": "active", "photos-1": "joining"}, change=Change(before=ONE.layout, since=1)),
            "photos-0",
        ),
        (TWO, ""),
        (a_map_of({"photos-0": "leaving", "new-0": "active"}, change=Change(before=ONE.layout, since=1)), "photos-0"),
        (
            a_map_of({"photos-0": "active", "photos-1": "leaving"}, change=Change(before=TWO.layout, since=1)),
            "photos-0",
        ),
        (a_map_of({f"photos-{number}": "active" for number in range(9)}), ""),
    ],
)
def test_a_drain_takes_one_node_and_never_the_only_one(cloud_map: CloudMap | None, only: str) -> None:
    """Who else has the data, is decided by the map: who is still being filled is nobody to rely on."""
    budget = disruption_budget("photos", cloud_map)
    assert budget["spec"]["maxUnavailable"] == (0 if only else 1)
    told = cloud_status(an_outcome(cloud_map=cloud_map)).only_node
    assert told.name == only
    assert ("kubectl delete pod" in told.advice) == bool(only)


def test_port_9001_is_closed_to_users() -> None:
    """S3 is open; port 9001 is for the nodes, the operator and namespaces that collect metrics."""
    s3, peer = planned()["NetworkPolicy", "photos-nodes"]["spec"]["ingress"]
    assert s3 == {"ports": [{"protocol": "TCP", "port": 9000}]}
    assert peer["ports"] == [{"protocol": "TCP", "port": 9001}]
    assert len(peer["from"]) == 3


def test_an_ingress_comes_and_goes_with_the_spec() -> None:
    """Planned when asked for; superfluous when it is there and no longer asked for."""
    asked = a_cloud(ingress={"host": "s3.example.org", "tlsSecretName": "cert", "className": "nginx"})
    spec = planned(asked)["Ingress", "photos"]["spec"]
    assert spec["tls"] == [{"hosts": ["s3.example.org"], "secretName": "cert"}]
    state = observed(children=frozenset({("Ingress", "photos"), ("Service", "photos"), ("StatefulSet", "old")}))
    plan = children(state, state.previous_map, credentials(state), ("s3cret",), SETTINGS)
    assert superfluous(state, plan, state.previous_map) == (("Ingress", "photos"),), (
        "and never a StatefulSet: it stands for data"
    )


def test_the_cloud_is_the_authority_over_its_default_pool() -> None:
    """An edit of the StorageNode that the operator wrote does not reach the StatefulSet."""
    children_ = planned(a_cloud(), storage_nodes=(a_pool("photos", replicas=5, weight=9),))
    assert children_["StatefulSet", "photos"]["spec"]["replicas"] == 1
    assert children_["StorageNode", "photos"]["spec"]["replicas"] == 1


def test_the_service_is_as_asked() -> None:
    """Type, port, a fixed node port and annotations."""
    service = planned(a_cloud(service={"type": "NodePort", "port": 80, "nodePort": 30900, "annotations": {"a": "b"}}))[
        "Service", "photos"
    ]
    assert service["spec"]["type"] == "NodePort"
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["nodePort"], port["targetPort"]) == (80, 30900, "s3")
    assert service["metadata"]["annotations"] == {"a": "b"}


def test_tls_is_mounted_and_served_where_it_is_asked_for() -> None:
    """The certificate is the user's own Secret; without it nothing of it appears."""
    plain = planned()["StatefulSet", "photos"]["spec"]["template"]["spec"]
    assert "tls" not in {volume["name"] for volume in plain["volumes"]}
    pod = planned(a_cloud(tls={"secretName": "cert"}, trustForwarded=True))["StatefulSet", "photos"]["spec"]["template"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    container = pod["spec"]["containers"][0]
    assert volumes["tls"]["secret"]["secretName"] == "cert"
    assert "/etc/moln/tls" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {
        "--tls-certificate=/etc/moln/tls/tls.crt",
        "--tls-key=/etc/moln/tls/tls.key",
        "--trust-forwarded=on",
    } <= set(container["args"])


@pytest.mark.parametrize(
    ("logs", "flags"),
    [
        ({}, []),
        ({"access": False}, ["--access-log=off"]),
        ({"slowSeconds": 0}, ["--slow-seconds=0"]),
        ({"access": False, "slowSeconds": 60}, ["--access-log=off", "--slow-seconds=60"]),
    ],
)
def test_what_is_logged_is_the_clouds_choice(logs: dict[str, Any], flags: list[str]) -> None:
    """Only what differs from what nodes do by themselves is a flag: nothing else would restart them."""
    template = planned(a_cloud(logs=logs))["StatefulSet", "photos"]["spec"]["template"]
    arguments = template["spec"]["containers"][0]["args"]
    assert [one for one in arguments if one.startswith(("--access-log", "--slow"))] == flags


def test_traces_are_sent_where_the_cloud_says() -> None:
    """By OpenTelemetry's own variables, whose names this is; and without a word of traces there are none."""

    def environment(**spec: Any) -> dict[str, str]:
        template = planned(a_cloud(**spec))["StatefulSet", "photos"]["spec"]["template"]
        return {one["name"]: one.get("value", "") for one in template["spec"]["containers"][0]["env"]}

    assert environment() == {"POD_NAME": ""}
    assert environment(tracing={"endpoint": "http://collector.tracing:4318", "samplePercent": 0.5}) == {
        "POD_NAME": "",  # first: the last refers to it
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.tracing:4318",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.005",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=home,k8s.pod.name=$(POD_NAME)",
    }


def test_nodes_can_be_found_by_a_prometheus_that_follows_annotations() -> None:
    """The usual three, on the pods; the port is the one with /metrics."""
    template = planned(a_cloud())["StatefulSet", "photos"]["spec"]["template"]
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9001",
        "prometheus.io/path": "/metrics",
    }
