"""`moln-operator`, also `python -m moln_operator run`: the operator of moln."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from moln_operator import logs
from moln_operator.settings import EVERY_NAMESPACE, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags, which win, and environment variables `MOLN_OPERATOR_<FLAG>`."""
    parser = argparse.ArgumentParser(prog="moln-operator", description="Runs storage clouds on Kubernetes.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="look after the Clouds of this cluster until stopped")

    def given(flag: str, default: str | None = None) -> str | None:
        return environment.get("MOLN_OPERATOR_" + flag.replace("-", "_").upper(), default)

    run.add_argument("--image", default=given("image"), required=given("image") is None, help="image of the nodes")
    run.add_argument("--image-pull-policy", default=given("image-pull-policy", "IfNotPresent"))
    run.add_argument("--image-pull-secrets", default=given("image-pull-secrets", ""), help="names, separated by commas")
    run.add_argument("--namespaces", default=given("namespaces", ""), help="separated by commas; empty: every one")
    run.add_argument("--class", dest="operator_class", default=given("class", ""), help="only Clouds annotated so")
    run.add_argument("--operator-namespace", default=given("operator-namespace", "moln-system"))
    run.add_argument("--identity", default=given("identity", socket.gethostname()))
    run.add_argument("--listen", default=given("listen", "0.0.0.0:8080"), help="HOST:PORT of health and metrics")
    run.add_argument("--leader-elect", action="store_true", default=given("leader-elect") == "true")
    run.add_argument("--first-cloud", type=Path, default=given("first-cloud"), help="file with a Cloud to write (JSON)")
    run.add_argument("--workers", type=int, default=given("workers", "8"))
    run.add_argument("--poll-seconds", type=float, default=given("poll-seconds", "15"))
    run.add_argument("--log-format", choices=("json", "text"), default=given("log-format", "json"))
    run.add_argument("--page", choices=("on", "off"), default=given("page", "on"), help="whether `/` shows every Cloud")
    options = parser.parse_args(arguments)
    host, _, port = options.listen.rpartition(":")
    if not port.isdigit():
        parser.error(f"--listen {options.listen!r} is not HOST:PORT")
    return Settings(
        image=options.image,
        image_pull_policy=options.image_pull_policy,
        image_pull_secrets=_names(options.image_pull_secrets),
        namespaces=_names(options.namespaces) or (EVERY_NAMESPACE,),
        operator_class=options.operator_class,
        operator_namespace=options.operator_namespace,
        identity=options.identity,
        listen_host=host or "0.0.0.0",  # noqa: S104 (probes come from outside the pod)
        listen_port=int(port),
        leader_election=options.leader_elect,
        first_cloud=options.first_cloud,
        workers=options.workers,
        poll_seconds=options.poll_seconds,
        log_format=options.log_format,
        page=options.page == "on",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main() -> int:
    """Run the operator; 0 after it was told to stop."""
    settings = parse(sys.argv[1:], os.environ)
    logs.set_up(settings.log_format)
    from moln_operator.run import run  # noqa: PLC0415 (--help and a wrong flag answer at once)

    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
