"""Writing the lab's small files: whole or not at all, and only when something changes."""

import os
from pathlib import Path


def write(file: Path, content: str | bytes) -> None:
    """Have a file with this content, readable by its owner alone.

    It is replaced in one step, since the lab may be killed at any moment; a file that already has the content is not
    touched, since kube-proxy ends when its own is written.
    """
    wanted = content.encode() if isinstance(content, str) else content
    if file.exists() and file.read_bytes() == wanted:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + ".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(wanted)
    unfinished.rename(file)
