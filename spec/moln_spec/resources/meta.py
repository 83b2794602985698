"""What every resource has: metadata, conditions, and the way a rule is attached to its schema."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from moln_spec.model import Document

GROUP: Final = "moln.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
ApiVersion = Literal["moln.dev/v1alpha1"]

ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
"""The name of another object in the same namespace."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL rule, and the sentence a user reads when it refuses."""

    rule: str
    message: str


def rules(*given: Rule) -> dict[str, Any]:
    """The schema extension that makes the API server check `given` at this place."""
    return {"x-kubernetes-validations": [{"rule": rule.rule, "message": rule.message} for rule in given]}


IMMUTABLE: Final = "self == oldSelf"


class ObjectMeta(BaseModel):
    """The part of Kubernetes metadata that moln reads."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True, frozen=True
    )

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()


class Condition(Document):
    """One answer about the resource, as Kubernetes defines conditions."""

    type: str = Field(max_length=316)
    status: Literal["True", "False", "Unknown"]
    observed_generation: int = Field(0, description="The generation of the spec that this was decided from.")
    last_transition_time: str = Field("", description="When the status last changed.")
    reason: str = Field("", max_length=1024, description="One word for programs.")
    message: str = Field("", max_length=32768, description="A sentence for people: what is so, and what to do.")
