"""Which cloud `status`, `top` and `health` look at: their common options, and the source that follows from them."""

from __future__ import annotations

import functools
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from moln import profiles
from moln.connection import DEFAULT_PROFILE
from moln.errors import CliError, Exit
from moln.watching.assess import FULL_PERCENT
from moln.watching.kubernetes import Kubectl, KubernetesCloud, only_cloud
from moln.watching.local import LocalCloud

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln.watching.snapshot import Source


def with_source(command: Callable[..., int | None], *, unsure: Exit | None = None) -> Callable[..., int | None]:
    """Add an argument and options that say which cloud, and give the command a Source instead, closed when it ends.

    Where nothing can be said of the cloud the exit code is `unsure`, if given, whatever the reason.
    """
    return click.argument("cloud", required=False)(_options(command, unsure))


def source_options(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """As `with_source`, for a command whose argument is something else: the cloud is an option too."""
    named = click.option("--cloud", metavar="NAME", help="The Cloud on Kubernetes; by default the only one there is.")
    return named(_options(command, None))


def _options(command: Callable[..., int | None], unsure: Exit | None) -> Callable[..., int | None]:
    @click.option("-n", "--namespace", help="Namespace of the Cloud; by default kubectl's.")
    @click.option("--context", metavar="NAME", help="Context of kubectl's configuration.")
    @click.option("--profile", metavar="NAME", help="Look at the cloud of this profile, as `moln dev` writes it.")
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> int | None:
        names = ("cloud", "namespace", "context", "profile")
        try:
            with closing(choose(**{name: kwargs.pop(name) for name in names})) as source:
                return command(source, *args, **kwargs)
        except CliError as error:
            raise CliError(str(error), unsure or error.code) from error

    return wrapped


full_option = click.option(
    "--full",
    type=click.IntRange(1, 100),
    default=FULL_PERCENT,
    show_default=True,
    metavar="PERCENT",
    help="From which use on a volume is worth a look.",
)


def choose(cloud: str | None, namespace: str | None, context: str | None, profile: str | None) -> Source:
    """The profile or the Cloud that is named; else the `moln dev` that runs here, else the only Cloud on Kubernetes."""
    on_kubernetes = any((cloud, namespace, context))
    if profile is not None and on_kubernetes:
        raise CliError("a profile is no Cloud on Kubernetes: give --profile, or the Cloud's name", Exit.USAGE)
    if not on_kubernetes:
        local = _local(profile or os.environ.get("MOLN_PROFILE") or DEFAULT_PROFILE, needed=profile is not None)
        if local is not None:
            return local
    kubectl = Kubectl(namespace, context)
    return KubernetesCloud(kubectl, cloud or only_cloud(kubectl))


def _local(name: str, *, needed: bool) -> LocalCloud | None:
    found = profiles.load(name)
    if found is None or found.peer is None or found.cloud_secret_file is None:
        if needed:
            raise CliError(f"the profile {name!r} leads to no node: `moln dev` writes one that does", Exit.USAGE)
        return None
    return LocalCloud(name, found.endpoint, found.peer, found.cloud_secret_file)
