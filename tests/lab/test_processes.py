"""Real programs in real cgroups: started once, found again, and ended to the last child."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from moln_lab import cgroups
from moln_lab.errors import LabError
from moln_lab.processes import ProcessTable, Program
from moln_lab.progress import wait_for

pytestmark = pytest.mark.lab

_FOREVER = ("sleep", "infinity")


@pytest.fixture(params=["version 1", "version 2"])
def group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cgroup that is no one else's, in each kind of hierarchy that this machine has."""
    kind, mounts = {"version 1": "cgroup", "version 2": "cgroup2"}[request.param], Path("/proc/mounts").read_text()
    found = [Path(line.split()[1]) for line in mounts.splitlines() if line.split()[2] == kind]
    if not found:
        pytest.skip(f"no hierarchy of {request.param} on this machine")
    monkeypatch.setattr(cgroups, "hierarchies", lambda: found)
    name = f"moln-test-{uuid.uuid4().hex[:8]}"
    try:
        yield name
    finally:
        cgroups.kill(name)
        cgroups.remove(name)


@pytest.fixture
def table(tmp_path: Path) -> ProcessTable:
    """An empty process table."""
    return ProcessTable(tmp_path)


def _program(group: str, *argv: str) -> Program:
    return Program("host.program", argv, netns=Path("/proc/self/ns/net"), cgroup=f"{group}/program")


def _wait_for_members(group: str, count: int) -> None:
    wait_for(lambda: len(cgroups.members(group)) == count, f"{count} processes in {group}", 10)


def test_a_program_is_started_once_and_found_again(table: ProcessTable, tmp_path: Path, group: str) -> None:
    """A second table on the same files finds the program running, and starts no other."""
    program = _program(group, *_FOREVER)
    assert table.ensure(program)
    again = ProcessTable(tmp_path)
    assert not again.ensure(program)
    assert again.pid(program.name) == table.pid(program.name)
    _wait_for_members(group, 1)


def test_a_program_is_restarted_when_it_should_run_otherwise(table: ProcessTable, tmp_path: Path, group: str) -> None:
    """Other arguments, or other content of a file that it reads, make it another program."""
    config = tmp_path / "config"
    config.write_text("one")
    program = replace(_program(group, *_FOREVER), reads=(config,))
    table.ensure(program)
    config.write_text("two")
    assert not table.runs(program)
    assert table.ensure(program)
    assert table.ensure(replace(program, argv=("sleep", "1000000")))
    _wait_for_members(group, 1)


def test_what_a_program_left_is_ended_before_it_starts_again(table: ProcessTable, tmp_path: Path, group: str) -> None:
    """A process that no record names any more, but that is in the program's group, does not live beside the new one."""
    program = _program(group, *_FOREVER)
    table.ensure(program)
    lost = table.pid(program.name)
    (tmp_path / "processes" / f"{program.name}.json").unlink()
    assert table.ensure(program)
    _wait_for_members(group, 1)
    assert cgroups.members(group) == {table.pid(program.name)} != {lost}


def test_a_reused_process_id_is_not_taken_for_the_program(table: ProcessTable, tmp_path: Path, group: str) -> None:
    """The start time has to match as well."""
    program = _program(group, *_FOREVER)
    table.ensure(program)
    file = tmp_path / "processes" / f"{program.name}.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"started": record["started"] - 1}))
    assert not table.alive(program.name)


def test_a_program_that_does_not_listen_is_killed(table: ProcessTable, group: str) -> None:
    """SIGTERM first, and SIGKILL after the grace; then it is gone altogether, and no zombie of its starter."""
    program = _program(group, "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
    table.ensure(program)
    wait_for(lambda: "deaf" in table.log(program.name).read_text(), "the trap", 10)
    process = Path(f"/proc/{table.pid(program.name)}")
    table.stop(program.name, grace=0.3)
    assert not table.alive(program.name)
    wait_for(lambda: not process.exists(), "the process's going", 10)


def test_a_program_that_ended_is_shown_with_its_last_lines(table: ProcessTable, group: str) -> None:
    """The error names the program, its log, and what it said."""
    program = _program(group, "sh", "-c", "echo the reason >&2; exit 1")
    table.ensure(program)
    wait_for(lambda: not table.alive(program.name), "the end", 10)
    with pytest.raises(LabError, match=r"(?s)host\.program has ended.*host\.program\.log.*the reason"):
        table.check(program.name)


def test_a_stopped_program_is_told_from_a_running_one(table: ProcessTable, group: str) -> None:
    """A kubelet that a fault stopped and never continued counts as stopped, after a while."""
    program = _program(group, *_FOREVER)
    table.ensure(program)
    assert not table.stopped(program.name, patience=0.1)
    pid = table.pid(program.name)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: table.stopped(program.name, patience=0.1), "the stop", 10)


def test_all_processes_of_a_group_die_at_one_moment(table: ProcessTable, group: str) -> None:
    """Also those that fork all the time, and those in groups below; none sees another's death."""
    script = "(while :; do sleep 0.001; echo alive; done) & echo parent $!; wait; echo saw the end of the other"
    program = _program(group, "sh", "-c", script)
    table.ensure(program)
    wait_for(lambda: "alive" in table.log(program.name).read_text(), "the loop", 10)
    cgroups.kill(group)
    assert cgroups.members(group) == set()
    assert not cgroups.frozen(group)
    assert "saw" not in table.log(program.name).read_text()


_STARTER = """
import os, signal, sys
from pathlib import Path
from moln_lab import cgroups, processes
cgroups.hierarchies = lambda: [Path(place) for place in sys.argv[3:]]
processes.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
folder, group = Path(sys.argv[1]), sys.argv[2]
program = processes.Program("host.program", ("touch", f"{folder}/ran"), Path("/proc/self/ns/net"), f"{group}/program")
processes.ProcessTable(folder).ensure(program)
"""


def test_a_program_whose_starter_dies_too_soon_never_runs(tmp_path: Path, group: str) -> None:
    """The starter is killed when it is about to write the id down: the program has not begun, and does not later."""
    places = map(str, cgroups.hierarchies())
    starter = subprocess.run([sys.executable, "-c", _STARTER, str(tmp_path), group, *places], check=False, timeout=30)
    assert starter.returncode == -signal.SIGKILL
    _wait_for_members(group, 0)
    assert not (tmp_path / "ran").exists()
