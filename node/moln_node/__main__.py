"""`moln-node`, also `python -m moln_node`: one storage node. Flags and exit codes: docs/node.md."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import uvloop

from moln_node import logs, memory, settings
from moln_node.exits import ExitCode, StartError, StopError

_log = logging.getLogger("moln_node")


def main() -> int:
    """Run a node until it is told to stop; the exit code says how it ended."""
    logs.set_up("text")
    try:
        chosen = settings.parse(sys.argv[1:], os.environ)
        logs.set_up(chosen.log_format, access_log=chosen.access_log)
        memory.keep_blocks()
        from moln_node import process  # noqa: PLC0415 (--help and a wrong flag answer at once)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(process.run(chosen))
    except StartError as error:
        _log.error("cannot start: %s", error)
        return error.code
    except StopError as error:
        _log.error("ended: %s", error)
        return error.code
    except Exception:  # noqa: BLE001 (whatever it is: log it whole, and end with the code that says so)
        _log.exception("failed")
        return ExitCode.FAILURE
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
