"""The node's settings: flags, each also an environment variable. Pure: reads no file; called once, at the start."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, cast

from moln_node.exits import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LogFormat = Literal["json", "text"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a port listens; port 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a node is told at its start; what may change later is pushed to port 9001 instead."""

    name: str
    data: Path
    map: Path
    credentials: Path
    cloud_secret: Path
    listen: Address
    peer_listen: Address
    tls: tuple[Path, Path] | None
    peer_tls: Path | None
    trust_forwarded: bool
    domains: tuple[str, ...]
    ready_file: Path | None
    log_format: LogFormat
    access_log: bool
    slow_seconds: float
    stop_seconds: float
    scrub_days: float
    until_stdin_closes: bool


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[V6]:PORT` or `:PORT`; ArgumentTypeError if it is neither."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, e.g. 0.0.0.0:9000")
    return Address(host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port))  # noqa: S104 (a server listens)


def _seconds(text: str) -> float:
    """A number of seconds, zero or more; ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _days(text: str) -> float:
    """A number of days, zero or more; ArgumentTypeError."""
    try:
        return _seconds(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days") from None


def _switch(text: str) -> bool:
    """`on` or `off`; ArgumentTypeError."""
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
    return text == "on"


class _Parser(argparse.ArgumentParser):
    """Errors as StartError: one line, the same as every other reason not to start."""

    def error(self, message: str) -> NoReturn:
        raise StartError(f"{message} (see --help)")


def _parser(environment: Mapping[str, str]) -> _Parser:
    parser = _Parser(
        prog="moln-node",
        description="One storage node. Each flag is also an environment variable: --peer-listen is MOLN_PEER_LISTEN.",
    )

    def add(flag: str, kind: Callable[[str], object], meaning: str, default: str | None = None) -> None:
        value = environment.get("MOLN_" + flag.replace("-", "_").upper(), default)
        parser.add_argument(f"--{flag}", type=kind, default=value, required=value is None, metavar="X", help=meaning)

    add("name", str, "the node's name in the cloud map")
    add("data", Path, "directory on the node's disk")
    add("map", Path, "file with the cloud map to start with (JSON)")
    add("credentials", Path, "file with the access keys to start with (JSON)")
    add("cloud-secret", Path, "file with the secret of the peer port; further lines are accepted too")
    add("listen", parse_address, "HOST:PORT of S3", "0.0.0.0:9000")
    add("slow-seconds", _seconds, "S3 requests that take longer are lines of the log; 0: none", "5")
    add("peer-listen", parse_address, "HOST:PORT of peers, health and metrics", "0.0.0.0:9001")
    add("stop-seconds", _seconds, "longest wait for requests under way after SIGTERM", "25")
    add("scrub-days", _days, "in about how many days all bytes of the disk are read back; 0: never by itself", "14")
    domains = [name for name in environment.get("MOLN_DOMAIN", "").replace(",", " ").split() if name]
    parser.add_argument(
        "--domain",
        action="append",
        default=domains,
        metavar="NAME",
        help="a name under which bucket.NAME is a virtual host; repeatable (MOLN_DOMAIN: separated by commas)",
    )
    for flag, meaning in (("tls-certificate", "certificate chain of the S3 port"), ("tls-key", "its private key")):
        given = environment.get("MOLN_" + flag.replace("-", "_").upper())
        parser.add_argument(
            f"--{flag}",
            type=Path,
            default=Path(given) if given else None,
            help=f"{meaning} (PEM), read again on change",
        )
    given = environment.get("MOLN_PEER_TLS")
    parser.add_argument(
        "--peer-tls",
        type=Path,
        default=Path(given) if given else None,
        metavar="DIR",
        help="directory with the certificates of the peer port (docs/node.md), read again on change",
    )
    parser.add_argument(
        "--trust-forwarded",
        type=_switch,
        default=environment.get("MOLN_TRUST_FORWARDED", "off"),
        metavar="on|off",
        help="believe X-Forwarded-Host, -Proto and -For: only where every client comes through a proxy that sets them",
    )
    ready = environment.get("MOLN_READY_FILE")
    parser.add_argument(
        "--ready-file", type=Path, default=Path(ready) if ready else None, help="written once both ports answer"
    )
    log_format = environment.get("MOLN_LOG_FORMAT", "json")
    parser.add_argument("--log-format", choices=("json", "text"), default=log_format, help="form of the log on stderr")
    parser.add_argument(
        "--access-log",
        type=_switch,
        default=environment.get("MOLN_ACCESS_LOG", "on"),
        metavar="on|off",
        help="whether every S3 request is a line of the log",
    )
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="stop as by SIGTERM when standard input ends: a parent that dies takes the node with it",
    )
    return parser


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags, which win, and environment; StartError says what is wrong."""
    options = _parser(environment).parse_args(arguments)
    if options.log_format not in ("json", "text"):
        raise StartError(f"MOLN_LOG_FORMAT is {options.log_format!r}; it may be json or text")
    if (options.tls_certificate is None) != (options.tls_key is None):
        raise StartError("--tls-certificate and --tls-key go together: give both, or neither for plain HTTP")
    return Settings(
        name=options.name,
        data=options.data,
        map=options.map,
        credentials=options.credentials,
        cloud_secret=options.cloud_secret,
        listen=options.listen,
        peer_listen=options.peer_listen,
        tls=None if options.tls_key is None else (options.tls_certificate, options.tls_key),
        peer_tls=options.peer_tls,
        trust_forwarded=options.trust_forwarded,
        domains=tuple(options.domain),
        ready_file=options.ready_file,
        log_format=cast("LogFormat", options.log_format),
        access_log=options.access_log,
        slow_seconds=options.slow_seconds or math.inf,
        stop_seconds=options.stop_seconds,
        scrub_days=options.scrub_days,
        until_stdin_closes=options.until_stdin_closes,
    )
