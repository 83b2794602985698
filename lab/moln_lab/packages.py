"""Installing the Debian packages that the lab's programs come from, where they are missing."""

import os

from moln_lab.commands import installed, run_logged
from moln_lab.errors import LabError
from moln_lab.progress import Progress
from moln_lab.topology import Settings

_PACKAGE_OF = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "mkfs.xfs": "xfsprogs",
    "nsenter": "util-linux",
}


def ensure(settings: Settings, progress: Progress) -> None:
    """Install what is missing.

    Raises:
        LabError: This process is not root's, Go is missing (Debian's may be too old, so it is not chosen here), or the
            installation failed.
    """
    if os.geteuid() != 0:
        raise LabError(
            "the lab makes network namespaces, mounts and cgroups: run it as root, with sudo --preserve-env=PATH"
        )
    if not installed("go"):
        raise LabError("the lab builds Kubernetes from its Go modules: install Go 1.26 or newer and put it on PATH")
    missing = sorted({package for program, package in _PACKAGE_OF.items() if not installed(program)})
    if not missing:
        return
    log = settings.cache / "logs" / "apt.log"
    with progress.step(f"install {', '.join(missing)}", about=20):
        run_logged(["apt-get", "update", "-qq"], log, timeout=300)
        run_logged(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
            log,
            timeout=900,
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )
