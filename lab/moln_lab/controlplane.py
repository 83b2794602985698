"""The control plane's programs: etcd, API server, controller manager, scheduler and cluster DNS, on one host.

Called by `boot`. `programs` says what runs.
"""

from pathlib import Path
from urllib.request import urlopen

from moln_lab.files import write
from moln_lab.pki import Authority
from moln_lab.processes import Program
from moln_lab.topology import (
    API_PORT,
    API_SERVICE,
    DNS_DOMAIN,
    SERVICES,
    Topology,
)

_ISSUER = f"https://kubernetes.default.svc.{DNS_DOMAIN}"
_DNS_READY_PORT = 8181
_NODE_SILENCE = "16s"
"""After this a silent node is NotReady; Kubernetes' own default of 50 s makes tests of dead nodes slow."""


def _prepare(topology: Topology, authority: Authority) -> None:
    """Write the kubeconfigs and configuration files that the programs read."""
    for user, name, groups in (
        ("system:kube-controller-manager", "controller-manager", ()),
        ("system:kube-scheduler", "scheduler", ()),
        ("system:coredns", "coredns", ()),
    ):
        _kubeconfig(topology, authority, _folder(topology) / f"{name}.kubeconfig", name, user, groups)
    _kubeconfig(topology, authority, topology.kubeconfig, "admin", "moln-lab-admin", ("system:masters",))
    write(_folder(topology) / "Corefile", _corefile(topology))


def programs(topology: Topology, binaries: Path) -> list[Program]:
    """Return the programs in the order in which they start, and write the files that they read."""
    authority = Authority(topology.pki)
    _prepare(topology, authority)
    folder = _folder(topology)

    def program(name: str, *flags: str, reads: tuple[Path, ...] = ()) -> Program:
        return Program(
            name=f"{topology.control.name}.{name}",
            argv=(str(binaries / name), *flags),
            netns=topology.control.netns,
            cgroup=f"{topology.control.cgroup}/{name}",
            reads=reads,
        )

    return [
        program("etcd", *_etcd(topology)),
        program("kube-apiserver", *_api_server(topology, authority)),
        program("kube-controller-manager", *_controller_manager(authority, folder / "controller-manager.kubeconfig")),
        program("kube-scheduler", f"--kubeconfig={folder / 'scheduler.kubeconfig'}", "--leader-elect=false"),
        program("coredns", f"-conf={folder / 'Corefile'}", reads=(folder / "Corefile",)),
    ]


def dns_ready(topology: Topology) -> bool:
    """Tell whether the cluster DNS has read the cluster's Services."""
    try:
        with urlopen(f"http://{topology.control.address}:{_DNS_READY_PORT}/ready", timeout=5):
            return True
    except OSError:
        return False


def _etcd(topology: Topology) -> list[str]:
    here = "http://127.0.0.1"
    return [
        f"--data-dir={topology.state / 'etcd'}",
        f"--listen-client-urls={here}:2379",
        f"--advertise-client-urls={here}:2379",
        f"--listen-peer-urls={here}:2380",
        f"--initial-advertise-peer-urls={here}:2380",
        f"--initial-cluster=default={here}:2380",
        "--unsafe-no-fsync",  # the lab's own cluster is worth less than its speed
    ]


def _api_server(topology: Topology, authority: Authority) -> list[str]:
    serving = authority.issue(
        "apiserver",
        "kube-apiserver",
        addresses=[topology.control.address, API_SERVICE],
        names=["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
    )
    to_kubelets = authority.issue("apiserver-to-kubelet", "kube-apiserver-kubelet-client", ["system:masters"])
    accounts = authority.service_accounts
    return [
        f"--advertise-address={topology.control.address}",
        f"--secure-port={API_PORT}",
        "--etcd-servers=http://127.0.0.1:2379",
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={authority.credential.certificate}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--kubelet-certificate-authority={authority.credential.certificate}",
        f"--kubelet-client-certificate={to_kubelets.certificate}",
        f"--kubelet-client-key={to_kubelets.key}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={_ISSUER}",
        f"--service-account-key-file={accounts.certificate}",
        f"--service-account-signing-key-file={accounts.key}",
        f"--service-cluster-ip-range={SERVICES}",
    ]


def _controller_manager(authority: Authority, kubeconfig: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={authority.service_accounts.key}",
        f"--root-ca-file={authority.credential.certificate}",
        f"--cluster-signing-cert-file={authority.credential.certificate}",
        f"--cluster-signing-key-file={authority.credential.key}",
        f"--node-monitor-grace-period={_NODE_SILENCE}",
        "--node-monitor-period=2s",
    ]


def _corefile(topology: Topology) -> str:
    return f"""\
.:53 {{
    errors
    ready :{_DNS_READY_PORT}
    kubernetes {DNS_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {_folder(topology) / "coredns.kubeconfig"}
        pods insecure
        ttl 5
    }}
    cache 5
}}
"""


def _kubeconfig(
    topology: Topology, authority: Authority, file: Path, name: str, user: str, groups: tuple[str, ...]
) -> None:
    authority.kubeconfig(file, authority.issue(name, user, groups), topology.api, topology.link)


def _folder(topology: Topology) -> Path:
    return topology.state / "control"
