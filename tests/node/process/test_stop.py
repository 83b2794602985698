"""How a node stops: it finishes what was started, within bounds, and never leaves half an object."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from tests.node.process.harness import DEADLINE, wait_until

if TYPE_CHECKING:
    from tests.node.process.harness import Node, Nodes

SIZE = 4 * 1024 * 1024


class SlowUpload:
    """A PUT of 4 MiB whose second half comes only when the test says so."""

    def __init__(self, node: Node, key: str) -> None:
        url = node.client().generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": key})
        parts = urlsplit(url)
        host, port = parts.netloc.split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=DEADLINE)
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {SIZE}\r\n"
        self._socket.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert b"100 Continue" in self._socket.recv(1024)  # the request is under way: its body is wanted
        self._socket.sendall(b"x" * (SIZE // 2))

    def finish(self) -> int:
        """Send the rest; the status of the answer."""
        self._socket.sendall(b"x" * (SIZE // 2))
        answer = self._socket.recv(65536)
        return int(answer.split(b" ", 2)[1])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _under_way(node: Node) -> bool:
    """Whether the node has taken bytes of an upload that it has not answered: the port refuses while it drains."""
    host, port = node.s3.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def test_sigterm_lets_an_upload_finish(nodes: Nodes, node: Node) -> None:
    """A request that was under way is answered, and what it acknowledged is there after the restart."""
    node.client().create_bucket(Bucket="bucket")
    upload = SlowUpload(node, "slow")
    try:
        node.process.terminate()
        wait_until("the S3 port closes", lambda: not _under_way(node))
        assert node.process.poll() is None
        assert upload.finish() == 200
    finally:
        upload.close()
    assert node.process.wait(DEADLINE) == 0
    assert nodes.start().client().head_object(Bucket="bucket", Key="slow")["ContentLength"] == SIZE


def test_a_node_that_stops_is_not_ready_but_alive(node: Node) -> None:
    """Traffic is sent elsewhere while the last requests finish; nobody kills the node for it."""
    node.client().create_bucket(Bucket="bucket")
    upload = SlowUpload(node, "slow")
    try:
        node.process.terminate()
        wait_until("/ready says no", lambda: node.text("/ready")[0] == 503)
        checks = {check["name"]: check["state"] for check in json.loads(node.text("/ready")[1])["checks"]}
        assert checks["running"] == "fail"
        assert node.text("/live")[0] == 200
        assert upload.finish() == 200
    finally:
        upload.close()
    assert node.process.wait(DEADLINE) == 0


def test_an_upload_beyond_the_bound_fails_cleanly(nodes: Nodes) -> None:
    """A client that never finishes cannot keep the node; nothing of its object is there afterwards."""
    node = nodes.start("--stop-seconds", "0.5")
    node.client().create_bucket(Bucket="bucket")
    upload = SlowUpload(node, "slow")
    try:
        assert node.stop() == 0
    finally:
        upload.close()
    s3 = nodes.start().client()
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket="bucket", Key="slow")
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_the_end_of_standard_input_stops_a_node_that_was_told_so(nodes: Nodes) -> None:
    """A parent that dies in any way closes the pipe, and takes its nodes with it; others do not listen to theirs."""
    child = nodes.start("--until-stdin-closes")
    assert child.process.stdin is not None
    child.process.stdin.write(b"anything")
    child.process.stdin.flush()
    assert child.text("/live")[0] == 200
    child.process.stdin.close()
    assert child.process.wait(DEADLINE) == 0
    free = nodes.start()
    assert free.process.stdin is not None
    free.process.stdin.close()
    assert free.text("/live")[0] == 200


def test_sigint_stops_as_sigterm_does(node: Node) -> None:
    """Ctrl-C in a terminal is a clean stop."""
    assert node.stop(2) == 0
    assert node.log().splitlines()[-1].endswith("stopped")


def test_the_access_log_can_be_turned_off(nodes: Nodes) -> None:
    """A line for every request, or none of them; what went wrong is told either way."""
    for switch, told in (("on", True), ("off", False)):
        (nodes.folder / "log").unlink(missing_ok=True)
        node = nodes.start("--access-log", switch)
        node.client().list_buckets()
        node.stop()
        assert ("ListBuckets" in node.log()) is told
        assert node.log().endswith("stopped\n")


def test_a_disk_that_refuses_a_commit_ends_the_node(nodes: Nodes) -> None:
    """Only the disk knows what it kept: the node says so, takes no more traffic, and ends, to be started again.

    Until then nothing is answered as a defect. The start after that has what was acknowledged, and serves.
    """
    bad = nodes.folder / "bad"
    nodes.program = ("tests.node.process.failing", str(bad))
    node = nodes.start()
    client = node.client()
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="before", Body=b"x")
    upload = SlowUpload(node, "slow")
    try:
        bad.touch()
        with pytest.raises(ClientError) as refused:
            client.put_object(Bucket="bucket", Key="refused", Body=b"x")
        assert refused.value.response["Error"]["Code"] == "ServiceUnavailable"
        bad.unlink()
        wait_until("/ready says no", lambda: node.text("/ready")[0] == 503)
        assert "the disk refused a commit" in node.text("/ready")[1]
        assert node.text("/live")[0] == 200
        assert upload.finish() == 503
    finally:
        upload.close()
    assert node.process.wait(DEADLINE) == 4
    assert "ended: the disk refused a commit" in node.log()
    assert "Traceback" not in node.log()
    client = nodes.start().client()
    assert client.get_object(Bucket="bucket", Key="before")["Body"].read() == b"x"
    client.put_object(Bucket="bucket", Key="after", Body=b"x")
