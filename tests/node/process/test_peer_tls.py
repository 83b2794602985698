"""TLS on port 9001 of a real node: who comes in by which mode, and what is said to those who don't."""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
import urllib3
from tests.certificates import Authority
from tests.node.process.harness import CLOUD_SECRET, Node, Nodes, wait_until
from tests.node.process.test_metrics import value

from moln_spec.peertls import fingerprint

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

BEARER = {"Authorization": f"Bearer {CLOUD_SECRET}"}


class Cloud:
    """One node with an authority of its own."""

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "peers"
        self.authority = Authority()
        self._nodes = nodes
        self.node: Node

    def start(self, mode: str) -> None:
        """Start the node with files of this mode."""
        self.authority.write(self.files, mode)
        self.node = self._nodes.start(peer_tls=str(self.files))

    def ask(self, path: str, context: ssl.SSLContext | None = None, headers: dict[str, str] | None = None) -> int:
        """The status that a call gets, over TLS where there is a context; urllib3's errors."""
        scheme = "http" if context is None else "https"
        with urllib3.PoolManager(retries=False, timeout=10, ssl_context=context) as pool:
            url = f"{scheme}://{self.node.peer}{path}"
            return pool.request("GET", url, headers=BEARER if headers is None else headers).status

    def client(self, pair: tuple[str, str] | None = None) -> ssl.SSLContext:
        """A client that trusts the cloud, and shows a certificate where one is given."""
        return self.authority.client(self.folder, pair)

    def refused(self, pair: tuple[str, str]) -> str:
        """How the node's log tells of a client whose certificate is no good: nothing that it asks is answered."""
        with pytest.raises(urllib3.exceptions.HTTPError):
            self.ask("/v1/status", self.client(pair))
        wait_until("the log tells", lambda: "came to nothing" in self.node.log())
        return self.node.log()


@pytest.fixture
def cloud(nodes: Nodes, tmp_path: Path) -> Cloud:
    """A cloud whose node is yet to be started."""
    return Cloud(nodes, tmp_path)


def test_who_comes_in_once_tls_is_required(cloud: Cloud) -> None:
    """A member of the cloud does, by certificate and secret; open pages want neither; plain HTTP is refused."""
    cloud.start("require")
    member = cloud.client(cloud.authority.issue())
    assert cloud.ask("/v1/status", member) == 200
    assert cloud.ask("/v1/status", member, {}) == 401
    assert cloud.ask("/v1/status", cloud.client()) == 403
    assert cloud.ask("/v1/replica/ask", cloud.client()) == 403
    for page in ("/live", "/ready", "/metrics"):
        assert cloud.ask(page, cloud.client(), {}) == 200
    for page in ("/live", "/ready", "/metrics", "/v1/status", "/v1/replica/ask"):
        assert cloud.ask(page) == 400
    assert "this port speaks TLS" in cloud.node.call("GET", "/v1/status")[1]["error"]


@pytest.mark.parametrize("mode", ["off", "accept", "send"])
def test_both_are_answered_on_the_way(cloud: Cloud, mode: str) -> None:
    """Until TLS is required, who has no certificate yet comes by plain HTTP, and who has one by TLS."""
    cloud.start(mode)
    assert cloud.ask("/v1/status") == 200
    assert cloud.ask("/ready", headers={}) == 200
    assert cloud.ask("/v1/status", headers={}) == 401
    assert cloud.ask("/v1/status", cloud.client(cloud.authority.issue())) == 200
    assert cloud.ask("/v1/status", cloud.client()) == 403


def test_a_foreign_certificate_is_refused(cloud: Cloud) -> None:
    """Whoever signed it has the authority's name, and not its key."""
    cloud.start("require")
    assert "certificate verify failed" in cloud.refused(Authority().issue())


def test_a_certificate_that_has_ended_is_refused(cloud: Cloud) -> None:
    """However right it was before."""
    cloud.start("require")
    assert "certificate has expired" in cloud.refused(cloud.authority.issue(hours=-1))


def test_new_files_hold_without_a_restart(cloud: Cloud) -> None:
    """The mode, the certificate and who is trusted; files that are no good change nothing and are told of."""
    cloud.start("accept")
    assert cloud.ask("/ready") == 200
    second = Authority()
    chain, _ = cloud.authority.write(cloud.files, "require", second, cloud.authority)
    wait_until("plain HTTP is refused", lambda: cloud.ask("/ready") == 400)
    for authority in (cloud.authority, second):
        assert cloud.ask("/v1/status", cloud.client(authority.issue())) == 200
    said = _status(cloud)["peerTls"]
    assert said == fingerprint("require", (cloud.files / "ca.crt").read_text(), chain)
    cloud.authority.write(cloud.files, "require", pair=(chain, cloud.authority.issue()[1]))
    wait_until("the log tells", lambda: "goes on with the certificates of before" in cloud.node.log())
    assert _status(cloud)["peerTls"] == said
    cloud.authority.write(cloud.files, "sometimes")
    wait_until("the log tells", lambda: "mode is 'sometimes'" in cloud.node.log())
    assert "PRIVATE" not in cloud.node.log()
    cloud.authority.write(cloud.files, "require")
    wait_until("the second is trusted no more", partial(_is_refused, cloud, second.issue()))
    assert cloud.ask("/v1/status", cloud.client(cloud.authority.issue())) == 200


def _status(cloud: Cloud) -> dict[str, str]:
    with urllib3.PoolManager(ssl_context=cloud.client(cloud.authority.issue())) as pool:
        found: dict[str, str] = pool.request("GET", f"https://{cloud.node.peer}/v1/status", headers=BEARER).json()
    return found


def _is_refused(cloud: Cloud, pair: tuple[str, str]) -> bool:
    try:
        return cloud.ask("/v1/status", cloud.client(pair)) != 200
    except urllib3.exceptions.HTTPError:
        return True


def test_the_certificates_end_is_told(cloud: Cloud) -> None:
    """In the words of the S3 port's."""
    cloud.start("accept")
    assert value(cloud.node, "moln_node_peer_certificate_expiry_timestamp_seconds") > time.time()


def test_a_connection_that_says_nothing_keeps_nobody_waiting(cloud: Cloud) -> None:
    """Others come in meanwhile, and the node stops within its time."""
    cloud.start("require")
    host, _, port = cloud.node.peer.rpartition(":")
    with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))) as half:
        half.sendall(b"\x16\x03")
        assert cloud.ask("/ready", cloud.client()) == 200
        began = time.monotonic()
        assert cloud.node.stop() == 0
        assert time.monotonic() - began < 8


def test_files_that_cannot_be_used_are_a_reason_not_to_start(nodes: Nodes, tmp_path: Path) -> None:
    """In one line, with the directory and why."""
    code, line = nodes.refused(peer_tls=str(tmp_path / "nowhere"))
    assert code == 2
    assert f"cannot use the certificates of port 9001 in {tmp_path / 'nowhere'}" in line
    Authority().write(tmp_path / "peers", "require", pair=("", ""))
    assert "cannot use the certificates of port 9001" in nodes.refused(peer_tls=str(tmp_path / "peers"))[1]
