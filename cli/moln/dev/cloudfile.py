"""The YAML of `moln dev`: one Cloud, and the StorageNodes and ReplicationPolicies beside it. `parse` is pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from moln.errors import CliError, Exit
from moln_spec.mapmaking import UnusableCloudError, make_map
from moln_spec.resources.cloud import Cloud
from moln_spec.resources.policy import ReplicationPolicy
from moln_spec.resources.storagenode import StorageNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from moln_spec.cloudmap import CloudMap
    from moln_spec.membership import Report, Seat, Step

Resource = Cloud | StorageNode | ReplicationPolicy
_KINDS: dict[str, type[Resource]] = {
    "Cloud": Cloud,
    "StorageNode": StorageNode,
    "ReplicationPolicy": ReplicationPolicy,
}


@dataclass(frozen=True, slots=True)
class CloudFile:
    """What a user wrote."""

    cloud: Cloud
    storage_nodes: tuple[StorageNode, ...]
    policies: tuple[ReplicationPolicy, ...]

    @property
    def pools(self) -> tuple[tuple[str, int], ...]:
        """Each pool and how many nodes it asks for; the default pool has the cloud's name."""
        pools = [(pool.metadata.name, pool.spec.replicas) for pool in self.storage_nodes]
        if self.cloud.spec.nodes is not None:
            pools.insert(0, (self.cloud.metadata.name, self.cloud.spec.nodes.replicas))
        return tuple(pools)

    def with_nodes(self, count: int) -> CloudFile:
        """The same cloud with so many nodes in its default pool, as `--nodes` asks; CliError if it has none."""
        if self.cloud.spec.nodes is None:
            raise CliError("--nodes counts the default pool, and the Cloud has no spec.nodes", Exit.USAGE)
        nodes = self.cloud.spec.nodes.model_copy(update={"replicas": count})
        spec = self.cloud.spec.model_copy(update={"nodes": nodes})
        return CloudFile(self.cloud.model_copy(update={"spec": spec}), self.storage_nodes, self.policies)

    def next_step(
        self, seats: Sequence[Seat], previous: CloudMap | None, identity: str, reports: Mapping[str, Report]
    ) -> Step:
        """The map that follows `previous`, and what the next one waits for; CliError if the resources contradict."""
        try:
            return make_map(
                self.cloud, self.storage_nodes, self.policies, seats, previous, identity=identity, reports=reports
            )
        except UnusableCloudError as error:
            raise CliError(str(error), Exit.USAGE) from error


def read(path: Path) -> str:
    """The text of a YAML file; CliError if it cannot be had."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}", Exit.USAGE) from error
    except UnicodeDecodeError as error:
        raise CliError(f"cannot read {path}: it is not UTF-8", Exit.USAGE) from error


def parse(text: str, name: str) -> CloudFile:
    """The resources in YAML text; `name` is what errors call it."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise CliError(f"{name} is not YAML: {' '.join(str(error).split())}", Exit.USAGE) from error
    resources = [_resource(document, f"{name}, document {number}") for number, document in enumerate(documents, 1)]
    clouds = [resource for resource in resources if isinstance(resource, Cloud)]
    if len(clouds) != 1:
        raise CliError(f"{name} has {len(clouds)} resources of kind Cloud; `moln dev` runs exactly one", Exit.USAGE)
    cloud = clouds[0].metadata.name
    pools = tuple(resource for resource in resources if isinstance(resource, StorageNode))
    policies = tuple(resource for resource in resources if isinstance(resource, ReplicationPolicy))
    attached: tuple[StorageNode | ReplicationPolicy, ...] = (*pools, *policies)
    for resource in attached:
        if resource.spec.cloud_ref.name != cloud:
            raise CliError(
                f"{name}: {resource.kind} {resource.metadata.name} belongs to cloud {resource.spec.cloud_ref.name}, "
                f"and the cloud here is {cloud}",
                Exit.USAGE,
            )
    return CloudFile(clouds[0], pools, policies)


def _resource(document: Any, place: str) -> Resource:
    """One resource of a kind that this release knows."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise CliError(f"{place}: kind is {kind!r}; `moln dev` takes {known}", Exit.USAGE)
    try:
        return _KINDS[kind].model_validate(document)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or kind}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_context=False)
        ]
        raise CliError(f"{place}: {'; '.join(problems)}", Exit.USAGE) from None
