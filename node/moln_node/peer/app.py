"""The peer port's wire: routes, the door, errors as JSON. Everything it knows is in `Node`.

`/live`, `/ready` and `/metrics` are open within the cluster's network; the rest wants the cloud secret, and by TLS a
certificate of the cloud's own authority.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING, Final, TypeVar

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ValidationError

from moln_node import tracing
from moln_node.cluster import wire
from moln_node.documents import explain
from moln_node.logs import PACE, REQUEST_HEADER, request_id
from moln_node.mapfile import MapNotKeptError, MapRefusedError
from moln_node.peer import figures, letters, moves, tasks
from moln_node.peer.capabilities import Capabilities
from moln_node.peer.node import Node, ready
from moln_node.peer.tasks import TaskBoard, TaskRequest
from moln_node.peer.whereabouts import whereabouts
from moln_node.store.errors import NoSuchBucketError, StoreError
from moln_spec.classes import Candidate, UnknownStorageClassError
from moln_spec.cloudmap import CloudMap
from moln_spec.credentials import Credentials
from moln_spec.nodestatus import Health

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from moln_node.peer.metrics import Metrics
    from moln_node.peer.secret import CloudSecret
    from moln_node.peertls import PeerTls

NODE: Final = web.AppKey("node", Node)
TASKS: Final = web.AppKey("tasks", TaskBoard)
_OPEN: Final = frozenset({"/live", "/ready", "/metrics"})
_BODY_LIMIT: Final = 16 * 1024 * 1024  # a map of some 50,000 nodes
_SECONDS: Final = 30.0
_LONGEST_ID: Final = 64
_MAX_OBJECT: Final = 5 * 1024**4
_log = logging.getLogger(__name__)
_slow = logging.getLogger("moln.peer.slow")
Model = TypeVar("Model", bound=BaseModel)


def _json(document: BaseModel, status: int = 200) -> web.Response:
    data = document.model_dump_json().encode()
    signed = wire.signed(data)
    return web.Response(body=data, status=status, content_type="application/json", charset="utf-8", headers=signed)


def _problem(status: int, message: str) -> web.Response:
    """An error as every client of this port reads it."""
    return web.json_response({"error": message}, status=status)


async def _read(request: web.Request, model: type[Model]) -> Model:
    data = await request.read()
    if not wire.is_same(data, request.headers):
        raise _BadDocumentError("it was changed on the way: send it again")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise _BadDocumentError(explain(error)) from None


class _BadDocumentError(Exception):
    """The body is not the document that this call takes."""


async def live(request: web.Request) -> web.Response:
    """200 while the event loop runs and disk and store answer; 503 tells the kubelet to start the node again."""
    check = request.app[NODE].alive()
    ok = check.state == "ok"
    return _json(Health(ok=ok, checks=(check,)), 200 if ok else 503)


async def get_ready(request: web.Request) -> web.Response:
    """200 while S3 requests should come here; every check by name either way."""
    checks = request.app[NODE].checks()
    ok = ready(checks)
    return _json(Health(ok=ok, checks=checks), 200 if ok else 503)


async def get_status(request: web.Request) -> web.Response:
    """The node on one page."""
    return _json(await request.app[NODE].status())


async def get_map(request: web.Request) -> web.Response:
    """The map that the node obeys."""
    return _json(request.app[NODE].map)


async def put_map(request: web.Request) -> web.Response:
    """Take a newer map, durably; the answer is the epoch obeyed from now on."""
    try:
        obeyed = await request.app[NODE].take_map(await _read(request, CloudMap))
    except MapNotKeptError as error:
        return _problem(503, str(error))
    except MapRefusedError as error:
        return _problem(409, str(error))
    return web.json_response({"epoch": obeyed.epoch})


async def put_credentials(request: web.Request) -> web.Response:
    """Replace the access keys."""
    credentials = await _read(request, Credentials)
    request.app[NODE].take_credentials(credentials)
    return web.json_response({"keys": len(credentials.keys)})


async def get_capabilities(request: web.Request) -> web.Response:
    """What this release can do."""
    document = Capabilities(
        version=request.app[NODE].version,
        compression=("none", "zstd"),
        deduplication=True,
        tasks=request.app[TASKS].kinds,
        max_object_bytes=_MAX_OBJECT,
    )
    return _json(document)


async def post_explain(request: web.Request) -> web.Response:
    """Which class a candidate object would get, and why."""
    try:
        return _json(request.app[NODE].local.assign(await _read(request, Candidate)))
    except UnknownStorageClassError as error:
        return _problem(404, str(error))


async def get_where(request: web.Request) -> web.Response:
    """The owners of a key, and what each has of it."""
    if not {"bucket", "key"} <= request.query.keys():
        return _problem(400, "name an object: ?bucket=...&key=...")
    try:
        found = await whereabouts(request.app[NODE].cluster, request.query["bucket"], request.query["key"])
    except NoSuchBucketError as error:
        return _problem(404, str(error))
    except StoreError as error:
        return _problem(503, str(error))
    return _json(found)


async def post_moves(request: web.Request) -> web.Response:
    """A page of what a change of layout moves; nothing is done."""
    return _json(await moves.page(request.app[NODE].cluster, await _read(request, moves.MovesAsk)))


async def post_letters(request: web.Request) -> web.Response:
    """A page of this node's dead letters."""
    queue = request.app[NODE].cluster.members.owed
    return _json(await letters.page(queue, await _read(request, letters.LettersAsk)))


async def post_settle(request: web.Request) -> web.Response:
    """Replay or drop dead letters that are named."""
    queue = request.app[NODE].cluster.members.owed
    return _json(await letters.settle(queue, await _read(request, letters.Settle)))


async def post_task(request: web.Request) -> web.Response:
    """Start maintenance; 409 while a task of that kind runs."""
    try:
        task = request.app[TASKS].start(await _read(request, TaskRequest))
    except tasks.TaskRunningError as error:
        return _problem(409, str(error))
    except tasks.UnknownKindError as error:
        return _problem(501, str(error))
    return _json(task, 202)


async def get_tasks(request: web.Request) -> web.Response:
    """The tasks that run, and the last ones that ended."""
    return _json(tasks.TaskList(tasks=request.app[TASKS].tasks()))


async def get_task(request: web.Request) -> web.Response:
    """One task and its progress; with `?read=N` the findings behind the first N, which were read and are forgotten."""
    read = request.query.get("read", "0")
    if not read.isdecimal():
        return _problem(400, f"{read!r} is no number of findings")
    try:
        return _json(request.app[TASKS].task(request.match_info["id"], int(read)))
    except tasks.NoSuchTaskError as error:
        return _problem(404, str(error))


async def delete_task(request: web.Request) -> web.Response:
    """Cancel a task; what it did stays done."""
    try:
        return _json(await request.app[TASKS].cancel(request.match_info["id"]))
    except tasks.NoSuchTaskError as error:
        return _problem(404, str(error))


def _counting(metrics: Metrics, slow_seconds: float) -> Middleware:
    """Tells metrics and log of every answer, and takes up the id of the request that it is part of."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id.set(request.headers.get(REQUEST_HEADER, "")[:_LONGEST_ID])
        if request.path in _OPEN:
            return await handler(request)
        resource = request.match_info.route.resource
        call = "Unknown" if resource is None else resource.canonical.removeprefix("/v1/")
        started = time.perf_counter()
        with tracing.answer(call, request.headers):
            answer = await handler(request)
            tracing.tell(answer.status)
        seconds = time.perf_counter() - started
        metrics.observe_call(call, answer.status, seconds)
        if seconds > slow_seconds + (request.content.total_bytes + answer.body_length) / PACE:
            _slow.warning("call %s", call, extra={"status": answer.status, "ms": round(seconds * 1000, 1)})
        return answer

    return count


def _turned_away(request: web.Request, secret: CloudSecret, tls: PeerTls | None) -> web.Response | None:
    """The answer to who may not come in; None to who may."""
    by_tls = request.get_extra_info("sslcontext") is not None
    if tls is not None and tls.now.mode == "require" and not by_tls:
        return _problem(400, "this port speaks TLS: ask by https")
    if request.path in _OPEN:
        return None
    if by_tls and not request.get_extra_info("peercert"):
        return _problem(403, "this port wants a client certificate of this cloud's own authority")
    if not secret.opens(request.headers.get("Authorization", "")):
        answer = _problem(401, "this port wants `Authorization: Bearer <cloud secret>`")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    return None


def make_app(
    node: Node,
    board: TaskBoard,
    secret: CloudSecret,
    metrics: Metrics,
    ends: Callable[[], figures.Ends] = figures.Ends,
    slow_seconds: float = math.inf,
    tls: PeerTls | None = None,
) -> web.Application:
    """The application of port 9001.

    `ends` answers what ends some day, and when. Calls that take longer than `slow_seconds` are told in the log.
    """

    @web.middleware
    async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (refusal := _turned_away(request, secret, tls)) is not None:
            return refusal
        try:
            # nodes among themselves stream bodies, and keep deadlines of their own
            async with asyncio.timeout(None if request.path.startswith("/v1/replica/") else _SECONDS):
                return await handler(request)
        except _BadDocumentError as error:
            return _problem(400, str(error))
        except web.HTTPException as error:
            return _problem(error.status, error.reason)
        except TimeoutError:
            return _problem(503, f"no answer within {_SECONDS:.0f} s")
        except Exception:  # noqa: BLE001 (whatever it is: the log has it whole, the caller a sentence)
            _log.exception("%s %s failed", request.method, request.path)
            return _problem(500, "the node failed; its log says why")

    async def get_metrics(request: web.Request) -> web.Response:
        text = metrics.show(await figures.gather(request.app[NODE], board, ends()))
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[_counting(metrics, slow_seconds), door], client_max_size=_BODY_LIMIT)
    app[NODE] = node
    app[TASKS] = board
    app.add_routes(
        [
            web.get("/live", live),
            web.get("/ready", get_ready),
            web.get("/metrics", get_metrics),
            web.get("/v1/status", get_status),
            web.get("/v1/map", get_map),
            web.put("/v1/map", put_map),
            web.put("/v1/credentials", put_credentials),
            web.get("/v1/capabilities", get_capabilities),
            web.post("/v1/explain", post_explain),
            web.get("/v1/where", get_where),
            web.post("/v1/moves", post_moves),
            web.post("/v1/letters", post_letters),
            web.post("/v1/letters/settle", post_settle),
            web.post("/v1/tasks", post_task),
            web.get("/v1/tasks", get_tasks),
            web.get("/v1/tasks/{id}", get_task),
            web.delete("/v1/tasks/{id}", delete_task),
        ]
    )
    return app
