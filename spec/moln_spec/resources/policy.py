"""ReplicationPolicy: how many copies of which objects, and when a write or read counts as done."""

from typing import Annotated, Literal

from pydantic import Field

from moln_spec.classes import ClassName
from moln_spec.model import Document
from moln_spec.resources.meta import IMMUTABLE, ApiVersion, Condition, ObjectMeta, Rule, rules
from moln_spec.resources.storagenode import CloudRef


class Selector(Document):
    """Which objects a policy speaks of: every given field must match; empty: every object."""

    buckets: tuple[Annotated[str, Field(max_length=253)], ...] = Field(
        (), max_length=64, description="Bucket names or globs; any of them."
    )
    prefixes: tuple[Annotated[str, Field(max_length=1024)], ...] = Field(
        (), max_length=64, description="The key begins with one of these."
    )
    storage_classes: tuple[ClassName, ...] = Field(
        (),
        max_length=32,
        description="The object's class is one of these. Such a policy speaks of bytes alone: their records have the "
        "copies that a policy without classes gives, which must be as many.",
    )


class ReplicationPolicySpec(Document):
    """What a user asks for."""

    cloud_ref: CloudRef = Field(
        description="The Cloud that obeys this policy.",
        json_schema_extra=rules(Rule(IMMUTABLE, "a policy stays with its cloud; write a new one for the other cloud")),
    )
    selector: Selector = Field(
        Selector(),
        description="Which objects; empty: every object. The most specific policy wins, then the first name.",
    )
    copies: int = Field(
        3,
        ge=1,
        le=9,
        description="Copies of each object, each on another node. More than the cloud has nodes: as many as there are.",
    )
    pools: tuple[Annotated[str, Field(max_length=253)], ...] = Field(
        (),
        max_length=50,
        description="Pools whose nodes hold the copies; empty: every pool. Bytes of a storage class that names pools "
        "itself live there, and their records here.",
    )
    write: Literal["one", "majority", "all"] = Field(
        "majority", description="How many copies are on disk before a write is acknowledged."
    )
    read: Literal["one", "majority"] = Field(
        "majority", description="How many copies are asked for the newest version."
    )
    spread: Literal["zone", "node"] = Field("zone", description="Copies are spread over zones, or only over nodes.")


class ReplicationPolicyStatus(Document):
    """What the operator has checked."""

    observed_generation: int = Field(0, description="The generation of the spec that this status speaks of.")
    conditions: tuple[Condition, ...] = Field(
        (),
        description="Accepted: whether the cloud obeys the policy, and if not, why.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class ReplicationPolicy(Document):
    """How many copies of which objects a Cloud keeps, and when a write or read counts as done."""

    api_version: ApiVersion = "moln.dev/v1alpha1"
    kind: Literal["ReplicationPolicy"] = "ReplicationPolicy"
    metadata: ObjectMeta
    spec: ReplicationPolicySpec = Field(description="What is asked for.")
    status: ReplicationPolicyStatus = Field(ReplicationPolicyStatus(), description="What is so.")
