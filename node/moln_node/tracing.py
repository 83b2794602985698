"""Where a request spends its time, told to an OpenTelemetry collector: off unless the environment names one.

The rooms call the functions below, whatever is asked for. While traces are off each returns at once and no library is
loaded; `spans.py`, which knows it, is imported by `started`. Spans begin at the front alone, so what nodes do by
themselves (repair, sweeps) makes none. Settings are OpenTelemetry's own variables (docs/monitoring.md).
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

T = TypeVar("T")
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NO_SPAN: Final = nullcontext()
_NO_HEADERS: Final = nullcontext[dict[str, str]]({})


class Spans(Protocol):
    """What makes spans."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """See the function of this name; so are the others."""
        ...

    def answer(self, call: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """See `answer`."""
        ...

    def call(self, peer: str, name: str) -> AbstractContextManager[dict[str, str]]:
        """See `call`."""
        ...

    def wait(self, name: str, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """See `wait`."""
        ...

    def tell(self, status: int, name: str, facts: Mapping[str, str | int]) -> None:
        """See `tell`."""
        ...

    def trace_id(self) -> str:
        """See `trace_id`."""
        ...

    def close(self) -> None:
        """Send what waits, within bounds; blocks."""
        ...


_spans: Spans | None = None


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces: it names a collector, and nothing in it says no."""
    return (
        any(environment.get(name) for name in ENDPOINTS)
        and environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and environment.get("OTEL_TRACES_EXPORTER", "otlp").strip() == "otlp"
    )


@contextmanager
def started(environment: Mapping[str, str], *, node: str, cloud: str, version: str) -> Iterator[None]:
    """Traces, if they are wanted, while the context is open; at its end what waits is sent, within seconds."""
    global _spans  # noqa: PLW0603 (one process is one node, as it has one log)
    if not wanted(environment):
        yield
        return
    from moln_node.spans import OtlpSpans  # noqa: PLC0415 (a start that needs it not is 0.2 s shorter)

    _spans = spans = OtlpSpans(node=node, cloud=cloud, version=version)
    try:
        yield
    finally:
        _spans = None
        spans.close()


def request(headers: Mapping[str, str]) -> AbstractContextManager[object]:
    """A client's request, answered within the context; it continues the trace that the client's headers name."""
    return _NO_SPAN if _spans is None else _spans.request(headers)


def answer(call: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
    """A call on port 9001, answered within the context: a span where it is part of somebody's trace."""
    return _NO_SPAN if _spans is None else _spans.answer(call, headers)


def call(peer: str, name: str) -> AbstractContextManager[dict[str, str]]:
    """A call of another node, made within the context with the headers that it gives; part of a request's trace."""
    return _NO_HEADERS if _spans is None else _spans.call(peer, name)


def wait(name: str, future: asyncio.Future[T]) -> asyncio.Future[T]:
    """The future, and a span from now until it is done; part of a request's trace."""
    return future if _spans is None else _spans.wait(name, future)


def tell(status: int, name: str = "", **facts: str | int) -> None:
    """What came of the request or call that this task answers: its HTTP status, its name if only now known, and more.

    Facts have OpenTelemetry's names, with `_` for `.`; this project's own begin with `moln`.
    """
    if _spans is not None:
        _spans.tell(status, name, facts)


def trace_id() -> str:
    """The trace that this task works for, as collectors write it; empty where there is none, or it is not sampled."""
    return "" if _spans is None else _spans.trace_id()
