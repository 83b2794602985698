"""The three clusters that the demo runs on: the lab, kind, or the one that kubectl points at."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "localhost/moln"


@dataclass
class Cluster:
    """A cluster that is up: the environment in which kubectl and helm reach it, and the image it has."""

    name: str
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    repository: str = IMAGE
    tag: str = "dev"
    clean_up: str = ""


def _show(*command: str) -> None:
    print(f"  $ {' '.join(command)}", flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def _told(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def lab() -> Cluster:
    """The project's own Kubernetes of three nodes; built and started when it is not there."""
    _show("moln-lab", "up")
    exported = dict(line.removeprefix("export ").split("=", 1) for line in _told("moln-lab", "env").splitlines())
    environment = os.environ | {
        "KUBECONFIG": exported["KUBECONFIG"].strip("'\""),
        "PATH": exported["PATH"].strip("'\"").replace("$PATH", os.environ["PATH"]),
    }
    print("  $ moln-lab images", flush=True)
    image = _told("moln-lab", "images").splitlines()[-1]
    repository, _, tag = image.rpartition(":")
    return Cluster("lab", environment, repository, tag, clean_up="make lab-down")


def kind() -> Cluster:
    """A kind cluster named moln, for people who have Docker; made when it is not there."""
    if "moln" not in _told("kind", "get", "clusters").split():
        _show("kind", "create", "cluster", "--name", "moln", "--config", "kind-config.yaml")
    _show("docker", "build", "--tag", f"{IMAGE}:dev", ".")
    _show("kind", "load", "docker-image", "--name", "moln", f"{IMAGE}:dev")
    _show("kubectl", "config", "use-context", "kind-moln")
    return Cluster("kind", clean_up="kind delete cluster --name moln")


def current() -> Cluster:
    """The cluster that kubectl points at, after asking; MOLN_IMAGE names an image that it can pull."""
    image = os.environ.get("MOLN_IMAGE", "")
    if not image:
        sys.exit("CLUSTER=current needs MOLN_IMAGE=REPOSITORY:TAG, an image of this project that the cluster can pull.")
    context = _told("kubectl", "config", "current-context")
    if input(f"Install moln and a Cloud into the cluster of context {context!r}? [y/N] ").strip().lower() != "y":
        sys.exit("Nothing was changed.")
    repository, _, tag = image.rpartition(":")
    return Cluster(context, repository=repository, tag=tag, clean_up="helm uninstall moln --namespace moln-system")


CLUSTERS = {"lab": lab, "kind": kind, "current": current}
