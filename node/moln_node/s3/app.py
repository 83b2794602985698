"""The front's door: an HTTP request becomes a call, the call an answer, an error S3's XML.

`make_runner` is called by the node's process. Reads top to bottom as the story of a request: `Front.handle`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from moln_node import logs, tracing
from moln_node.s3 import cors, routing
from moln_node.s3.access import authorise, may_list
from moln_node.s3.access_log.delivery import Delivery
from moln_node.s3.access_log.observation import also, entry_of, is_logged, sent_bytes
from moln_node.s3.auth.authenticate import UNSIGNED, Authentication, authenticate
from moln_node.s3.auth.keyring import ANONYMOUS
from moln_node.s3.call import Call
from moln_node.s3.errors import S3Error, from_store
from moln_node.s3.expectation import Expectation
from moln_node.s3.roles import permits
from moln_node.s3.runner import DrainingRunner
from moln_node.s3.settings import Seen, Settings
from moln_node.s3.target import parse_target
from moln_node.store.errors import NoSuchKeyError, StoreError

if TYPE_CHECKING:
    from moln_node.cluster.objects import Objects
    from moln_node.s3.auth.keyring import Keyring
    from moln_node.s3.target import Target

_log = logging.getLogger("moln.s3")
_access = logging.getLogger("moln.s3.access")
_slow = logging.getLogger("moln.s3.slow")


@dataclass(slots=True)
class _Exchange:
    """One request under way: what is known of it at any moment, also when it fails."""

    request: web.BaseRequest
    id: str
    common: dict[str, str]  # headers of whatever answer it gets
    expectation: Expectation
    moment: float  # when it came
    target: Target | None = None
    call: Call | None = None
    error: str = ""
    operation: str = "Unknown"
    access_key: str = "-"

    @property
    def path(self) -> str:
        """The path as sent; the query may hold a presigned signature and is shown to nobody."""
        return self.request.raw_path.partition("?")[0]


class Front:
    """The one handler of every request on port 9000."""

    def __init__(self, objects: Objects, keyring: Keyring, settings: Settings) -> None:
        self._objects = objects
        self._keyring = keyring
        self._settings = settings
        self._host_id = secrets.token_hex(16)
        self.access_logs = Delivery(objects, keyring, settings)
        self._under_way = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request; never raises but for cancellation and lost connections."""
        with tracing.request(request.headers):
            return await self._handle(request)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        request_id = f"{random.getrandbits(64):016X}"  # a name, not a secret: asking the kernel costs more
        logs.request_id.set(request_id)  # in every line that this request causes, on other nodes too
        common = {"x-amz-request-id": request_id, "x-amz-id-2": self._host_id, "Server": "moln"}
        exchange = _Exchange(request, request_id, common, Expectation(request), self._settings.now())
        self._under_way += 1
        try:
            response = await self._answer(exchange)
        except S3Error as error:
            response = self._refusal(exchange, error)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:  # noqa: BLE001 whatever it is, the client gets S3's XML and the log the rest
            _log.exception("failed: %s %r", request.method, exchange.path)
            response = self._refusal(exchange, S3Error("InternalError"))
        finally:
            self._under_way -= 1
        if not response.prepared:
            response.headers.update(common)
            if exchange.expectation.unmet:
                # it may or may not send the body that nobody asked for: what follows could not be told apart
                response.force_close()
        seconds = time.perf_counter() - started
        self._tell(exchange, response, seconds)
        if exchange.target is not None and exchange.target.bucket:
            await self._note(exchange, exchange.target, response, seconds)
        return response

    def _tell(self, exchange: _Exchange, response: web.StreamResponse, seconds: float) -> None:
        """Let the logs and the metrics know of an answer."""
        request, settings = exchange.request, self._settings
        seen = Seen(
            operation=exchange.operation,
            status=response.status,
            seconds=seconds,
            received=request.content.total_bytes,
            sent=0 if request.method == "HEAD" else sent_bytes(response),
        )
        if settings.observe is not None:
            settings.observe(seen)
        tracing.tell(
            seen.status,
            seen.operation,
            http_request_method=request.method,
            http_request_body_size=seen.received,
            http_response_body_size=seen.sent,
            url_path=exchange.path,
            moln_request_id=exchange.id,
        )
        slow = seconds > settings.slow_seconds + (seen.received + seen.sent) / logs.PACE
        if slow or _access.isEnabledFor(logging.INFO):
            log, level = (_slow, logging.WARNING) if slow else (_access, logging.INFO)
            log.log(level, "%s %r", request.method, exchange.path, extra=_told(exchange, seen))

    async def _note(self, exchange: _Exchange, target: Target, response: web.StreamResponse, seconds: float) -> None:
        """Let the access logs know of an answer: that of the bucket, and those of what else it touched."""
        request, call = exchange.request, exchange.call
        found = None if call is None else call.found
        if found is None and response.status >= 400:  # refused before the bucket was looked at
            with contextlib.suppress(StoreError):
                found = await self._objects.bucket(target.bucket)
        logged = found is not None and is_logged(found)
        besides = [] if call is None else [touched for touched in call.touched if is_logged(touched.bucket)]
        if found is None or not (logged or besides):
            return
        host, _, remote = self._outside(request)
        entry = entry_of(
            request,
            response,
            target,
            found,
            None if call is None else call.authentication,
            moment=exchange.moment,
            seconds=seconds,
            remote=remote,
            host=host,
            error=exchange.error,
        )
        if logged:
            self.access_logs.note(found, entry)
        for touched in besides:
            self.access_logs.note(touched.bucket, also(entry, touched))

    async def _answer(self, exchange: _Exchange) -> web.StreamResponse:
        request, settings = exchange.request, self._settings
        if self._under_way > settings.max_requests:
            raise S3Error("SlowDown", headers={"Retry-After": "1"})
        host, secure, remote = self._outside(request)
        exchange.target = target = parse_target(request.raw_path, host, settings.domains)
        operation = routing.find(request.method, target, request.headers)
        exchange.operation = operation.name
        if "Origin" in request.headers and target.bucket and request.method != "OPTIONS":
            exchange.common.update(await self._cors(request, target.bucket))
        if operation.signed:
            authentication = authenticate(request.method, target, request.headers, host, self._keyring, settings)
        else:
            authentication = Authentication(ANONYMOUS, UNSIGNED)
        exchange.access_key = authentication.identity.access_key or "-"
        exchange.call = call = Call(
            request=request,
            target=target,
            operation=operation,
            authentication=authentication,
            objects=self._objects,
            keyring=self._keyring,
            settings=settings,
            request_id=exchange.id,
            host=host,
            secure=secure,
            remote=remote,
            expectation=exchange.expectation,
            common=exchange.common,
        )
        try:
            await self._admit(call)
            if operation.handler is None:
                raise S3Error("NotImplemented", f"The sub-resource {operation.asked} is not implemented.")
            return await operation.handler(call)
        except NoSuchKeyError as error:
            if call.found is not None and not await may_list(call, call.found):
                raise S3Error("AccessDenied") from error
            raise from_store(error, target.bucket, target.key) from error
        except StoreError as error:
            raise from_store(error, target.bucket, target.key) from error

    async def _cors(self, request: web.BaseRequest, bucket: str) -> dict[str, str]:
        """The CORS headers of the answer, whatever it will be: a script must be able to read errors too."""
        try:
            return cors.headers_for(await self._objects.bucket(bucket), request.method, request.headers)
        except StoreError:
            return {}

    def _outside(self, request: web.BaseRequest) -> tuple[str, bool, str]:
        """Host, whether TLS was used, and address, as the client sees them."""
        headers = request.headers
        host, secure, remote = headers.get("Host", ""), request.secure, request.remote or ""
        if self._settings.trust_forwarded:
            host = headers.get("X-Forwarded-Host", host).partition(",")[0].strip()
            secure = headers.get("X-Forwarded-Proto", "https" if secure else "http") == "https"
            remote = headers.get("X-Forwarded-For", remote).rpartition(",")[2].strip()
        return host, secure, remote

    async def _admit(self, call: Call) -> None:
        """Authorise what the request line names; handlers ask for what else they touch."""
        operation, identity = call.operation, call.identity
        if not operation.checked:
            if call.bucket:
                call.found = await self._objects.bucket(call.bucket)
        elif not call.bucket:
            if identity.anonymous:
                raise S3Error("AccessDenied")
        elif operation.name == "CreateBucket":
            if identity.anonymous or not permits(identity, operation.action, call.bucket, ""):
                raise S3Error("AccessDenied")
        else:
            version = call.query.get("versionId")
            action = operation.version_action if version and operation.version_action else operation.action
            call.found = await authorise(call, action, call.bucket, call.key, version_id=version)
        expected = call.headers.get("x-amz-expected-bucket-owner")
        if expected is not None and call.found is not None and call.found.owner != expected:
            raise S3Error("AccessDenied", "The bucket does not belong to the owner in x-amz-expected-bucket-owner.")

    def _refusal(self, exchange: _Exchange, error: S3Error) -> web.Response:
        """An error as S3 answers it; without a body for HEAD and 304."""
        exchange.error = error.code
        if exchange.request.method == "HEAD" or error.status == 304:
            response = web.Response(status=error.status)
        else:
            body = error.document(exchange.path, exchange.id, self._host_id)
            response = web.Response(status=error.status, body=body, content_type="application/xml")
        response.headers.update(error.headers)
        return response


def _told(exchange: _Exchange, seen: Seen) -> dict[str, object]:
    """What a line of the log says of an answered request besides its path."""
    return {
        "operation": seen.operation,
        "status": seen.status,
        "ms": round(seen.seconds * 1000, 1),
        "received": seen.received,
        "sent": seen.sent,
        "remote": exchange.request.remote,
        "access_key": exchange.access_key,
    }


def make_runner(objects: Objects, keyring: Keyring, settings: Settings | None = None) -> DrainingRunner:
    """The S3 front over these objects and keys, ready for sites (`web.TCPSite(runner, ...)`)."""
    settings = settings or Settings()
    front = Front(objects, keyring, settings)
    return DrainingRunner(front.handle, settings.stop_seconds, front.access_logs.close)
