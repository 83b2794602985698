"""What an OpenTelemetry collector is to nodes: takes OTLP over HTTP, and keeps the spans."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Its address, and the spans that came."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._batches: list[ExportTraceServiceRequest] = []

    async def take(self, request: web.Request) -> web.Response:
        """A batch, as the protocol has it."""
        assert request.headers["Content-Type"] == "application/x-protobuf"
        self._batches.append(ExportTraceServiceRequest.FromString(await request.read()))
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    def spans(self) -> list[tuple[str, Span]]:
        """Each span, with the name of the node that sent it."""
        return [
            (values(of.resource.attributes)["service.instance.id"], span)
            for batch in self._batches
            for of in batch.resource_spans
            for scope in of.scope_spans
            for span in scope.spans
        ]

    def resources(self) -> list[dict[str, str]]:
        """What the senders say of themselves."""
        return [values(of.resource.attributes) for batch in self._batches for of in batch.resource_spans]


def values(attributes: list[KeyValue]) -> dict[str, str]:
    """Attributes as text."""
    return {one.key: one.value.string_value or str(one.value.int_value) for one in attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a port of its own."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()
