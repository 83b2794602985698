"""What a pool of nodes is made of: shared by `Cloud.spec.nodes` (the default pool) and StorageNode."""

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, field_validator

from moln_spec.model import Document
from moln_spec.quantity import Quantity, Size, to_bytes
from moln_spec.resources.meta import ObjectName, Rule, rules

NODES_PER_CLOUD: Final = 50
"""The most storage nodes of one cloud, over all its pools."""

NOT_EMPTY: Final = Rule(
    "self >= 1",
    "a pool keeps at least one node, because scaling to 0 would take its data away; to empty a pool, delete its "
    "StorageNode; to stop the cloud, delete it (deletionPolicy: Retain keeps the volumes)",
)
NO_SHRINK: Final = Rule(
    "quantity(self).compareTo(quantity(oldSelf)) >= 0",
    "a volume can only grow; to use smaller ones, add a StorageNode with the smaller size and remove the old one",
)
SAME_STORAGE_CLASS: Final = Rule(
    "has(self.storageClassName) == has(oldSelf.storageClassName) && "
    "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
    "storageClassName is fixed; to move to other disks, add a StorageNode with the other class and remove this pool",
)
SMALLEST_VOLUME: Final = "64Mi"
BIG_ENOUGH: Final = Rule(
    f"isQuantity(self) && quantity(self).compareTo(quantity('{SMALLEST_VOLUME}')) >= 0",
    f"a volume has at least {SMALLEST_VOLUME}; write a size with its unit, such as 100Gi",
)


class Volume(Document):
    """The disk of each node of a pool."""

    model_config = ConfigDict(json_schema_extra=rules(SAME_STORAGE_CLASS))

    size: Size = Field(
        "10Gi",
        description="Size of each node's volume, such as `100Gi`. It may grow later, never shrink.",
        json_schema_extra=rules(BIG_ENOUGH, NO_SHRINK),
    )
    storage_class_name: ObjectName | None = Field(
        None, description="Kubernetes StorageClass of the volumes; absent: the cluster's default. Fixed once chosen."
    )

    @field_validator("size")
    @classmethod
    def _big_enough(cls, size: str) -> str:
        if to_bytes(size) < to_bytes(SMALLEST_VOLUME):
            raise ValueError(BIG_ENOUGH.message)
        return size


class Resources(Document):
    """Requests and limits of each node's container, as in any pod."""

    requests: dict[str, Quantity] = Field(
        {"cpu": "100m", "memory": "256Mi"}, max_length=16, description="What the scheduler reserves."
    )
    limits: dict[str, Quantity] = Field({}, max_length=16, description="What the container may use at most.")


class Toleration(Document):
    """A taint that the pool's pods tolerate, as in any pod."""

    key: str | None = Field(None, max_length=316, description="The taint's key; absent with `Exists`: every taint.")
    operator: str | None = Field(None, pattern="^(Exists|Equal)$", description="`Equal` (default) or `Exists`.")
    value: str | None = Field(None, max_length=63, description="The taint's value, with `Equal`.")
    effect: str | None = Field(
        None, pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$", description="The taint's effect; absent: every one."
    )
    toleration_seconds: int | None = Field(None, description="With `NoExecute`: how long the pod stays.")


class Pool(Document):
    """A number of equal nodes, each with a volume of its own."""

    replicas: int = Field(
        1,
        ge=0,
        le=NODES_PER_CLOUD,
        description="How many storage nodes the pool has. Nodes that come take over their share, nodes that go are "
        "emptied first, while the cloud serves.",
        json_schema_extra=rules(NOT_EMPTY),
    )
    volume: Volume = Field(Volume(), description="The disk of each node.")
    resources: Resources = Field(Resources(), description="Requests and limits of each node's container.")
    weight: float = Field(
        1.0, gt=0, le=1000, description="Share of the data that each node takes, relative to the nodes of other pools."
    )
    node_selector: dict[str, str] = Field(
        {}, max_length=32, description="Labels of the Kubernetes nodes that the pool may run on."
    )
    tolerations: tuple[Toleration, ...] = Field((), max_length=32, description="Taints that the pool's pods tolerate.")
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pool's pods.")
    lost_nodes: tuple[Annotated[str, Field(max_length=63)], ...] = Field(
        (),
        max_length=50,
        description="Your word that the disks of these nodes (such as photos-2) are gone for good, so that nobody "
        "waits for them; each joins anew with an empty disk. To say it of a node again, take it off the list first.",
    )

    @field_validator("replicas")
    @classmethod
    def _supported(cls, replicas: int) -> int:
        if replicas < 1:
            raise ValueError(NOT_EMPTY.message)
        return replicas


def kubernetes_resources(resources: Resources) -> dict[str, Any]:
    """`resources` as a container wants them."""
    return {
        name: dict(values)
        for name, values in (("requests", resources.requests), ("limits", resources.limits))
        if values
    }
