"""How a command fails: one error type, one table of exit codes. Prints nothing itself; `main` shows it."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `moln`, for scripts; documented in docs/cli.md."""

    OK = 0
    FAILURE = 1  # anything without a code of its own
    USAGE = 2  # the command line, a file or a profile is wrong: running it again changes nothing
    NOT_FOUND = 3
    DENIED = 4
    CONFLICT = 5  # it exists already, is not empty, or a precondition does not hold
    UNREACHABLE = 6  # no answer: worth another try
    FULL = 7  # quota, or no space left
    CORRUPT = 8  # bytes do not match their checksum
    INTERRUPTED = 130


class CliError(Exception):
    """A command cannot do what it was asked; the message says what was wrong and what to do."""

    def __init__(self, message: str, code: Exit = Exit.FAILURE) -> None:
        super().__init__(message)
        self.code = code
