"""`make bench`: the same load on moln and on others, on one disk, alternating cell by cell in one run.

Prints a table of medians over the rounds, and the ratio to each other server; `--json FILE` keeps every figure.
`--other` holds two builds of moln side by side: what a change is worth shows in `cpu s/k` even where the machine is
busy. With `--nodes N` each server runs as N nodes and requests go to all of them in turn. `between` is the bytes that
go over the loopback for each byte of the objects, beside that byte itself: what nodes send each other, and all
headers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import servers

KIB, MIB = 1024, 1024 * 1024
_FEWER = 1000


@dataclass(frozen=True)
class Cell:
    """One row of the table: a kind of load, the size of its objects, and how many are prepared for it."""

    name: str
    load: str
    size: int
    objects: int
    unit: str = "per_second"


CELLS = (
    Cell("put 4 KiB", "put", 4 * KIB, 0),
    Cell("get 4 KiB", "get", 4 * KIB, 10_000),
    Cell("list 10,000 (keys)", "list", 4 * KIB, 10_000),
    Cell("delete 4 KiB", "delete", 4 * KIB, 10_000),
    Cell("put 128 KiB", "put", 128 * KIB, 0),
    Cell("get 128 KiB", "get", 128 * KIB, 500),
    Cell("mix 64 KiB", "mix", 64 * KIB, 500),
    Cell("put 64 MiB (MiB/s)", "put", 64 * MIB, 0, "mib_per_second"),
    Cell("get 64 MiB (MiB/s)", "get", 64 * MIB, 8, "mib_per_second"),
)


def _fewer(cell: Cell) -> Cell:
    """The cell with fewer objects to prepare: each costs several nodes on the same cores."""
    name = cell.name.replace("10,000", f"{_FEWER:,}")
    return replace(cell, name=name, objects=min(cell.objects, _FEWER))


def one(load: Path, server: servers.Server, cell: str, size: int, objects: int, seconds: float) -> dict[str, Any]:
    """Run the load once; its figures, with the server's CPU seconds per 1,000 operations."""
    environment = os.environ | {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    before, wire = server.cpu_seconds(), _loopback_bytes()
    run = subprocess.run(
        [load, "-endpoint", server.endpoint, "-cell", cell, "-size", str(size), "-objects", str(max(objects, 1)),
         "-duration", f"{seconds}s"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(run.stdout)
    if figures["errors"]:
        print(f"  {server.name}: {figures['errors']} errors, the first: {figures['first_error']}")
    figures["cpu_per_1000"] = 1000 * (server.cpu_seconds() - before) / max(figures["operations"], 1)
    moved = 0 if cell in ("list", "delete") else figures["operations"] * size
    figures["between"] = max(0.0, (_loopback_bytes() - wire - moved) / moved) if moved else 0.0
    return figures


def _loopback_bytes() -> int:
    """What was sent over the loopback so far, by anybody."""
    return int(Path("/sys/class/net/lo/statistics/tx_bytes").read_text())


def table(results: dict[Cell, dict[str, list[dict[str, Any]]]], names: list[str]) -> None:
    """Print medians, and moln's ratio to each of the others."""
    heads = (f"{n + ' /s':>14}{'p50 ms':>9}{'p99 ms':>9}{'cpu s/k':>9}{'between':>9}" for n in names)
    print(f"\n{'':20}" + "".join(heads), end="")
    print("".join(f"{'x ' + n:>12}" for n in names[1:]))
    for cell, rows in results.items():
        line, rates = f"{cell.name:20}", []
        for name in names:
            median = {
                key: statistics.median(figures[key] for figures in rows[name])
                for key in (cell.unit, "p50_ms", "p99_ms", "cpu_per_1000", "between")
            }
            rates.append(median[cell.unit])
            line += f"{median[cell.unit]:14,.0f}{median['p50_ms']:9.1f}{median['p99_ms']:9.1f}"
            line += f"{median['cpu_per_1000']:9.2f}{median['between']:9.2f}"
        print(line + "".join(f"{rates[0] / rate:12.2f}" if rate else f"{'-':>12}" for rate in rates[1:]))


def main() -> None:
    """Parse arguments, start the servers, run the rounds, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", help="default: all; of several nodes those that can be several")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--other", type=Path, help="the command `moln` of another build, held beside this one alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--cells", default="", help="only cells whose name contains this")
    parser.add_argument("--data", type=Path, help="folder on the disk to measure")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    everyone = "moln,minio,versitygw" if arguments.nodes == 1 else ",".join(servers.OF_MANY)
    if arguments.other:
        everyone = f"moln,{servers.OTHER}"
    names = (arguments.servers or everyone).split(",")
    cells = [cell for cell in (CELLS if arguments.nodes == 1 else map(_fewer, CELLS)) if arguments.cells in cell.name]
    load = servers.load_generator()
    results: dict[Cell, dict[str, list[dict[str, Any]]]] = {cell: {name: [] for name in names} for cell in cells}
    with tempfile.TemporaryDirectory(prefix="moln-bench-", dir=arguments.data) as folder:
        running: list[servers.Server] = []
        try:
            for name in names:
                running.append(servers.start(name, Path(folder) / name, arguments.nodes, arguments.other))
                print(f"{name}: {running[-1].durability}; {running[-1].memory_mib('VmRSS'):.0f} MiB idle")
            for number in range(1, arguments.rounds + 1):
                for cell in cells:
                    for server in running:
                        if cell.objects:
                            one(load, server, "prepare", cell.size, cell.objects, 0)
                        figures = one(load, server, cell.load, cell.size, cell.objects, arguments.seconds)
                        results[cell][server.name].append(figures)
                        print(
                            f"round {number}: {cell.name:20} {server.name:10} {figures[cell.unit]:12,.0f}", flush=True
                        )
            table(results, names)
            print("peak memory: " + ", ".join(f"{s.name} {s.memory_mib('VmHWM'):.0f} MiB" for s in running))
        finally:
            for server in running:
                server.stop()
    if arguments.json:
        arguments.json.write_text(json.dumps({cell.name: rows for cell, rows in results.items()}, indent=1))


if __name__ == "__main__":
    main()
