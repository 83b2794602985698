"""The images that the lab's nodes run: built with the tools users have, into OCI layouts in the cache.

    Debian (debootstrap) -> base image -> the project's Dockerfile (buildah) -> OCI layout (skopeo) -> each node

Called by `lab`. Each step reuses what did not change, so a change of the project's code costs its own small layer.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from moln_lab import binaries
from moln_lab.cache import built, key_of
from moln_lab.commands import run, run_logged
from moln_lab.oci import Image, write_single_file
from moln_lab.progress import Progress

PROJECT = "localhost/moln"
"""The project's image, under the tag `dev` and under one that changes with its content."""

_ROOT = Path(__file__).resolve().parents[2]
_SUITE = "trixie"
_PACKAGES = "python3,python3-venv,ca-certificates"
_UNWANTED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/lib/apt/lists",
    "var/cache/apt",
)
_CERTIFICATES = "/etc/ssl/certs"
_BUILD_TIMEOUT = 900.0
# Without a daemon and without the capabilities of one: a build step is a chroot.
_ENV = {"BUILDAH_ISOLATION": "chroot"}


def pause(cache: Path, progress: Progress) -> Image:
    """Return the image of the pods' sandboxes.

    Raises:
        LabError: It could not be built.
    """
    program = binaries.pause(cache, progress)
    return Image(built(cache, "pause-image", key_of([program]), lambda folder: write_single_file(folder, program)))


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds the project's image; what it keeps lies in the cache."""

    cache: Path
    progress: Progress

    def project(self) -> Image:
        """Build the project's image from its Dockerfile, as the code is now.

        Raises:
            LabError: A step failed; the message shows the program's last lines.
        """
        base = self._base()
        layout = self.cache / "images" / "project"
        layout.mkdir(parents=True, exist_ok=True)
        with self.progress.step("build the project's image", about=20):
            self._buildah_logged(
                "bud",
                "--layers",
                *("--network", "host"),
                # The machine's certificate authorities and downloads are lent to the build and stay out of the image.
                *("--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"),
                *("--volume", f"{self._downloads()}:/root/.cache"),
                *("--build-arg", f"BASE={base}"),
                *("--tag", f"{PROJECT}:dev"),
                str(_ROOT),
            )
            source = f"containers-storage:[overlay@{self._storage}+{self._scratch}]{PROJECT}:dev"
            copy = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-oci-accept-uncompressed-layers"]
            run([*copy, source, f"oci:{layout}:dev"], timeout=_BUILD_TIMEOUT)
        image = Image(layout)
        image.prune_layout()
        self._buildah("rmi", "--prune")  # what this build has replaced; steps that it reuses stay
        return image

    def _base(self) -> str:
        """Return the name of the base image, made of Debian's own packages when it is not there."""
        name = f"localhost/moln-base:{key_of([], _SUITE, _PACKAGES, *_UNWANTED)}"
        if name.partition(":")[2] in self._buildah("images", "--format", "{{.Tag}}").split():
            return name
        tree = self.cache / "images" / "debian"
        shutil.rmtree(tree, ignore_errors=True)
        with self.progress.step(f"install Debian {_SUITE} for the base image", about=50):
            bootstrap: list[str | Path] = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, tree]
            run_logged(bootstrap, self.cache / "logs" / "debootstrap.log", timeout=_BUILD_TIMEOUT)
        for folder in _UNWANTED:
            shutil.rmtree(tree / folder, ignore_errors=True)
        with self.progress.step("make the base image", about=6):
            container = self._buildah("from", "scratch").strip()
            self._buildah("add", "--quiet", container, str(tree), "/")
            self._buildah("commit", "--quiet", "--rm", container, name)
        shutil.rmtree(tree)
        return name

    def _buildah(self, *arguments: str) -> str:
        return run(self._command(*arguments), env=_ENV, timeout=_BUILD_TIMEOUT)

    def _buildah_logged(self, *arguments: str) -> None:
        run_logged(self._command(*arguments), self.cache / "logs" / "image.log", timeout=_BUILD_TIMEOUT, env=_ENV)

    def _command(self, *arguments: str) -> list[str]:
        stores = ["--root", str(self._storage), "--runroot", str(self._scratch), "--storage-driver", "overlay"]
        return ["buildah", *stores, *arguments]

    def _downloads(self) -> Path:
        folder = self.cache / "downloads"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def _storage(self) -> Path:
        return self.cache / "containers" / "storage"

    @property
    def _scratch(self) -> Path:
        return self.cache / "containers" / "run"
