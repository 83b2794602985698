"""Building the lab's own programs with Go: Kubernetes and its companions, and the program of pods' sandboxes."""

import os
from pathlib import Path

from moln_lab.cache import built, key_of
from moln_lab.commands import run, run_logged
from moln_lab.progress import Progress

KUBERNETES = "1.37.2"
PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "helm",
    "coredns",
)
"""What the one binary is, by the name it is called by; lab/kube/main.go has the same list."""

_LAB = Path(__file__).resolve().parents[1]
_ENV = {"CGO_ENABLED": "0"}
_BUILD = ("go", "build", "-trimpath")
_BUILD_TIMEOUT = 3600.0


def kubernetes(cache: Path, progress: Progress) -> Path:
    """Return the folder with Kubernetes' programs, building them when their sources are new.

    Raises:
        LabError: Go is missing, or the build failed.
    """
    version = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.split(".")
    flags = f"-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"

    def build(folder: Path) -> None:
        with progress.step("build Kubernetes, Helm and CoreDNS", about=600):
            _go_build("kube", folder / "kube", cache, flags)
            for program in PROGRAMS:
                (folder / program).symlink_to("kube")

    return built(cache, "kube", _key("kube", flags, *PROGRAMS), build)


def pause(cache: Path, progress: Progress) -> Path:
    """Return the pause program, building it when its source is new.

    Raises:
        LabError: Go is missing, or the build failed.
    """

    def build(folder: Path) -> None:
        with progress.step("build the pause program", about=5):
            _go_build("pause", folder / "pause", cache, "-s -w")

    return built(cache, "pause", _key("pause"), build) / "pause"


def _go_build(module: str, output: Path, cache: Path, flags: str) -> None:
    run_logged(
        [*_BUILD, "-ldflags", flags, "-o", output, "."],
        cache / "logs" / f"build-{module}.log",
        timeout=_BUILD_TIMEOUT,
        env=_ENV,
        cwd=_LAB / module,
    )


def _key(module: str, *settings: str) -> str:
    files = [file for file in (_LAB / module).iterdir() if file.suffix in {".go", ".mod", ".sum"}]
    return key_of(files, run(["go", "env", "GOVERSION", "GOOS", "GOARCH"]), os.uname().machine, *settings)
