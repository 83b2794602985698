"""One cloud as it is: the values that `plan` and `report` decide from. Frozen, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moln_operator.observe.nodes import Answer
from moln_spec import peertls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_operator.kube.inventory import Known
    from moln_spec.cloudmap import CloudMap
    from moln_spec.credentials import Credentials, MasterKey
    from moln_spec.resources.cloud import Cloud
    from moln_spec.resources.policy import ReplicationPolicy
    from moln_spec.resources.storagenode import StorageNode


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An access key and its secret, as a Secret holds them."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClusterSecret:
    """What every node of a cloud shares: the secret of port 9001, and the cloud's identity.

    Attributes:
        wanted: the secret as the Secret has it, which nodes are to be brought to.
        identity: the cloud's.
        given: the secrets that nodes were given last: they send the first and accept all; empty before the first time.
    """

    wanted: str = field(repr=False)
    identity: str = ""
    given: tuple[str, ...] = field(default=(), repr=False)

    @property
    def secret(self) -> str:
        """The one that every node accepts."""
        return self.given[0] if self.given else self.wanted


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs the certificates of port 9001.

    Attributes:
        certificate: its own (PEM).
        key: its private key (PEM).
        begins: when the certificate begins to be valid, in seconds since 1970.
        ends: when it ends.
        version: resourceVersion of its Secret; empty where it has none yet.
    """

    certificate: str
    key: str = field(repr=False)
    begins: float
    ends: float
    version: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """What nodes speak TLS with on port 9001: `moln_spec.peertls` has the meaning of each file.

    Attributes:
        mode: how far nodes are on the way to TLS.
        trusted: the certificates of the authorities that nodes trust (PEM).
        certificate: the nodes' own (PEM).
        key: its private key (PEM).
        signed_by: which of `trusted` has signed it; empty where none has.
        names: the DNS names that it is good for.
        begins: when it begins to be valid, in seconds since 1970.
        ends: when it ends.
        version: resourceVersion of the Secret; empty where it has none yet.
    """

    mode: peertls.Mode
    trusted: tuple[str, ...]
    certificate: str
    key: str = field(repr=False)
    signed_by: str
    names: frozenset[str]
    begins: float
    ends: float
    version: str = field(default="", compare=False)

    @property
    def fingerprint(self) -> str:
        """By which a node says that it has read them."""
        return peertls.fingerprint(self.mode, "".join(self.trusted), self.certificate)


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that decisions about one cloud need.

    Attributes:
        cloud: the Cloud as its user wrote it.
        storage_nodes: the StorageNodes that refer to it, the default pool's included if it is there.
        policies: the ReplicationPolicies that refer to it.
        root: the administrator's key; None where the Secret does not exist.
        cluster: what the nodes share; None where the Secret does not exist.
        master_keys: what objects are encrypted under, the active one first; None where there is no such Secret.
        keys: further access keys by the name of their Secret, as far as they could be read.
        problems: why the administrator's key can't be read, as sentences.
        warnings: which other Secrets can't be used, further keys, master keys and the certificate, as sentences.
        stored: the access keys as nodes were last given them.
        stored_version: resourceVersion of the Secret with what nodes were given; empty where it does not exist.
        certificate: SHA-256 of the certificate that S3 shall be served with; empty where there is none to be had.
        authority: who signs the certificates of port 9001; None where there is none, or its Secret can't be used.
        peers: what nodes were given last for TLS on port 9001; None where there is nothing that can be used.
        previous_map: the newest map that anyone has; None before the first.
        map_version: resourceVersion of the map's ConfigMap; empty where it does not exist.
        stateful_sets: by pool.
        pods: by name.
        claims: the volumes' PersistentVolumeClaims, by name.
        services: by name.
        children: every further child, by kind and name.
        answers: what the nodes said, by pod name.
        zones: failure zone of each pod that has been scheduled.
        missing: when a pod that is wanted was first not found, by name, in seconds since 1970, as far as known.
        cordoned: the machine of the node that alone has the data, where somebody wants to drain it; else empty.
        now: seconds since 1970.
    """

    cloud: Cloud
    storage_nodes: tuple[StorageNode, ...] = ()
    policies: tuple[ReplicationPolicy, ...] = ()
    root: KeyPair | None = None
    cluster: ClusterSecret | None = None
    master_keys: tuple[MasterKey, ...] | None = None
    keys: Mapping[str, KeyPair] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    stored: Credentials | None = None
    stored_version: str = ""
    certificate: str = ""
    authority: Authority | None = None
    peers: PeerFiles | None = None
    previous_map: CloudMap | None = None
    map_version: str = ""
    stateful_sets: Mapping[str, Known] = field(default_factory=dict)
    pods: Mapping[str, Known] = field(default_factory=dict)
    claims: Mapping[str, Known] = field(default_factory=dict)
    services: Mapping[str, Known] = field(default_factory=dict)
    children: frozenset[tuple[str, str]] = frozenset()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)
    cordoned: str = ""
    now: float = 0.0

    @property
    def has_keys(self) -> bool:
        """Whether every Secret is there that nodes cannot start without."""
        return self.root is not None and self.cluster is not None and self.master_keys is not None

    def placed(self, pod: str) -> bool:
        """Whether a pod has a machine."""
        return pod in self.pods and bool(self.pods[pod].content["node"])

    def answer(self, pod: str) -> Answer:
        """What the node of a pod said."""
        return self.answers.get(pod, Answer(error="its pod has no address yet"))
