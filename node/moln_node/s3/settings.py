"""What an operator of the front may choose; frozen while it serves."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Seen:
    """One answered request, as metrics see it: the operation's name (`Unknown` before it was found), never a key."""

    operation: str
    status: int
    seconds: float
    received: int  # bytes of the body as sent, framing included
    sent: int  # bytes of the answer's body


@dataclass(frozen=True, slots=True)
class Settings:
    """Names, limits and time-outs of the S3 front. Sizes are bytes, times are seconds."""

    region: str = "us-east-1"
    domains: tuple[str, ...] = ()  # under which `bucket.domain` is a virtual host
    trust_forwarded: bool = False  # a proxy in front sets X-Forwarded-Host, -Proto and -For, and nobody else can
    max_requests: int = 512  # at a time; more are told to slow down, so that memory is bounded by what each may hold
    max_skew: int = 900  # between a signature's clock and ours
    body_idle: float = 60.0  # without a byte of a body, the request is given up
    send_idle: float = 300.0  # for a client to take a block of at most 1 MiB
    max_document: int = 4 * 1024 * 1024  # XML and JSON bodies
    now: Callable[[], float] = time.time
    stop_seconds: float = 60.0  # for the requests under way when the node stops
    log_seconds: float = 60.0  # between two deliveries of access logs to their buckets
    slow_seconds: float = math.inf  # an answer that takes longer is told in the log, whatever else is
    observe: Callable[[Seen], None] | None = None  # told of every answer; must be quick
