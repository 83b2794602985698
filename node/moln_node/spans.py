"""Spans by OpenTelemetry's library, sent in batches over OTLP/HTTP by a thread of its own.

Imported by `tracing.started` alone. Nothing here waits for the collector: the queue is bounded (2,048 spans), and where
it is full the oldest are dropped. The library reads its variables itself: endpoint, headers, sampler, queue, batches.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

T = TypeVar("T")
STOP_SECONDS: Final = 3.0
_W3C: Final = TraceContextTextMapPropagator()
_HEADERS: Final = ("traceparent", "tracestate")


class OtlpSpans:
    """See `tracing.Spans`."""

    def __init__(self, *, node: str, cloud: str, version: str) -> None:
        resource = Resource.create(
            {
                "service.name": "moln-node",
                "service.instance.id": node,
                "service.version": version,
                "moln.cloud": cloud,
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("moln_node", version)

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """See `tracing.request`."""
        context = _W3C.extract(_carried(headers))
        return self._tracer.start_as_current_span("S3", context, SpanKind.SERVER)

    @contextmanager
    def answer(self, call: str, headers: Mapping[str, str]) -> Iterator[None]:
        """See `tracing.answer`."""
        carried = _carried(headers)
        if not carried:
            yield
            return
        with self._tracer.start_as_current_span(call, _W3C.extract(carried), SpanKind.SERVER):
            yield

    @contextmanager
    def call(self, peer: str, name: str) -> Iterator[dict[str, str]]:
        """See `tracing.call`."""
        carried: dict[str, str] = {}
        if not _traced():
            yield carried
            return
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes={"moln.peer": peer})
        _W3C.inject(carried, trace.set_span_in_context(span))
        # not made the current span: a generator's context may be entered by one task and left by another
        try:
            yield carried
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end()

    def wait(self, name: str, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """See `tracing.wait`."""
        if _traced():
            span = self._tracer.start_span(name)
            future.add_done_callback(lambda _: span.end())
        return future

    def tell(self, status: int, name: str, facts: Mapping[str, str | int]) -> None:
        """See `tracing.tell`."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        if name:
            span.update_name(name)
        span.set_attribute("http.response.status_code", status)
        for fact, value in facts.items():
            span.set_attribute(fact.replace("_", "."), value)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))

    def trace_id(self) -> str:
        """See `tracing.trace_id`."""
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.trace_flags.sampled else ""

    def close(self) -> None:
        """See `tracing.Spans.close`. A collector that does not answer is waited for so long and no longer."""
        closing = threading.Thread(target=self._provider.shutdown, name="moln-traces-end", daemon=True)
        closing.start()
        closing.join(STOP_SECONDS)


def _traced() -> bool:
    """Whether this task works for a request that has a trace."""
    return trace.get_current_span().get_span_context().is_valid


def _carried(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _HEADERS if name in headers}
