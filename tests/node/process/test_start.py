"""How a node starts, and how it says why it cannot: one line, and an exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.node.process.harness import Node, Nodes


def _map(**changes: object) -> str:
    document = {
        "cloud": "test",
        "uid": "uid-1",
        "epoch": 1,
        "nodes": [{"name": "n-0", "number": 0, "address": "127.0.0.1:1", "pool": "test"}],
    }
    return json.dumps(document | changes)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("map.json", "{", "the cloud map in"),
        ("map.json", _map(epoch=0), "epoch"),
        ("map.json", _map(surprise=1), "surprise"),
        ("credentials.json", '{"keys": [{"access_key": "ab", "secret_key": "a-secret-of-mine"}]}', "keys.0.access_key"),
        ("secret", "\n", "is empty"),
    ],
)
def test_a_bad_file_is_one_line_and_exit_code_2(nodes: Nodes, file: str, content: str, says: str) -> None:
    """A document that is wrong is named, with the place in it, and no secret of it is shown."""
    nodes.write(file, content)
    code, line = nodes.refused()
    assert code == 2
    assert says in line
    assert "a-secret-of-mine" not in line


@pytest.mark.parametrize("flag", ["map", "credentials", "cloud-secret"])
def test_a_missing_file_is_one_line_and_exit_code_2(nodes: Nodes, flag: str) -> None:
    """A file that is not there is named."""
    code, line = nodes.refused(f"--{flag}", "/nowhere/at-all")
    assert code == 2
    assert "/nowhere/at-all" in line


def test_a_wrong_flag_is_one_line_and_exit_code_2(nodes: Nodes) -> None:
    """Flags are checked before anything is touched."""
    code, line = nodes.refused("--listen", "nonsense")
    assert code == 2
    assert "HOST:PORT" in line
    assert not (nodes.folder / "data").exists()


def test_a_map_without_this_node_is_refused(nodes: Nodes) -> None:
    """A node that the map does not name does not serve."""
    code, line = nodes.refused(name="n-7")
    assert code == 3
    assert "does not name this node 'n-7'" in line


def test_a_disk_of_another_cloud_is_refused(nodes: Nodes) -> None:
    """A volume that is attached to the wrong cloud is noticed before anything is written to it."""
    nodes.start().stop()
    nodes.write("map.json", _map(uid="uid-2", epoch=9))
    code, line = nodes.refused()
    assert code == 3
    assert "uid-2" in line
    assert "uid-1" in line


def test_a_disk_that_lost_its_index_is_refused(nodes: Nodes) -> None:
    """It had a life: the node does not begin a new one on it, and says what can be done."""
    nodes.start().stop()
    (nodes.folder / "data" / "index.db").unlink()
    code, line = nodes.refused()
    assert code == 3
    assert "index.db is missing, but a node ran here before and left bodies and cloud-map.json" in line
    assert "move all that is in" in line
    assert not (nodes.folder / "data" / "index.db").exists()


def test_a_data_directory_in_use_is_refused(nodes: Nodes, node: Node) -> None:
    """Two processes never share a disk."""
    code, line = nodes.refused()
    assert code == 3
    assert "in use" in line
    assert node.text("/ready")[0] == 200


def test_a_port_in_use_is_refused(nodes: Nodes) -> None:
    """The port is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (nodes.folder / "log").unlink(missing_ok=True)
        starting = nodes.spawn(listen=f"127.0.0.1:{port}")
        assert starting.process.wait(60) == 2
        assert f"cannot listen on 127.0.0.1:{port}" in starting.log().splitlines()[-1]


def test_data_keys_and_map_outlive_a_restart(nodes: Nodes) -> None:
    """What was acknowledged is there after a stop and a start, by any signal."""
    for number in (15, 9):
        first = nodes.start()
        s3 = first.client()
        if number == 15:
            s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key=f"k{number}", Body=b"kept")
        first.stop(number)
    s3 = nodes.start().client()
    for number in (15, 9):
        assert s3.get_object(Bucket="bucket", Key=f"k{number}")["Body"].read() == b"kept"


def test_help_names_every_flag_of_the_documentation() -> None:
    """The flags of docs/architecture.md exist."""
    text = subprocess.run(
        [sys.executable, "-m", "moln_node", "--help"], check=True, capture_output=True
    ).stdout.decode()
    for flag in ("name", "data", "map", "credentials", "cloud-secret", "listen", "peer-listen", "domain", "ready-file"):
        assert f"--{flag} " in text
