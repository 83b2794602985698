"""Programs that outlive the command that starts them: started detached, found again, stopped by id.

A program is remembered by its process id together with its start time, so that a reused id is never taken for it.
`ensure` starts what is not running, and restarts what runs with other arguments than it should. Everything is kept
below one folder: NAME.json while it runs, and NAME.log.
"""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ValidationError

from moln_lab import cgroups
from moln_lab.commands import last_lines
from moln_lab.errors import LabError
from moln_lab.files import write

_POLL = 0.02
# Becomes the program once its starter has put it into its cgroup and written its id down, and ends if the starter dies
# before that: so no program ever runs that can't be found again.
_GATE = 'read -r _ && exec "$@" < /dev/null'


@dataclass(frozen=True, slots=True)
class Program:
    """A long-running program of one host."""

    name: str
    """Unique in the lab, such as node-1.kubelet; it names the log."""
    argv: tuple[str, ...]
    netns: Path
    cgroup: str
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to this process's own."""

    reads: tuple[Path, ...] = ()
    """Configuration files: when one changes, the program is restarted."""

    def digest(self) -> str:
        """Return what changes when the program would have to be restarted to run as it should."""
        contents = [file.read_text() if file.exists() else None for file in self.reads]
        text = json.dumps([self.argv, str(self.netns), self.cgroup, dict(self.env), contents])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Record(BaseModel):
    pid: int
    started: int
    digest: str


class ProcessTable:
    """The programs of one lab, as its files and the kernel know them."""

    def __init__(self, state: Path) -> None:
        self._records = state / "processes"
        self._logs = state / "logs"

    def ensure(self, program: Program) -> bool:
        """Have a program running as described; tell whether it had to be started."""
        if self.runs(program):
            return False
        self.stop(program.name)
        # What it left behind when it ended by itself, its children for one, is found by its group.
        cgroups.kill(program.cgroup)
        self._start(program)
        return True

    def runs(self, program: Program) -> bool:
        """Tell whether a program runs as described."""
        record = self._read(program.name)
        return record is not None and record.digest == program.digest()

    def started(self, name: str) -> float:
        """Return when a running program started, as a time.time().

        Raises:
            LabError: It does not run.
        """
        record = self._read(name)
        if record is None:
            raise LabError(f"{name} does not run; the end of {self.log(name)}:\n{last_lines(self.log(name))}")
        since_boot = record.started / os.sysconf("SC_CLK_TCK")
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot

    def stopped(self, name: str, patience: float = 1) -> bool:
        """Tell whether a program has been stopped (SIGSTOP) and stays so."""
        deadline = time.monotonic() + patience
        while (pid := self.pid(name)) is not None and _state(pid) == "T":
            if time.monotonic() > deadline:
                return True
            time.sleep(_POLL)
        return False

    def alive(self, name: str) -> bool:
        """Tell whether a program that was started under this name still runs."""
        return self._read(name) is not None

    def pid(self, name: str) -> int | None:
        """Return a running program's process id."""
        record = self._read(name)
        return record.pid if record else None

    def stop(self, name: str, grace: float = 10) -> None:
        """End a program that runs: ask it to, and kill it when it has not after `grace` seconds."""
        record = self._read(name)
        if record is not None:
            _signal(record.pid, signal.SIGTERM)
            if not self._ended(name, grace):
                _signal(record.pid, signal.SIGKILL)
                if not self._ended(name, grace):
                    raise LabError(f"{name} (process {record.pid}) outlives SIGKILL")
        self._file(name).unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        """Return where a program's output goes."""
        return self._logs / f"{name}.log"

    def check(self, name: str) -> None:
        """Do nothing while a program runs.

        Raises:
            LabError: It has ended; with the last lines it wrote.
        """
        if not self.alive(name):
            raise LabError(f"{name} has ended; the end of {self.log(name)}:\n{last_lines(self.log(name))}")

    def _start(self, program: Program) -> None:
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        cgroups.create(program.cgroup)
        with self.log(program.name).open("ab") as log:
            child = subprocess.Popen(
                ["sh", "-c", _GATE, "moln-lab", "nsenter", f"--net={program.netns}", "--", *program.argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **program.env},
                cwd="/",
            )
        started = _start_time(child.pid)
        if started is None or child.stdin is None:
            raise LabError(f"{program.name} ended at once; the end of its log:\n{last_lines(self.log(program.name))}")
        cgroups.join(program.cgroup, child.pid)
        write(
            self._file(program.name), _Record(pid=child.pid, started=started, digest=program.digest()).model_dump_json()
        )
        child.stdin.write(b"go\n")
        child.stdin.close()
        # It lives on when we end; should it end before us, as in tests, someone has to take note, or it stays a zombie.
        threading.Thread(target=child.wait, name=f"reap {program.name}", daemon=True).start()

    def _read(self, name: str) -> _Record | None:
        try:
            record = _Record.model_validate_json(self._file(name).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return record if _start_time(record.pid) == record.started else None

    def _ended(self, name: str, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while self.alive(name):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def _file(self, name: str) -> Path:
        return self._records / f"{name}.json"


def _start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; nothing when it is gone or only waits to be reaped."""
    stat = _stat(pid)
    return None if stat is None or stat[0] == "Z" else int(stat[19])


def _state(pid: int) -> str | None:
    stat = _stat(pid)
    return stat[0] if stat else None


def _stat(pid: int) -> list[str] | None:
    """Return the fields of proc_pid_stat(5) from the third on; nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
