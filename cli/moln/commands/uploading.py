"""Options of the commands that write objects (`put`, `cp`), as parameters of S3's calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import click

from moln.errors import CliError, Exit
from moln.transfer.parts import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_LARGEST: Final = 5 * 1024**3

Command = Any  # a function that click decorates: its parameters are the options


def upload_options(command: Command) -> Command:
    """Add what may be said of an object besides its bytes."""
    decorators: list[Callable[[Command], Command]] = [
        click.option("--content-type", help="Content type; by default the one that the file's name stands for."),
        click.option("--cache-control", help="Cache-Control header."),
        click.option("--storage-class", help="Storage class; by default the cloud's rules decide."),
        click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="User metadata; repeatable."),
        click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Tag; repeatable."),
        click.option("--part-size", default="8M", show_default=True, help="Size of parts of large objects."),
        click.option(
            "-j", "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Parallel requests."
        ),
        click.option("-q", "--quiet", is_flag=True, help="No progress bar, no lines."),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a dictionary; CliError."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CliError(f"{option} {text!r} is not NAME=VALUE", Exit.USAGE)
        found[name] = value
    return found


def parse_part_size(text: str) -> int:
    """Bytes of `8M`, `64MiB`, `5242880`; CliError below what S3 allows."""
    found = re.fullmatch(r"(\d+)([kmg]?)(?:i?b)?", text.lower())
    size = int(found[1]) * _UNITS[found[2]] if found else 0
    if not SMALLEST <= size <= _LARGEST:
        raise CliError(f"--part-size {text!r} is not from 5M to 5G", Exit.USAGE)
    return size


def attributes(
    *,
    content_type: str | None,
    cache_control: str | None,
    storage_class: str | None,
    metadata: tuple[str, ...],
    tags: tuple[str, ...],
) -> Mapping[str, Any]:
    """The parameters of put and create-upload; what was not said is left to the server."""
    said = {
        "ContentType": content_type,
        "CacheControl": cache_control,
        "StorageClass": storage_class,
        "Metadata": pairs(metadata, "--metadata"),
        "Tagging": urlencode(pairs(tags, "--tag")),
    }
    return {name: value for name, value in said.items() if value}
