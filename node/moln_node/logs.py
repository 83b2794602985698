"""The node's log: one line per event on stderr, as JSON or text, with the request's id and never a secret.

Called once by the process; `request_id` is set by whoever serves a request. Touches `logging`, `tracing` and stderr.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from moln_node import tracing

if TYPE_CHECKING:
    from moln_node.settings import LogFormat

request_id: ContextVar[str] = ContextVar("request_id", default="")
REQUEST_HEADER: Final = "Moln-Request"
"""Carries the id from the node that a client asked to the nodes that this one asks."""

PACE: Final = 8 * 1024 * 1024
"""Bytes a second: a transfer that keeps this pace is long, not slow."""

_SECRETS: Final = re.compile(
    r"(?i)(?P<name>x-amz-signature=|x-amz-security-token=|signature=|bearer\s+|secret_?key['\"\\]*\s*[:=]\s*['\"\\]*)"
    r"(?P<value>[^\s&,'\"\\]+)"
)
_ACCESS: Final = "moln.s3.access"  # one line a request
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def redact(text: str) -> str:
    """The text with signatures, tokens and secret keys replaced by `***`."""
    return _SECRETS.sub(lambda found: f"{found['name']}***", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever `extra` a caller gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_origin())
        line.update((name, value) for name, value in vars(record).items() if name not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    """For people: time, level, message, extras as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and the traceback if there is one."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        extras = [f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD]
        extras += [f"{name}={value}" for name, value in _origin().items()]
        line = " ".join([stamp, record.levelname.ljust(7), record.getMessage(), *extras])
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redact(line)


def _origin() -> dict[str, str]:
    """Which request a line is about: its id, and its trace where it has one."""
    found = {"request_id": request_id.get(), "trace_id": tracing.trace_id()}
    return {name: value for name, value in found.items() if value}


def set_up(log_format: LogFormat, *, access_log: bool = True) -> None:
    """Send everything from INFO up to stderr in this form, in place of earlier handlers; requests only if wanted."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger(_ACCESS).setLevel(logging.INFO if access_log else logging.WARNING)
