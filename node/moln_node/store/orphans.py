"""Orphans: body files that the index knows nothing of, put there by hand or left by a defect.

Those that a crash leaves go when the store opens (`opening`). They waste space and nothing else. What a writer has
under way is no orphan: it is asked first whether a body is in flight, and only then whether the index has it, because
a body goes from the one to the other and never back. Last it is asked whether the file is still there: the collector
may have removed it meanwhile, and the index forgets a body after its file.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from moln_node.store import lookup
from moln_node.store.bodies import remove_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import apsw

    from moln_node.store.report import Report
    from moln_node.store.store import Store

_PAGE: Final = 500


async def find(store: Store, report: Report, *, dry_run: bool) -> None:
    """Find orphans, and remove them unless it is a dry run."""
    walk = store.bodies.walk()
    files = orphans = size = deleted = 0
    while page := await asyncio.to_thread(_next_page, walk):
        files += len(page)
        settled = [found for found in page if not store.bodies.is_in_flight(found[0])]
        known = await store.look(partial(_known, body_ids=[body_id for body_id, _, _ in settled]))
        unknown = {
            path: length
            for body_id, path, length in settled
            if body_id not in known or path != store.bodies.path(body_id)
        }
        lost = await asyncio.to_thread(_still_there, unknown)
        for path, length in lost.items():
            report.found(f"{path}: {length} bytes that no record refers to")
        if lost and not dry_run:
            await asyncio.to_thread(remove_files, list(lost))
            deleted += len(lost)
        orphans += len(lost)
        size += sum(lost.values())
        report.set(files=files, orphans=orphans, bytes=size, deleted=deleted)
    report.set(files=files, orphans=orphans, bytes=size, deleted=deleted)


def _next_page(walk: Iterator[tuple[int, Path, int]]) -> list[tuple[int, Path, int]]:
    return list(islice(walk, _PAGE))


def _still_there(files: dict[Path, int]) -> dict[Path, int]:
    return {path: length for path, length in files.items() if path.exists()}


def _known(db: apsw.Connection, body_ids: list[int]) -> set[int]:
    """Those that the index refers to, or has given to the collector."""
    return {body_id for body_id in body_ids if lookup.knows_body(db, body_id)}
