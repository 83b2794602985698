"""StorageNode: a pool of equal storage nodes of one Cloud."""

from typing import Final, Literal

from pydantic import ConfigDict, Field

from moln_spec.classes import ClassName
from moln_spec.model import Document
from moln_spec.resources.cloud import NodeCount
from moln_spec.resources.meta import IMMUTABLE, ApiVersion, Condition, ObjectMeta, ObjectName, Rule, rules
from moln_spec.resources.pool import Pool

POOL_NAME: Final = Rule(
    "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "a pool's name becomes part of DNS names: at most 40 characters, lower-case letters, digits and hyphens, "
    "a letter first",
)


class CloudRef(Document):
    """The Cloud that this belongs to, in the same namespace."""

    name: ObjectName = Field(description="The Cloud's name.")


class StorageNodeSpec(Pool):
    """What a user asks for."""

    cloud_ref: CloudRef = Field(
        description="The Cloud whose pool this is.",
        json_schema_extra=rules(
            Rule(IMMUTABLE, "a pool stays with its cloud; write a new StorageNode for the other cloud")
        ),
    )
    storage_classes: tuple[ClassName, ...] = Field(
        (),
        max_length=32,
        description="Storage classes whose bytes this pool keeps; empty: all of them. Records of other objects live "
        "here too, unless ReplicationPolicies name pools.",
    )


class StorageNodeStatus(Document):
    """What the operator has checked."""

    observed_generation: int = Field(0, description="The generation of the spec that this status speaks of.")
    conditions: tuple[Condition, ...] = Field(
        (),
        description="Ready, Accepted and ScaleDownBlocked, each with a reason and a message.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    nodes: NodeCount = Field(NodeCount(), description="How many nodes there are.")
    selector: str = Field("", description="Label selector of the pool's pods, for /scale.")


class StorageNode(Document):
    """A pool of equal storage nodes of one Cloud. The pool named like the Cloud is written by the operator."""

    model_config = ConfigDict(json_schema_extra=rules(POOL_NAME))

    api_version: ApiVersion = "moln.dev/v1alpha1"
    kind: Literal["StorageNode"] = "StorageNode"
    metadata: ObjectMeta
    spec: StorageNodeSpec = Field(description="What is asked for.")
    status: StorageNodeStatus = Field(StorageNodeStatus(), description="What is so.")
