"""The images that the lab's nodes run, built into OCI layouts in the cache."""

from dataclasses import dataclass
from pathlib import Path

from moln_lab import binaries
from moln_lab.cache import built, key_of
from moln_lab.oci import Image, write_single_file
from moln_lab.progress import Progress


@dataclass(frozen=True, slots=True)
class Built:
    """An image and the layout that it lies in."""

    image: Image
    layout: Path


def pause(cache: Path, progress: Progress) -> Built:
    """Return the image of the pods' sandboxes."""
    program = binaries.pause(cache, progress)
    layout = built(cache, "pause-image", key_of([program]), lambda folder: write_single_file(folder, program))
    return Built(Image(layout), layout)
