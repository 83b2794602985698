"""Running other people's programs to their end: always with a time limit, and with their own words when they fail."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from moln_lab.errors import LabError

_LAST_LINES = 15


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60,
    stdin: bytes | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program and return its standard output.

    Args:
        argv: The program and its arguments.
        timeout: Seconds after which it is killed.
        stdin: What it reads; nothing when absent.
        env: Variables added to this process's own.
        cwd: Its working directory.

    Raises:
        LabError: It could not start, failed, or ran out of time; with the last lines it wrote.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin if isinstance(stdin, bytes) else None,
            stdin=None if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{shown(words)} did not end within {timeout:g} s\n{_tail(error.stderr)}") from error
    if done.returncode != 0:
        said = _tail(done.stderr) or _tail(done.stdout)
        raise LabError(f"{shown(words)} failed with status {done.returncode}\n{said}")
    return done.stdout.decode(errors="replace")


def run_logged(
    argv: Sequence[str | Path],
    log: Path,
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a long program with all it writes going to a log file.

    Raises:
        LabError: It failed or ran out of time; the message names the log and shows its last lines.
    """
    words = [str(word) for word in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=True,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )
        except FileNotFoundError as error:
            raise LabError(f"{words[0]} is not installed: {error}") from error
        except subprocess.SubprocessError as error:
            raise LabError(f"{shown(words)}: {type(error).__name__}; the end of {log}:\n{last_lines(log)}") from error


def last_lines(log: Path, count: int = _LAST_LINES) -> str:
    """Return the end of a log file, or a word that there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return f"({log} was never written)"


def installed(program: str) -> bool:
    """Tell whether a program is on PATH."""
    return shutil.which(program) is not None


def shown(words: Sequence[str]) -> str:
    """Return a command as a person would read it, cut when it is long."""
    text = " ".join(words)
    return text if len(text) <= 160 else text[:157] + "..."


def _tail(output: bytes | None) -> str:
    return "\n".join((output or b"").decode(errors="replace").strip().splitlines()[-_LAST_LINES:])
