"""Options that all S3 commands share, and the session that a command gets from them."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from moln import profiles
from moln.connection import Connection, Flags, resolve
from moln.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln.client import Client


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with."""

    connection: Connection
    output: Output

    def client(self, *, connections: int = 10) -> Client:
        """An S3 client; the library is imported only now."""
        from moln.client import make_client  # noqa: PLC0415 (takes longer than all the rest)

        return make_client(self.connection, connections=connections)


def with_session(command: Callable[..., None]) -> Callable[..., None]:
    """Add the connection's options and --json to a command, and give it a Session instead."""

    @click.option("--endpoint", metavar="URL", help="Endpoint of the cloud.")
    @click.option("--access-key", metavar="KEY", help="Access key.")
    @click.option("--secret-key", metavar="SECRET", help="Secret key; the environment hides it better from `ps`.")
    @click.option("--region", help="Region that requests are signed for.")
    @click.option("--profile", metavar="NAME", help="Take endpoint and keys from this profile.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, one document a line.")
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        names = ("endpoint", "access_key", "secret_key", "region", "profile")
        flags = Flags(**{name: kwargs.pop(name) for name in names})
        output = Output(as_json=bool(kwargs.pop("as_json")))
        command(Session(resolve(flags, os.environ, profiles.load), output), *args, **kwargs)

    return wrapped
