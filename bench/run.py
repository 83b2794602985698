"""`make bench`: the same load on moln and on others, on one disk, alternating cell by cell in one run.

Prints a table of medians over the rounds, and the ratio to each other server; `--json FILE` keeps every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import servers

KIB, MIB = 1024, 1024 * 1024


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


def one(load: Path, server: servers.Server, cell: str, size: int, objects: int, seconds: float) -> dict[str, Any]:
    """Run the load once; its figures, with the server's CPU seconds per 1,000 operations."""
    environment = os.environ | {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    before = server.cpu_seconds()
    run = subprocess.run(
        [load, "-endpoint", server.endpoint, "-cell", cell, "-size", str(size), "-objects", str(max(objects, 1)),
         "-duration", f"{seconds}s"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(run.stdout)
    if figures["errors"]:
        print(f"  {server.name}: {figures['errors']} errors, the first: {figures['first_error']}")
    figures["cpu_per_1000"] = 1000 * (server.cpu_seconds() - before) / max(figures["operations"], 1)
    return figures


def table(results: dict[Cell, dict[str, list[dict[str, Any]]]], names: list[str]) -> None:
    """Print medians, and moln's ratio to each of the others."""
    print(f"\n{'':20}" + "".join(f"{n + ' /s':>14}{'p50 ms':>9}{'p99 ms':>9}{'cpu s/k':>9}" for n in names), end="")
    print("".join(f"{'x ' + n:>12}" for n in names[1:]))
    for cell, rows in results.items():
        line, rates = f"{cell.name:20}", []
        for name in names:
            median = {
                key: statistics.median(figures[key] for figures in rows[name])
                for key in (cell.unit, "p50_ms", "p99_ms", "cpu_per_1000")
            }
            rates.append(median[cell.unit])
            line += (
                f"{median[cell.unit]:14,.0f}{median['p50_ms']:9.1f}{median['p99_ms']:9.1f}{median['cpu_per_1000']:9.2f}"
            )
        print(line + "".join(f"{rates[0] / rate:12.2f}" if rate else f"{'-':>12}" for rate in rates[1:]))


def main() -> None:
    """Parse arguments, start the servers, run the rounds, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", default="moln,minio,versitygw")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--cells", default="", help="only cells whose name contains this")
    parser.add_argument("--data", type=Path, help="folder on the disk to measure")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = arguments.servers.split(",")
    cells = [cell for cell in CELLS if arguments.cells in cell.name]
    load = servers.load_generator()
    results: dict[Cell, dict[str, list[dict[str, Any]]]] = {cell: {name: [] for name in names} for cell in cells}
    with tempfile.TemporaryDirectory(prefix="moln-bench-", dir=arguments.data) as folder:
        running: list[servers.Server] = []
        try:
            for name in names:
                running.append(servers.start(name, Path(folder) / name))
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
