"""What an operation is: a row of the table in `moln_node.s3.routing`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from moln_node.s3.call import Call

    Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of S3: AWS's name, the action that policies speak of, and who does it.

    Without a handler it is not built, and `asked` is the sub-resource that was asked for: 501, after everything else.

    `version_action` is the action instead when the request names a version. An operation that is not `checked` decides
    for itself who may call it; one that is not `signed` is never signed in the way of all others (POST forms carry a
    signature of their own, a preflight none).
    """

    name: str
    action: str
    handler: Handler | None = None
    version_action: str = ""
    checked: bool = True
    signed: bool = True
    asked: str = ""
