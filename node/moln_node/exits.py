"""How the node's process ends: its exit codes, and the errors that end it with one clear line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `moln-node`; documented in docs/node.md."""

    OK = 0
    FAILURE = 1
    CONFIGURATION = 2  # a flag or a file is wrong: starting again changes nothing
    DATA = 3  # the disk refuses: it belongs to another cloud, is in use, cannot be written, or lost its index
    DISK = 4  # the disk refused a commit while the node ran: starting again opens what it kept


class StopError(Exception):
    """The node can't go on; the message is one line for people, and holds no secret."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


class StartError(Exception):
    """The node cannot start; the message is one line for people, says what to do, and holds no secret."""

    def __init__(self, message: str, code: ExitCode = ExitCode.CONFIGURATION) -> None:
        super().__init__(message)
        self.code = code
