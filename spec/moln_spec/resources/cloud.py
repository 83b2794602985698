"""Cloud: the resource that a user writes to get a storage cloud."""

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from moln_spec.classes import AssignmentRule, StorageClass
from moln_spec.cloudmap import Limits
from moln_spec.credentials import Role
from moln_spec.model import Document
from moln_spec.resources.meta import ApiVersion, Condition, ObjectMeta, ObjectName, Rule, rules
from moln_spec.resources.pool import Pool

LONGEST_NAME: Final = 40

NAME: Final = Rule(
    f"self.metadata.name.size() <= {LONGEST_NAME} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    f"a cloud's name becomes a DNS name: at most {LONGEST_NAME} characters, lower-case letters, digits and hyphens, "
    "a letter first",
)
ONE_DEFAULT: Final = Rule(
    "self.storageClasses.filter(c, c.default).size() <= 1",
    "two storage classes have default: true; keep it on one",
)
SOME_DEFAULT: Final = Rule(
    "self.storageClasses.size() == 1 || self.storageClasses.exists(c, c.default)",
    "no storage class is the default; set default: true on the one for objects that no header and no rule assigns",
)
RULES_NAME_CLASSES: Final = Rule(
    "self.assignmentRules.all(r, !has(r.storageClass) || self.storageClasses.exists(c, c.name == r.storageClass))",
    "an assignment rule names a storage class that storageClasses does not have; add the class or correct the rule",
)
RULES_DECIDE: Final = Rule(
    "self.assignmentRules.all(r, has(r.storageClass) || has(r.pool))",
    "an assignment rule decides nothing; give it a storageClass, a pool or both",
)
RULES_CAN_MATCH: Final = Rule(
    "self.assignmentRules.all(r, !has(r.match.minSize) || !has(r.match.maxSize) || r.match.minSize <= r.match.maxSize)",
    "an assignment rule has minSize above maxSize, so it can never match; swap them",
)
DISTINCT_KEYS: Final = Rule(
    "self.accessKeys.all(k, self.accessKeys.exists_one(other, other.secretName == k.secretName))",
    "two accessKeys have the same secretName; each key has a Secret of its own",
)
POOL_STAYS: Final = Rule(
    "has(self.nodes) || !has(oldSelf.nodes)",
    "spec.nodes can't be removed: its volumes hold data; to move the data elsewhere, add a StorageNode first",
)


PORT_NEEDS_TYPE: Final = Rule(
    "!has(self.nodePort) || self.type != 'ClusterIP'",
    "nodePort needs type: NodePort or LoadBalancer",
)


class Service(Document):
    """How clients reach the S3 endpoint."""

    model_config = ConfigDict(json_schema_extra=rules(PORT_NEEDS_TYPE))

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        "ClusterIP", description="Kubernetes Service type: within the cluster, on every machine, or a load balancer."
    )
    port: int = Field(9000, ge=1, le=65535, description="Port of the Service.")
    node_port: int | None = Field(
        None, ge=1, le=65535, description="With NodePort or LoadBalancer: this port; absent: a free one."
    )
    annotations: dict[str, str] = Field({}, max_length=64, description="Annotations of the Service.")

    @model_validator(mode="after")
    def _port_fits_type(self) -> Self:
        if self.node_port is not None and self.type == "ClusterIP":
            raise ValueError(PORT_NEEDS_TYPE.message)
        return self


class Logs(Document):
    """What the nodes write to their logs. A change restarts them, one at a time."""

    access: bool = Field(default=True, description="A line for every S3 request.")
    slow_seconds: int = Field(
        5,
        ge=0,
        le=3600,
        description="S3 requests that take longer are told also without access log, long transfers apart; 0: none.",
    )


class Tracing(Document):
    """Traces of requests, for an OpenTelemetry collector. A change restarts the nodes, one at a time."""

    endpoint: str = Field(
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        max_length=512,
        description="Where the collector takes OTLP over HTTP, without `/v1/traces`: `http://collector.tracing:4318`.",
    )
    sample_percent: float = Field(
        100,
        ge=0,
        le=100,
        description="Of requests that come without a trace of the client's, so many are traced. Where a client brings "
        "one, it has decided.",
    )


class Tls(Document):
    """TLS at the nodes themselves: the S3 endpoint then speaks https and nothing else."""

    secret_name: ObjectName = Field(
        description="Secret (kubernetes.io/tls) with the certificate, for `<cloud>.<namespace>.svc` and other names "
        "that clients use. With cert-manager, the Secret that its Certificate writes. Renewed without a restart."
    )


class Ingress(Document):
    """An Ingress in front of the S3 endpoint."""

    host: str = Field(
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253, description="DNS name of the endpoint."
    )
    class_name: ObjectName | None = Field(None, description="IngressClass; absent: the cluster's default.")
    tls_secret_name: ObjectName | None = Field(
        None,
        description="Secret (kubernetes.io/tls) with the certificate of `host`. With cert-manager, name the "
        "Secret that it shall write, and add the annotation cert-manager.io/issuer or cert-manager.io/cluster-issuer.",
    )
    annotations: dict[str, str] = Field({}, max_length=64, description="Annotations of the Ingress.")


class KeyRef(Document):
    """A further access key: a Secret that holds it, and what it may do."""

    secret_name: ObjectName = Field(
        description="Secret with the keys `access_key` and `secret_key`. It is yours: the operator only reads it."
    )
    owner: str = Field(
        "",
        max_length=128,
        description="Who the key acts as. Keys with the same owner share their buckets; empty: the Secret's name.",
    )
    role: Role = Field(
        "read-write", description="`admin` may do everything; the others act within their owner's buckets."
    )
    buckets: tuple[Annotated[str, Field(max_length=253)], ...] = Field(
        (), max_length=64, description="Only these buckets (names or globs); empty: every bucket of the owner."
    )
    prefixes: tuple[Annotated[str, Field(max_length=1024)], ...] = Field(
        (), max_length=64, description="Only keys that begin with one of these; empty: every key."
    )


class CloudSpec(Document):
    """What a user asks for."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ONE_DEFAULT, SOME_DEFAULT, RULES_NAME_CLASSES, RULES_DECIDE, RULES_CAN_MATCH, DISTINCT_KEYS, POOL_STAYS
        )
    )

    nodes: Pool | None = Field(
        None, description="The default pool of storage nodes; absent: the cloud has only the pools of its StorageNodes."
    )
    storage_classes: tuple[StorageClass, ...] = Field(
        (StorageClass(name="STANDARD", default=True),),
        min_length=1,
        max_length=32,
        description="Named ways of keeping bytes. Exactly one is the default.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    assignment_rules: tuple[AssignmentRule, ...] = Field(
        (),
        max_length=100,
        description="Which object gets which storage class or pool: the first rule that matches decides.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    limits: Limits = Field(Limits(), description="Bounds on what each node takes.")
    service: Service = Field(Service(), description="How clients reach the S3 endpoint.")
    tls: Tls | None = Field(
        None, description="TLS at the nodes, and mutual TLS between them; absent: plain HTTP within the cluster."
    )
    ingress: Ingress | None = Field(None, description="An Ingress in front of the endpoint, optionally with TLS.")
    trust_forwarded: bool = Field(
        default=False,
        description="Nodes believe X-Forwarded-Host, -Proto and -For. Set it only where every client comes through a "
        "proxy that sets them, such as the Ingress: any other client could claim them.",
    )
    logs: Logs = Field(Logs(), description="What the nodes write to their logs.")
    tracing: Tracing | None = Field(None, description="Traces of requests; absent: none.")
    domains: tuple[Annotated[str, Field(max_length=253)], ...] = Field(
        (), max_length=16, description="Names under which `BUCKET.NAME` is a bucket's virtual host."
    )
    root_secret_name: ObjectName | None = Field(
        None,
        description="Secret with `access_key` and `secret_key` of the cloud's administrator; absent: `<cloud>-root`. "
        "It is generated when it does not exist, never overwritten, and survives the Cloud.",
    )
    access_keys: tuple[KeyRef, ...] = Field(
        (),
        max_length=100,
        description="Further access keys, each in a Secret of its own.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["secretName"]},
    )
    key_grace_seconds: int = Field(
        300,
        ge=0,
        le=604800,
        description="How long an access key that was replaced or removed still works; 0: not a moment.",
    )
    image: str | None = Field(
        None, min_length=1, max_length=512, description="Container image of the nodes; absent: the operator's own."
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain",
        description="What becomes of the data when the Cloud is deleted. `Retain` keeps the volumes, the keys and the "
        "map, and a Cloud of the same name takes them up again; `Delete` deletes them all.",
    )
    paused: bool = Field(
        default=False, description="The operator changes nothing while this is true; it still reports."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """The rules that CEL checks, for YAML that never passes an API server."""
        classes = [storage_class.name for storage_class in self.storage_classes]
        sizes = [(rule.match.min_size, rule.match.max_size) for rule in self.assignment_rules]
        broken = {
            ONE_DEFAULT: sum(storage_class.default for storage_class in self.storage_classes) > 1,
            SOME_DEFAULT: len(classes) > 1 and not any(storage_class.default for storage_class in self.storage_classes),
            RULES_NAME_CLASSES: any(rule.storage_class not in (None, *classes) for rule in self.assignment_rules),
            RULES_DECIDE: any(rule.storage_class is None and rule.pool is None for rule in self.assignment_rules),
            RULES_CAN_MATCH: any(low is not None and high is not None and low > high for low, high in sizes),
            DISTINCT_KEYS: len({key.secret_name for key in self.access_keys}) < len(self.access_keys),
        }
        if len(set(classes)) < len(classes):
            raise ValueError("two storage classes have the same name; each name is used once")
        for rule, is_broken in broken.items():
            if is_broken:
                raise ValueError(rule.message)
        return self


class NodeCount(Document):
    """How many nodes there are."""

    desired: int = Field(0, description="Nodes that the spec asks for.")
    current: int = Field(0, description="Pods that exist.")
    ready: int = Field(0, description="Nodes that answer and say that they are ready.")
    summary: str = Field("", description="`ready/desired`, for the table.")


class MapStatus(Document):
    """How far the cloud map has reached."""

    epoch: int = Field(0, description="Epoch of the newest map.")
    acknowledged: int = Field(0, description="The epoch that every node has; 0 while a node has not answered.")


class Usage(Document):
    """What the nodes say they hold, to three digits."""

    capacity: str = Field("", description="Size of all volumes.")
    used: str = Field("", description="Bytes used on all volumes.")
    used_percent: int = Field(0, description="Used as a share of the capacity.")
    objects: int = Field(0, description="Objects, as the nodes count them.")


class OnlyNode(Document):
    """The node that alone has what the cloud holds; empty where several have it."""

    name: str = Field("", description="Its pod, which no drain may take.")
    advice: str = Field("", description="What to do when its machine shall be drained.")


class CloudStatus(Document):
    """What the operator has checked."""

    observed_generation: int = Field(0, description="The generation of the spec that this status speaks of.")
    conditions: tuple[Condition, ...] = Field(
        (),
        description="Ready, Progressing, Degraded, Accepted, ScaleDownBlocked and Paused, with reason and message.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    endpoint: str = Field("", description="URL of the S3 endpoint within the cluster.")
    external_endpoint: str = Field("", description="URL of the S3 endpoint outside the cluster, where there is one.")
    root_secret_name: str = Field("", description="Secret with the administrator's access key.")
    nodes: NodeCount = Field(NodeCount(), description="How many nodes there are.")
    map: MapStatus = Field(MapStatus(), description="How far the cloud map has reached.")
    usage: Usage = Field(Usage(), description="What the nodes hold.")
    only_node: OnlyNode = Field(OnlyNode(), description="The one node without which the cloud stops, if there is one.")
    selector: str = Field("", description="Label selector of the nodes' pods, for /scale.")


class Cloud(Document):
    """A storage cloud: S3 on machines you own."""

    model_config = ConfigDict(json_schema_extra=rules(NAME))

    api_version: ApiVersion = "moln.dev/v1alpha1"
    kind: Literal["Cloud"] = "Cloud"
    metadata: ObjectMeta
    spec: CloudSpec = Field(CloudSpec(), description="What is asked for.")
    status: CloudStatus = Field(CloudStatus(), description="What is so.")

    @property
    def root_secret_name(self) -> str:
        """The Secret with the administrator's access key."""
        return self.spec.root_secret_name or f"{self.metadata.name}-root"
