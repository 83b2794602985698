"""Images as OCI layouts on disk, and the archive that carries to a node only the blobs it lacks.

The format is the OCI image layout: `index.json` and `blobs/sha256/*`. Called by `images`.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_NAME = "io.containerd.image.name"
_LAYOUT_FILE = b'{"imageLayoutVersion": "1.0.0"}'


class Descriptor(BaseModel):
    """Points to a blob by its content."""

    model_config = ConfigDict(populate_by_name=True)

    media_type: str = Field(alias="mediaType")
    digest: str
    size: int
    annotations: dict[str, str] = Field(default_factory=dict)


class _Index(BaseModel):
    manifests: list[Descriptor]


class _Manifest(BaseModel):
    config: Descriptor
    layers: list[Descriptor]


class Image:
    """One image in a layout folder."""

    def __init__(self, layout: Path) -> None:
        self._layout = layout
        index = _Index.model_validate_json((layout / "index.json").read_bytes())
        self.manifest = index.manifests[-1]
        content = _Manifest.model_validate_json(self._path(self.manifest).read_bytes())
        self.config = content.config
        self.blobs: tuple[Descriptor, ...] = (self.manifest, content.config, *content.layers)

    @property
    def tag(self) -> str:
        """A tag that changes with the image's content."""
        return self.config.digest.removeprefix("sha256:")[:12]

    def prune_layout(self) -> None:
        """Delete what earlier images left in the layout."""
        wanted = {self._path(blob) for blob in self.blobs}
        for file in (self._layout / "blobs" / "sha256").iterdir():
            if file not in wanted:
                file.unlink()

    def write_archive(self, out: IO[bytes], names: Sequence[str], blobs: Iterable[Descriptor]) -> None:
        """Write an archive for `ctr images import` that holds some of the blobs and gives the image its names."""
        index = {
            "schemaVersion": 2,
            "manifests": [
                self.manifest.model_copy(update={"annotations": {_NAME: name}}).model_dump(by_alias=True)
                for name in names
            ],
        }
        with tarfile.open(fileobj=out, mode="w|") as archive:
            _add(archive, "oci-layout", _LAYOUT_FILE)
            _add(archive, "index.json", json.dumps(index).encode())
            for blob in blobs:
                with self._path(blob).open("rb") as content:
                    entry = tarfile.TarInfo(f"blobs/{blob.digest.replace(':', '/')}")
                    entry.size = blob.size
                    archive.addfile(entry, content)

    def _path(self, blob: Descriptor) -> Path:
        return self._layout / "blobs" / blob.digest.replace(":", "/")


def write_single_file(layout: Path, program: Path) -> None:
    """Write an image whose only file is one static program, which it runs: the pause image needs no more."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        _add(archive, program.name, program.read_bytes(), mode=0o755)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _store(layout, _CONFIG, json.dumps(config).encode()),
        "layers": [_store(layout, _LAYER, layer.getvalue())],
    }
    index = {"schemaVersion": 2, "manifests": [_store(layout, _MANIFEST, json.dumps(manifest).encode())]}
    (layout / "oci-layout").write_bytes(_LAYOUT_FILE)
    (layout / "index.json").write_text(json.dumps(index))


def _store(layout: Path, media_type: str, content: bytes) -> dict[str, object]:
    digest = _digest(content)
    file = layout / "blobs" / digest.replace(":", "/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    archive.addfile(entry, io.BytesIO(content))
