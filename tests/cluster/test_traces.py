"""Traces of requests: one trace from the client to every owner's commit, and none without a collector."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.cluster.client import Client
from tests.cluster.collector import Collector, collecting, values
from tests.cluster.nodes import Cloud

from moln_node.tracing import wanted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.processes

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
BODY = b"x" * 100_000


def environments(endpoint: str, **more: str) -> dict[str, dict[str, str]]:
    """Of three nodes that send their spans there, soon."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}
    return {name: dict(environment) for name in ("n0", "n1", "n2")}


async def until(what: str, holds: Callable[[], bool]) -> None:
    """Poll until `holds`."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


def of_trace(collector: Collector, trace: str) -> dict[bytes, tuple[str, Span]]:
    """The spans of a trace by id, each with its node."""
    return {span.span_id: (node, span) for node, span in collector.spans() if span.trace_id.hex() == trace}


async def test_one_trace_from_the_client_to_each_owners_commit(tmp_path: Path) -> None:
    """The client's own trace goes on through the node that it asked, its calls, and both other owners."""
    async with collecting() as collector, Cloud(tmp_path, 3, environments(collector.endpoint)) as cloud:
        async with Client() as client:
            node = cloud.nodes["n0"]
            assert (await client.call(node, "PUT", "/bucket")).status == 200
            parent = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
            answer = await client.call(node, "PUT", "/bucket/k", BODY, parent)
            assert answer.status == 200
            assert (await client.call(node, "GET", "/bucket/none")).status == 404

        def whole() -> bool:
            spans = of_trace(collector, TRACE)
            commits = {node for node, span in spans.values() if span.name == "store/commit"}
            parents = {span.parent_span_id for _, span in spans.values()} - {bytes.fromhex(CALLER)}
            return commits == {"n0", "n1", "n2"} and parents <= spans.keys()

        await until("every owner has told of its commit, and what is above it has come too", whole)
        found = of_trace(collector, TRACE)
        (front,) = (span for _, span in found.values() if span.parent_span_id.hex() == CALLER)
        told = values(list(front.attributes))
        assert (front.name, front.kind) == ("PutObject", Span.SpanKind.SPAN_KIND_SERVER)
        assert answer.headers is not None
        assert told == {
            "http.request.method": "PUT",
            "http.response.status_code": "200",
            "http.request.body.size": str(len(BODY)),
            "http.response.body.size": "0",
            "url.path": "/bucket/k",
            "moln.request.id": answer.headers["x-amz-request-id"],
        }
        assert f"trace_id={TRACE}" in node.log()
        for owner in ("n1", "n2"):
            (commit, *_) = (span for node, span in found.values() if (node, span.name) == (owner, "store/commit"))
            _, served = found[commit.parent_span_id]
            asker, asked = found[served.parent_span_id]
            assert (served.kind, asked.kind) == (Span.SpanKind.SPAN_KIND_SERVER, Span.SpanKind.SPAN_KIND_CLIENT)
            assert served.name == asked.name
            assert served.name.startswith("replica/")
            assert (asker, values(list(asked.attributes))["moln.peer"]) == ("n0", owner)
            assert asked.parent_span_id == front.span_id
        assert {(one["service.name"], one["moln.cloud"]) for one in collector.resources()} == {("moln-node", "test")}
        roots = {span.name for _, span in collector.spans() if not span.parent_span_id}
        await until("a trace without a client's", lambda: any(s.name == "GetObject" for _, s in collector.spans()))
        assert roots <= {"CreateBucket", "GetObject"}, "what nodes do by themselves makes no traces"


async def test_what_the_sampler_leaves_out_is_left_out_on_every_node(tmp_path: Path) -> None:
    """None of the requests without a trace is taken, at no node; one that brings its own is."""
    sampled = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    async with collecting() as collector, Cloud(tmp_path, 3, environments(collector.endpoint, **sampled)) as cloud:
        async with Client() as client:
            assert (await client.call(cloud.nodes["n0"], "PUT", "/bucket")).status == 200
            parent = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
            assert (await client.call(cloud.nodes["n0"], "PUT", "/bucket/k", BODY, parent)).status == 200
        await until("the client's trace", lambda: any(s.name == "PutObject" for _, s in collector.spans()))
        assert {span.trace_id.hex() for _, span in collector.spans()} == {TRACE}


async def test_a_collector_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    """It takes connections and says nothing: requests are answered, what is too much is dropped, the node stops."""
    held: list[asyncio.StreamWriter] = []

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    silent = await asyncio.start_server(hang, "127.0.0.1", 0)
    endpoint = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    try:
        async with Cloud(tmp_path, 1, environments(endpoint, **small), spares=1) as cloud, Client() as client:
            node = cloud.nodes["n0"]
            assert (await client.call(node, "PUT", "/bucket")).status == 200
            for number in range(50):
                assert (await client.call(node, "PUT", f"/bucket/k{number}", b"x")).status == 200
            assert held, "the node did try"
            assert "Queue full, dropping" in node.log()
            started = time.monotonic()
            assert await node.stop() == 0
            assert time.monotonic() - started < 8
    finally:
        for writer in held:
            writer.close()
        silent.close()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_traces_are_made_where_the_environment_names_a_collector(environment: dict[str, str], expected: bool) -> None:
    """OpenTelemetry's own variables, and no others; where none says where to, nothing is sent to localhost."""
    assert wanted(environment) is expected


def test_the_library_is_not_loaded_without_traces() -> None:
    """A node without a collector pays neither its memory nor its start."""
    code = "import sys, moln_node.process; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
