"""The lab's decisions that need no machine: names and addresses, images, build keys, what is shown to a person."""

import io
import json
import ssl
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest

from moln_lab import addons, files, packages, status
from moln_lab.cache import built, key_of
from moln_lab.cli import main
from moln_lab.commands import run, run_logged
from moln_lab.containerd import PAUSE_IMAGE, serves_kubelets
from moln_lab.errors import LabError
from moln_lab.oci import Image, write_single_file
from moln_lab.pki import Authority, Credential
from moln_lab.progress import Progress
from moln_lab.topology import SERVICES, Settings, Topology


def _topology(name: str, nodes: int = 3) -> Topology:
    return Topology(Settings.of(name, nodes))


def test_two_labs_share_nothing() -> None:
    """Addresses, links, cgroups, files and pods' subnets of two labs are apart."""
    first, second = _topology("lab"), _topology("second")
    assert not first.network.overlaps(second.network)
    assert not first.pods.overlaps(second.pods)
    assert {first.link, first.cgroup, first.state} & {second.link, second.cgroup, second.state} == set()


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_nodes_of_a_lab_are_apart(nodes: int) -> None:
    """Each node has an address, a subnet of the pods' network, and files of its own; zones come in turn."""
    topology = _topology("lab", nodes)
    assert len({node.address for node in topology.nodes} | {topology.control.address, topology.machine}) == nodes + 2
    assert all(node.pods.subnet_of(topology.pods) for node in topology.nodes)
    assert len({node.pods for node in topology.nodes}) == nodes
    assert [node.zone for node in topology.nodes] == ["zone-a", "zone-b", "zone-c", "zone-a", "zone-b"][:nodes]
    assert not topology.pods.overlaps(SERVICES)


@pytest.mark.parametrize(("name", "nodes"), [("lab", 0), ("lab", 6), ("Lab", 3), ("a-b", 3), ("elevenchars", 3)])
def test_settings_out_of_bounds_are_refused(name: str, nodes: int) -> None:
    """A name that is no link's name, and a number of nodes that is not 1 to 5, get a sentence."""
    with pytest.raises(LabError, match=r"lower-case letters|1 to 5 nodes"):
        Settings.of(name, nodes)


def test_a_chosen_state_folder_is_that_of_the_lab_named_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """MOLN_LAB_STATE places the default lab; another lab lies beside it and not in it."""
    monkeypatch.setenv("MOLN_LAB_STATE", "/srv/state")
    monkeypatch.delenv("MOLN_LAB_NAME", raising=False)
    assert Settings.of().state == Path("/srv/state")
    assert Settings.of("other").state == Path("/srv/moln-other")


def test_an_unknown_host_is_named_with_those_there_are() -> None:
    """The message says which hosts exist."""
    with pytest.raises(LabError, match="'node-9'; there are node-1, node-2, node-3"):
        _topology("lab").host("node-9")


def _image(folder: Path) -> Image:
    program = folder / "program"
    program.write_bytes(b"\x7fELF")
    write_single_file(folder / "layout", program)
    return Image(folder / "layout")


def test_an_archive_holds_only_the_blobs_that_are_asked_for(tmp_path: Path) -> None:
    """What a node has already is not sent again, and the image gets all its names."""
    image = _image(tmp_path)
    out = io.BytesIO()
    image.write_archive(out, [PAUSE_IMAGE, "localhost/other:1"], [image.manifest])
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        names = archive.getnames()
        index_file = archive.extractfile("index.json")
        assert index_file is not None
        index = json.load(index_file)
    assert names == ["oci-layout", "index.json", f"blobs/{image.manifest.digest.replace(':', '/')}"]
    given = [manifest["annotations"]["io.containerd.image.name"] for manifest in index["manifests"]]
    assert given == [PAUSE_IMAGE, "localhost/other:1"]


def test_pruning_keeps_what_the_image_needs(tmp_path: Path) -> None:
    """Blobs of earlier images go; the image stays whole."""
    image = _image(tmp_path)
    stale = tmp_path / "layout" / "blobs" / "sha256" / "stale"
    stale.write_bytes(b"old")
    image.prune_layout()
    assert not stale.exists()
    image.write_archive(io.BytesIO(), ["name"], image.blobs)


def test_a_build_is_reused_until_an_input_changes(tmp_path: Path) -> None:
    """The key follows content and settings, and an interrupted build is never taken for a good one."""
    source = tmp_path / "main.go"
    source.write_text("one")
    first = key_of([source], "flags")
    assert key_of([source], "flags") == first
    assert key_of([source], "other flags") != first
    source.write_text("two")
    assert key_of([source], "flags") != first

    def interrupted(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, "kind", first, interrupted)
    done = built(tmp_path, "kind", first, lambda folder: (folder / "whole").touch())
    assert [file.name for file in done.iterdir()] == ["whole"]
    assert built(tmp_path, "kind", first, interrupted) == done


def test_a_file_that_is_right_is_not_touched(tmp_path: Path) -> None:
    """kube-proxy ends when its configuration is written again, so an `up` must not."""
    file = tmp_path / "folder" / "file"
    files.write(file, "same")
    before = file.stat()
    files.write(file, "same")
    assert file.stat() == before
    files.write(file, "other")
    assert file.read_text() == "other"
    assert file.stat().st_mode & 0o077 == 0


def test_a_failing_program_is_named_with_its_last_lines(tmp_path: Path) -> None:
    """The message tells which program failed, how, and what it said last."""
    script = "for i in $(seq 40); do echo line $i; done; echo the reason; exit 3"
    with pytest.raises(LabError, match=r"(?s)sh -c .* failed with status 3.*the reason"):
        run(["sh", "-c", f"({script}) >&2"])
    with pytest.raises(LabError, match=r"(?s)log\.txt.*line 40\nthe reason") as failure:
        run_logged(["sh", "-c", script], tmp_path / "log.txt", timeout=10)
    assert "line 20\n" not in str(failure.value)
    with pytest.raises(LabError, match="no-such-program is not installed"):
        run(["no-such-program"])
    with pytest.raises(LabError, match=r"did not end within 0\.1 s"):
        run(["sleep", "10"], timeout=0.1)


def test_progress_says_how_long_a_step_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The duration of a step is remembered, and told the next time; a step that fails says so."""
    (tmp_path / "durations.json").write_text('{"build": 61.4}')
    with Progress(tmp_path).step("build"):
        pass
    with pytest.raises(LabError), Progress(tmp_path).step("start", about=20):
        raise LabError("no")
    said = capsys.readouterr().err
    assert "build ..., about 1 min 01 s in all\n" in said
    assert "build: done in 0.0 s\n" in said
    assert "start ..., about 20.0 s in all\nstart: failed after" in said


def test_status_has_a_line_per_node() -> None:
    """A node's zone, state, and pods with the phase of those that do not run."""
    pods = [
        status.KubernetesPod.model_validate(
            {"metadata": {"name": name, "namespace": "a"}, "spec": {"nodeName": "node-1"}, "status": {"phase": phase}}
        )
        for name, phase in (("one", "Running"), ("two", "Pending"))
    ]
    lines = [
        status.NodeLine("node-1", "zone-a", True, True, "10.0.0.1", status.pods_on("node-1", pods)),
        status.NodeLine("node-2", "zone-b", False, False, "10.0.0.2", status.pods_on("node-2", pods)),
    ]
    assert status.table(lines).splitlines() == [
        "NODE    ZONE    READY     POWER  ADDRESS   RUNS",
        "node-1  zone-a  Ready     on     10.0.0.1  a/one, a/two (Pending)",
        "node-2  zone-b  NotReady  off    10.0.0.2  -",
    ]


def test_the_dns_service_leads_to_the_control_plane() -> None:
    """The Service has no selector, so its EndpointSlice must name the host that CoreDNS runs on."""
    topology = _topology("lab")
    slices = [item for item in addons.manifests(topology) if item["kind"] == "EndpointSlice"]
    assert [item["endpoints"][0]["addresses"] for item in slices] == [[str(topology.control.address)]]


def test_a_lab_of_someone_else_than_root_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is installed, built or made, the message says what the lab needs."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match="run it as root"):
        packages.ensure(Settings.of("absent"), Progress(tmp_path))


def _strict(side: int, authority: Authority, credential: Credential) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # Python's default from 3.13 on
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.credential.certificate)
    context.load_cert_chain(credential.certificate, credential.key)
    return context


def test_certificates_pass_the_strictest_verification(tmp_path: Path) -> None:
    """A client and a server of the lab accept each other, and the client is known by its name and groups."""
    authority = Authority(tmp_path)
    serving = authority.issue("server", "server", addresses=[IPv4Address("10.89.0.1")])
    asking = authority.issue("client", "system:node:node-1", ["system:nodes"])
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = _strict(ssl.PROTOCOL_TLS_SERVER, authority, serving).wrap_bio(*wires, server_side=True)
    client = _strict(ssl.PROTOCOL_TLS_CLIENT, authority, asking).wrap_bio(*wires[::-1], server_hostname="10.89.0.1")
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    known = server.getpeercert()
    assert known is not None
    assert known["subject"] == ((("organizationName", "system:nodes"),), (("commonName", "system:node:node-1"),))


@pytest.mark.parametrize("words", [["status"], ["images"], ["env"], ["net", "cut", "node-1", "node-2"]])
def test_a_lab_that_is_not_up_is_a_clear_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command but up and down says how to start the lab, and ends with status 1."""
    with pytest.raises(SystemExit) as exit_:
        main(["--name", "absent", *words])
    assert exit_.value.code == 1
    assert "moln-lab: the lab 'absent' is not up: `moln-lab --name absent up` starts it" in capsys.readouterr().err


class _Runtime(grpc.GenericRpcHandler):
    """A containerd that finds its old containers first, and refuses kubelets while it does."""

    def __init__(self) -> None:
        self.ready = False

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if handler_call_details.method != "/runtime.v1.RuntimeService/Version":
            return None
        return grpc.unary_unary_rpc_method_handler(self._version)

    def _version(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        if not self.ready:
            context.abort(grpc.StatusCode.UNKNOWN, "server is not initialized yet")
        return b""


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[_Runtime]:
    """Serve the Container Runtime Interface at a socket in the test's folder."""
    runtime = _Runtime()
    server = grpc.server(ThreadPoolExecutor(max_workers=1), handlers=[runtime])
    server.add_insecure_port(f"unix://{tmp_path / 'cri.sock'}")
    server.start()
    yield runtime
    server.stop(None).wait()


def test_a_runtime_serves_kubelets_once_it_is_initialized(runtime: _Runtime, tmp_path: Path) -> None:
    """A socket that is not there, and a runtime that still looks for its old containers, do not: kubelets would end."""
    assert not serves_kubelets(tmp_path / "none.sock")
    assert not serves_kubelets(tmp_path / "cri.sock")
    runtime.ready = True
    assert serves_kubelets(tmp_path / "cri.sock")
