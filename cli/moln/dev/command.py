"""The command line of `moln dev`."""

from __future__ import annotations

from pathlib import Path

import click

from moln.connection import DEFAULT_PROFILE
from moln.errors import CliError, Exit

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("cloud_yaml", type=_FILE)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Keep data and keys here.")
@click.option("--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="Port of S3; 0: any.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes of the default pool, whatever the YAML asks for.")
@click.option("--ready-file", type=_FILE, help="Written with endpoint, keys and process ids once it serves.")
@click.option("--access-keys", type=_FILE, help="JSON list of further access keys.")
@click.option("--master-key", "master_keys", multiple=True, metavar="ID", help="A further master key; for SSE-KMS.")
@click.option(
    "--profile", default=DEFAULT_PROFILE, show_default=True, help="Name of the profile it writes while it runs."
)
@click.option("-v", "--verbose", is_flag=True, help="Show the nodes' logs.")
def dev(
    cloud_yaml: Path,
    data: Path | None,
    port: int,
    nodes: int | None,
    ready_file: Path | None,
    access_keys: Path | None,
    master_keys: tuple[str, ...],
    profile: str,
    verbose: bool,  # noqa: FBT001 (click passes flags so)
) -> None:
    """Run the cloud in CLOUD_YAML on this machine, without Kubernetes, until Ctrl-C.

    Without --data, everything is in a temporary folder that goes when it ends. Edits of storage classes, rules, limits
    and replicas in the YAML take effect while it runs.
    """
    from moln.dev import accesskeys, run  # noqa: PLC0415 (help is shown without them)
    from moln_spec.resources.pool import NODES_PER_CLOUD  # noqa: PLC0415 (as above)

    if nodes is not None and nodes > NODES_PER_CLOUD:
        raise CliError(f"a cloud has at most {NODES_PER_CLOUD} nodes, and --nodes asks for {nodes}", Exit.USAGE)
    options = run.Options(
        yaml=cloud_yaml,
        data=data.absolute() if data is not None else None,
        port=port,
        nodes=nodes,
        ready_file=ready_file.absolute() if ready_file is not None else None,
        access_keys=accesskeys.read(access_keys) if access_keys is not None else (),
        master_keys=master_keys,
        profile=profile,
        verbose=verbose,
    )
    run.run(options)
