"""The lab's volumes as a pod sees them, and what can happen to their disks: on the real cluster."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pytest

from moln_lab import block, cgroups, volume_faults
from moln_lab.errors import LabError
from moln_lab.lab import Lab
from moln_lab.progress import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.xdist_group("alone")]

SIZE = 320 << 20
PATIENCE = 120.0
IMAGE = "localhost/moln:dev"


@dataclass(frozen=True, slots=True)
class Writer:
    """A pod of one container with one volume at /data, in a namespace of its own."""

    lab: Lab
    namespace: str

    def kubectl(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run kubectl in the namespace."""
        return self.lab.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, timeout=PATIENCE + 30)

    def apply(self, *objects: dict[str, object]) -> None:
        """Create or change objects."""
        content = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(content).encode())

    def start(self) -> None:
        """Start the pod, on whatever its volume has by now, and wait until it runs."""
        self.apply(_pod())
        self.kubectl("wait", "--for=condition=Ready", "pod/writer", f"--timeout={PATIENCE:.0f}s")

    def python(self, program: str) -> str:
        """Run Python in the container; return what it prints."""
        return self.kubectl("exec", "writer", "--", "python3", "-c", program).strip()

    def container(self) -> str:
        """Return the id of the container that runs and is ready; nothing while there is none."""
        status = json.loads(self.kubectl("get", "pod", "writer", "-o", "json"))["status"]["containerStatuses"][0]
        return str(status["containerID"]) if status["ready"] and "running" in status["state"] else ""

    def wait_for_restart(self, before: str) -> None:
        """Wait until another container than `before` runs in the pod."""
        wait_for(lambda: self.container() not in {"", before}, "the container's restart", PATIENCE, poll=0.2)

    def volume(self) -> volume_faults.Volume:
        """Return the volume as the lab sees it."""
        return volume_faults.find(self.lab.topology, f"{self.namespace}/data")


def _pod() -> dict[str, object]:
    container = {
        "name": "writer",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", "import signal; signal.pause()"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "writer"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532},
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    }


@pytest.fixture
def writer(lab: Lab) -> Iterator[Writer]:
    """A running pod with an empty volume of 320 MiB from the default StorageClass."""
    made = Writer(lab, f"volumes-{uuid.uuid4().hex[:8]}")
    lab.kubectl("create", "namespace", made.namespace)
    try:
        claim: dict[str, object] = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": str(SIZE)}}},
        }
        made.apply(claim)
        made.start()
        yield made
    finally:
        made.kubectl("delete", "pod/writer", "pvc/data", "--ignore-not-found", "--now", f"--timeout={PATIENCE:.0f}s")
        lab.kubectl("delete", "namespace", made.namespace, "--wait=false")


WRITE_TO_THE_END = """
import os
file = os.open("/data/big", os.O_CREAT | os.O_WRONLY)
written = 0
try:
    while True:
        written += os.write(file, bytes(1 << 20))
except OSError as error:
    print(error.errno, written)
"""


def test_a_full_volume_says_so(writer: Writer) -> None:
    """Writing stops with ENOSPC once the size that was claimed is used up, and not before most of it is."""
    errno, written = map(int, writer.python(WRITE_TO_THE_END).split())
    assert errno == 28
    assert SIZE * 0.6 < written < SIZE


def test_the_data_outlive_the_pod(writer: Writer) -> None:
    """A new pod of the same claim runs on the same node and finds what the old one wrote."""
    writer.python("open('/data/kept', 'w').write('here')")
    node = writer.kubectl("get", "pod", "writer", "-o", "jsonpath={.spec.nodeName}")
    assert writer.volume().node == node
    writer.kubectl("delete", "pod", "writer")
    wait_for(lambda: writer.volume().mount is None, "the volume's being unmounted", PATIENCE)
    writer.start()
    assert writer.kubectl("get", "pod", "writer", "-o", "jsonpath={.spec.nodeName}") == node
    assert writer.python("print(open('/data/kept').read())") == "here"


def test_a_volume_grows_while_it_is_used(writer: Writer) -> None:
    """Raising the claim's request gives the running container a larger file system; nothing restarts."""
    size = "import os; s = os.statvfs('/data'); print(s.f_blocks * s.f_frsize)"
    before, container = int(writer.python(size)), writer.container()
    writer.python("open('/data/kept', 'w').write('here')")
    request = {"spec": {"resources": {"requests": {"storage": str(2 * SIZE)}}}}
    writer.kubectl("patch", "pvc", "data", "--patch", json.dumps(request))
    wait_for(lambda: int(writer.python(size)) >= before + SIZE, "the file system's growth", 180, poll=1)
    assert writer.container() == container
    assert writer.python("print(open('/data/kept').read())") == "here"
    assert writer.volume().size == 2 * SIZE


def test_a_filled_volume_refuses_and_recovers(writer: Writer) -> None:
    """A fill leaves what it is told to, ENOSPC comes after that, and unfilling gives the space back."""
    volume_faults.fill(writer.volume(), leave=16 << 20)
    errno, written = map(int, writer.python(WRITE_TO_THE_END).split())
    assert errno == 28
    assert 14 << 20 <= written <= 17 << 20
    writer.python("import os; os.truncate('/data/big', 0)")  # it stays, as there may be no space for a new name
    volume_faults.fill(writer.volume())
    errno, written = map(int, writer.python(WRITE_TO_THE_END).split())
    assert errno == 28
    assert written <= 1 << 20
    volume_faults.unfill(writer.volume())
    writer.python("import os; os.unlink('/data/big'); open('/data/new', 'wb').write(bytes(64 << 20))")


def test_a_wiped_volume_is_empty_and_works(writer: Writer) -> None:
    """The container starts again with an empty disk of the same size, which it may write."""
    writer.python("open('/data/lost', 'w').write('gone')")
    container = writer.container()
    volume_faults.wipe(writer.lab.topology, writer.volume())
    writer.wait_for_restart(container)
    assert writer.python("import os; print(os.listdir('/data'))") == "[]"
    writer.python("open('/data/new', 'w').write('works')")
    assert writer.volume().size == SIZE


def test_a_power_cut_loses_exactly_what_was_not_synced(writer: Writer) -> None:
    """Synced bytes are there after the cut, those only written are not, and the container runs on the same disk."""
    writer.python(
        "import os\n"
        "def write(name, synced, unsynced):\n"
        "    file = os.open('/data/' + name, os.O_CREAT | os.O_WRONLY)\n"
        "    if synced:\n"
        "        os.write(file, synced)\n"
        "        os.fsync(file)\n"
        "    os.write(file, unsynced)\n"
        "write('whole', b'w' * 100_000, b'')\n"
        "write('half', b'h' * 65_536, b'x' * 65_536)\n"
        "os.fsync(os.open('/data', os.O_RDONLY))\n"
        "write('none', b'', b'n' * 100_000)\n"
    )
    container = writer.container()
    volume_faults.power_cut(writer.lab.topology, writer.volume())
    writer.wait_for_restart(container)
    kept = json.loads(
        writer.python("import json, os; print(json.dumps({n: open('/data/' + n).read() for n in os.listdir('/data')}))")
    )
    assert kept["whole"] == "w" * 100_000
    assert kept["half"] == "h" * 65_536
    assert kept.get("none", "") == ""


TELL_OF_SYNCED_LINES = """
import itertools, os
file = os.open("/data/log", os.O_CREAT | os.O_WRONLY)
os.fsync(os.open("/data", os.O_RDONLY))
for count in itertools.count():
    os.write(file, b"%08d\\n" % count)
    os.fdatasync(file)
    print(count, flush=True)
"""


@contextmanager
def telling(writer: Writer) -> Iterator[IO[str]]:
    """A process in the container that writes a line, syncs it, and tells of it; yields what it tells, from line 100."""
    command = [str(writer.lab.programs / "kubectl"), f"--kubeconfig={writer.lab.topology.kubeconfig}"]
    command += ["--namespace", writer.namespace, "exec", "writer", "--", "python3", "-c", TELL_OF_SYNCED_LINES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = -1
            while told < 100:
                word = process.stdout.readline()
                assert word, f"it ended after {told}; what kubectl said is above"
                told = int(word)
            yield process.stdout
        finally:
            process.kill()


def assert_kept(writer: Writer, told: str) -> None:
    """Every line told of is in the log, in order, with nothing broken among them."""
    last = int(told.splitlines()[-1])
    lines = writer.python("print(open('/data/log').read())").splitlines()
    assert len(lines) > last
    assert lines[: last + 1] == [f"{n:08d}" for n in range(last + 1)]


def test_nothing_told_of_is_lost_by_a_power_cut(writer: Writer) -> None:
    """All that a container said it had synced, up to its last word, is there after the cut."""
    container = writer.container()
    with telling(writer) as words:
        volume_faults.power_cut(writer.lab.topology, writer.volume())
        told = words.read()
    writer.wait_for_restart(container)
    assert_kept(writer, told)


def test_a_node_that_loses_its_power_keeps_what_was_synced(writer: Writer) -> None:
    """The node goes with all that was only in its memory; booted, its pod finds what was synced, and only that."""
    lab, container = writer.lab, writer.container()
    node = lab.topology.node(writer.volume().node)
    try:
        with telling(writer) as words:
            writer.python("open('/data/unsynced', 'w').write('u' * 100_000)")
            volume_faults.power_cut_node(lab.topology, node)
            told = words.read()
        assert not cgroups.members(node.cgroup)
    finally:
        lab.power_on(node)
    writer.wait_for_restart(container)
    assert_kept(writer, told)
    unsynced = "import os; print(os.path.exists('/data/unsynced') and os.path.getsize('/data/unsynced') or 0)"
    assert writer.python(unsynced) == "0"


def test_a_killed_driver_takes_up_what_is_there(writer: Writer) -> None:
    """The node's driver, killed and started again, unmounts what its predecessor mounted, and mounts anew."""
    lab, volume = writer.lab, writer.volume()
    program = f"{volume.node}.csi-driver"
    pid = lab.processes.pid(program)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not lab.processes.alive(program), "the driver's end", PATIENCE)
    writer.python("open('/data/kept', 'w').write('here')")
    lab.up()
    writer.kubectl("delete", "pod", "writer")
    wait_for(lambda: writer.volume().mount is None, "the volume's being unmounted", PATIENCE)
    writer.start()
    assert writer.python("print(open('/data/kept').read())") == "here"


KILLED_HALF_WAY = """
import os, signal, sys
from moln_lab import block, volume_faults
from moln_lab.lab import Lab
lab = Lab.existing()
block.mount_image = lambda image, target: os.kill(os.getpid(), signal.SIGKILL)
volume_faults.power_cut(lab.topology, volume_faults.find(lab.topology, sys.argv[1]))
"""


def test_a_power_cut_that_is_killed_half_way_is_healed_by_up(writer: Writer) -> None:
    """Killed with the disk unmounted beneath its pod and the kubelet stopped: `up` boots the node, with its data."""
    lab, container = writer.lab, writer.container()
    writer.python("import os; f = open('/data/kept', 'w'); f.write('here'); f.flush(); os.fsync(f.fileno())")
    command = [sys.executable, "-c", KILLED_HALF_WAY, f"{writer.namespace}/data"]
    environment = {**os.environ, "MOLN_LAB_NAME": lab.settings.name}
    assert subprocess.run(command, env=environment, timeout=PATIENCE, check=False).returncode == -signal.SIGKILL
    assert writer.volume().mount is None
    lab.up()
    writer.wait_for_restart(container)
    assert writer.python("print(open('/data/kept').read())") == "here"


def test_a_deleted_claim_leaves_nothing(writer: Writer) -> None:
    """The disk goes with its claim: no file, no mount, no loop device."""
    volume = writer.volume()
    writer.kubectl("delete", "pod/writer", "pvc/data")
    wait_for(lambda: not volume.image.parent.exists(), "the disk's removal", PATIENCE)
    assert not [path for path in block.loop_devices().values() if path.is_relative_to(volume.image.parent)]
    with pytest.raises(LabError, match="no volume is called"):
        writer.volume()
