"""The front's door: an HTTP request becomes a call, the call an answer, an error S3's XML.

`make_runner` is called by the node's process. Reads top to bottom as the story of a request: `Front.handle`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import routing
from moln_node.s3.access import authorise, within_role
from moln_node.s3.auth.authenticate import authenticate
from moln_node.s3.call import Call, Expectation
from moln_node.s3.errors import S3Error, from_store
from moln_node.s3.settings import Seen, Settings
from moln_node.s3.target import parse_target
from moln_node.store.errors import StoreError

if TYPE_CHECKING:
    from moln_node.cluster.objects import Objects
    from moln_node.s3.auth.keyring import Keyring

_log = logging.getLogger("moln.s3")
_access = logging.getLogger("moln.s3.access")


class Front:
    """The one handler of every request on port 9000."""

    def __init__(self, objects: Objects, keyring: Keyring, settings: Settings) -> None:
        self._objects = objects
        self._keyring = keyring
        self._settings = settings
        self._host_id = secrets.token_hex(16)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request; never raises but for cancellation and lost connections."""
        request_id = secrets.token_hex(8).upper()
        started = time.perf_counter()
        expectation = Expectation(request)
        try:
            response = await self._answer(request, expectation, request_id)
        except S3Error as error:
            response = self._refusal(request, error, request_id)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:  # noqa: BLE001 whatever it is, the client gets S3's XML and the log the rest
            _log.exception("request %s failed: %s %r", request_id, request.method, request.raw_path.partition("?")[0])
            response = self._refusal(request, S3Error("InternalError"), request_id)
        if not response.prepared:
            self._stamp(response, request_id)
            if expectation.unmet:
                # it may or may not send the body that nobody asked for: what follows could not be told apart
                response.force_close()
        seconds = time.perf_counter() - started
        if self._settings.observe is not None:
            operation = request.get("operation", "Unknown")
            sent = response.body_length if response.prepared else response.content_length or 0
            received = request.content.total_bytes
            sent = 0 if request.method == "HEAD" else sent
            self._settings.observe(Seen(operation, response.status, seconds, received, sent))
        if _access.isEnabledFor(logging.INFO):
            _access.info(
                "%s %s %r %d %.1f ms",
                request_id,
                request.method,
                request.raw_path.partition("?")[0],  # a query may hold a presigned signature
                response.status,
                seconds * 1000,
            )
        return response

    async def _answer(self, request: web.BaseRequest, expectation: Expectation, request_id: str) -> web.StreamResponse:
        settings = self._settings
        host, secure, remote = self._outside(request)
        target = parse_target(request.raw_path, host, settings.domains)
        operation = routing.find(request.method, target, request.headers)
        request["operation"] = operation.name
        authentication = authenticate(request.method, target, request.headers, host, self._keyring, settings)
        call = Call(
            request, target, operation, authentication, self._objects, self._keyring, settings, request_id,
            self._host_id, secure, remote, expectation,
        )  # fmt: skip
        try:
            await self._admit(call)
            if operation.handler is None:
                raise S3Error("NotImplemented", f"{operation.name} is not implemented.")
            return await operation.handler(call)
        except StoreError as error:
            raise from_store(error, target.bucket, target.key) from error

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
            if identity.anonymous or not within_role(identity, operation.action, call.bucket, ""):
                raise S3Error("AccessDenied")
        else:
            version = call.query.get("versionId")
            action = operation.version_action if version and operation.version_action else operation.action
            call.found = await authorise(call, action, call.bucket, call.key, version_id=version)
        expected = call.headers.get("x-amz-expected-bucket-owner")
        if expected is not None and call.found is not None and call.found.owner != expected:
            raise S3Error("AccessDenied", "The bucket does not belong to the owner in x-amz-expected-bucket-owner.")

    def _refusal(self, request: web.BaseRequest, error: S3Error, request_id: str) -> web.Response:
        """An error as S3 answers it; without a body for HEAD and 304."""
        if request.method == "HEAD" or error.status == 304:
            response = web.Response(status=error.status)
        else:
            resource = request.raw_path.partition("?")[0]
            body = error.document(resource, request_id, self._host_id)
            response = web.Response(status=error.status, body=body, content_type="application/xml")
        response.headers.update(error.headers)
        return response

    def _stamp(self, response: web.StreamResponse, request_id: str) -> None:
        headers = response.headers
        headers["x-amz-request-id"] = request_id
        headers["x-amz-id-2"] = self._host_id
        headers["Server"] = "moln"


def make_runner(objects: Objects, keyring: Keyring, settings: Settings | None = None) -> web.ServerRunner:
    """The S3 front over these objects and keys, ready for sites (`web.TCPSite(runner, ...)`).

    aiohttp's server without its router, which would normalise paths and answer 404 to a key with a newline; bodies as
    they were sent, never decompressed; the access log is ours.
    """
    settings = settings or Settings()
    front = Front(objects, keyring, settings)
    server = web.Server(front.handle, handler_cancellation=True, auto_decompress=False, access_log=None)
    return web.ServerRunner(server, shutdown_timeout=settings.stop_seconds)
