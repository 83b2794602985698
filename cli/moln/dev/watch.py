"""Edits of the YAML while it runs: every new content of the file, once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_POLL_SECONDS: Final = 0.5


async def edits(path: Path, content: str) -> AsyncIterator[str]:
    """Each content of the file that differs from the one before, starting from `content`.

    Polls: editors replace files, mounts do not notify, and one small read twice a second costs nothing. A file that
    is not there for a moment is waited for.
    """
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        try:
            now = await asyncio.to_thread(path.read_text, encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if now != content and now.strip():
            content = now
            yield now
