"""Gathers one cloud's state: from the inventory, from Secrets that users wrote, and from the nodes themselves."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from moln_operator.kube.kinds import CHILDREN
from moln_operator.observe.certificate import authority, fingerprint_of_pair, peer_files
from moln_operator.observe.nodes import Door, NodeError
from moln_operator.observe.state import Authority, ClusterSecret, KeyPair, Observed, PeerFiles
from moln_operator.plan import names
from moln_operator.plan.disruption import only_node
from moln_operator.plan.pools import node_names
from moln_spec import cloudsecret, peertls
from moln_spec.cloudmap import CloudMap
from moln_spec.credentials import AccessKey, Credentials, MasterKey
from moln_spec.resources.cloud import Cloud
from moln_spec.resources.policy import ReplicationPolicy
from moln_spec.resources.storagenode import StorageNode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moln_operator.kube.api import Api
    from moln_operator.kube.inventory import CloudKey, Inventory, Known
    from moln_operator.observe.nodes import Answer, NodeClient
    from moln_operator.observe.zones import Zones

CLASS_ANNOTATION: Final = "moln.dev/operator"
_COUNTED: Final = tuple(kind for kind in CHILDREN if kind not in ("Pod", "PersistentVolumeClaim"))


class Observer:
    """Answers what is so for one cloud at a time."""

    def __init__(
        self,
        api: Api,
        inventory: Inventory,
        nodes: NodeClient,
        zones: Zones,
        heard: Callable[[CloudKey, Mapping[str, Answer]], None],
        operator_class: str = "",
    ) -> None:
        """`heard` is told what a cloud's nodes said."""
        self._api = api
        self._heard = heard
        self._class = operator_class
        self._inventory = inventory
        self._nodes = nodes
        self._zones = zones
        self._missed: dict[CloudKey, dict[str, float]] = {}

    def is_ours(self, key: CloudKey) -> bool:
        """Whether a Cloud is this operator's and not another's: two never work on one. A missing one is everybody's."""
        known = self._inventory.get("Cloud", *key)
        if known is None:
            return True
        annotations = known.content["metadata"].get("annotations") or {}
        return bool(annotations.get(CLASS_ANNOTATION, "") == self._class)

    async def observe(self, key: CloudKey) -> Observed | None:
        """The state of a cloud; None when there is no such Cloud. ValidationError if the Cloud is not understood."""
        known = self._inventory.get("Cloud", *key)
        if known is None:
            self._missed.pop(key, None)
            return None
        cloud = Cloud.model_validate(known.content)
        keys, problems = await self._keys(cloud)
        root_problems = tuple(text for name, text in problems if name == cloud.root_secret_name)
        cluster, secret_problems = self._cluster_secret(key)
        stored = self._stored_credentials(key)
        master_keys, key_problems = await self._master_keys(cloud, stored)
        peers = self._peer_files(key)
        signer, signer_problems = self._authority(key)
        pods = {pod.name: pod for pod in self._inventory.of(key, "Pod")}
        doors = {} if cluster is None else {pod.name: door(pod, cluster, peers) for pod in pods.values()}
        answers = await self._answers(pods, doors)
        self._heard(key, answers)
        previous_map = await self._newest_map(key, answers, doors)
        certificate, certificate_problems = await self._certificate(cloud)
        observed = Observed(
            cloud=cloud,
            storage_nodes=self.storage_nodes(key),
            policies=tuple(
                ReplicationPolicy.model_validate(e.content) for e in self._inventory.of(key, "ReplicationPolicy")
            ),
            root=keys.pop(cloud.root_secret_name, None),
            cluster=cluster,
            master_keys=master_keys,
            keys=keys,
            problems=root_problems,
            warnings=(
                *(text for _, text in problems if text not in root_problems),
                *certificate_problems,
                *key_problems,
                *secret_problems,
                *signer_problems,
            ),
            stored=stored,
            stored_version=self._version(key, "Secret", names.credentials_secret(key[1])),
            certificate=certificate,
            authority=signer,
            peers=peers,
            previous_map=previous_map,
            map_version=self._version(key, "ConfigMap", names.map_config(key[1])),
            stateful_sets=self._by_name(key, "StatefulSet"),
            pods=pods,
            claims=self._by_name(key, "PersistentVolumeClaim"),
            services=self._by_name(key, "Service"),
            children=frozenset((e.kind, e.name) for kind in _COUNTED for e in self._inventory.of(key, kind)),
            answers=answers,
            zones={name: await self._zones.of(pod.content["node"]) for name, pod in pods.items()},
            cordoned=await self._cordoned(pods, previous_map),
            now=time.time(),
        )
        return replace(observed, missing=self._missing_since(key, observed))

    def storage_nodes(self, key: CloudKey) -> tuple[StorageNode, ...]:
        """The StorageNodes that refer to a Cloud, whether or not that exists."""
        return tuple(StorageNode.model_validate(entry.content) for entry in self._inventory.of(key, "StorageNode"))

    def _by_name(self, key: CloudKey, kind: str) -> dict[str, Known]:
        return {entry.name: entry for entry in self._inventory.of(key, kind)}

    async def _keys(self, cloud: Cloud) -> tuple[dict[str, KeyPair], tuple[tuple[str, str], ...]]:
        """The key pairs of the root Secret and of `accessKeys`, and by name a sentence for each that is no good."""
        found: dict[str, KeyPair] = {}
        problems: list[tuple[str, str]] = []
        wanted = [cloud.root_secret_name, *(reference.secret_name for reference in cloud.spec.access_keys)]
        for name in wanted:
            data = await self._secret_data(cloud.metadata.namespace, name)
            if data is None:
                if name != cloud.root_secret_name:
                    problems.append((name, f"Secret {name} does not exist; write it with access_key and secret_key"))
                continue
            try:
                pair = KeyPair(_text(data, names.ACCESS_KEY), _text(data, names.ACCESS_SECRET))
                AccessKey.model_validate({"access_key": pair.access_key, "secret_key": pair.secret_key})
            except (KeyError, ValueError):
                sentence = (
                    f"Secret {name} is no access key; give it access_key (3 to 128 letters, digits or _+=.@-) "
                    "and secret_key (at least 8 characters)"
                )
                problems.append((name, sentence))
                continue
            if pair.access_key in {other.access_key for other in found.values()}:
                problems.append((name, f"Secret {name} has the access_key of another Secret; give it one of its own"))
                continue
            found[name] = pair
        return found, tuple(problems)

    async def _certificate(self, cloud: Cloud) -> tuple[str, tuple[str, ...]]:
        """The fingerprint of the nodes' certificate, or a sentence where it can't be had.

        Pods that are there go on with the one of before, others wait for it.
        """
        if cloud.spec.tls is None:
            return "", ()
        name = cloud.spec.tls.secret_name
        data = await self._secret_data(cloud.metadata.namespace, name)
        if data is None:
            problem = f"Secret {name} with the certificate does not exist; write it (kubectl create secret tls {name})"
            return "", (problem,)
        try:
            return fingerprint_of_pair(_text(data, "tls.crt"), _text(data, "tls.key")), ()
        except (KeyError, ValueError) as error:
            why = "give it tls.crt and tls.key" if isinstance(error, KeyError) else str(error)
            problem = (
                f"Secret {name} is no certificate: {why} (kubectl create secret tls {name}); "
                "nodes that run serve with the one of before"
            )
            return "", (problem,)

    async def _master_keys(
        self, cloud: Cloud, stored: Credentials | None
    ) -> tuple[tuple[MasterKey, ...] | None, tuple[str, ...]]:
        """The master keys, the active one first, and why they can't be read: then those of the nodes stay in force."""
        name = names.master_keys_secret(cloud.metadata.name)
        data = await self._secret_data(cloud.metadata.namespace, name)
        if data is None:
            return None, ()
        try:
            return master_keys(data), ()
        except (KeyError, ValueError):
            sentence = (
                f"Secret {name} holds no master keys; give it for each an entry of its id with 32 bytes in base64, "
                "and the id of the one to encrypt new objects under as active"
            )
            return stored.master_keys if stored is not None else (), (sentence,)

    async def _secret_data(self, namespace: str, name: str) -> dict[str, str] | None:
        """A Secret's data: from the inventory where the operator wrote it, else read now."""
        known = self._inventory.get("Secret", namespace, name)
        if known is not None:
            return dict(known.content.get("data") or {})
        secret = await self._api.get("Secret", namespace, name)
        return None if secret is None else dict(secret.get("data") or {})

    def _cluster_secret(self, key: CloudKey) -> tuple[ClusterSecret | None, tuple[str, ...]]:
        """What nodes share, and why the secret that is wanted can't be: then the one in force stays."""
        name = names.cluster_secret(key[1])
        data = self._known_data(key, name)
        if data is None:
            return None, ()
        given = tuple(
            _text_or(self._known_data(key, names.credentials_secret(key[1])), names.GIVEN_SECRETS_KEY).split()
        )
        wanted, identity = _text_or(data, names.SECRET_KEY).strip(), _text_or(data, names.IDENTITY_KEY)
        if cloudsecret.is_usable(wanted):
            return ClusterSecret(wanted, identity, given), ()
        problem = (
            f"Secret {name} has no usable secret: give it 16 to 200 printable characters, or delete it for a new one"
        )
        return (ClusterSecret(given[0], identity, given) if given else None), (problem,)

    def _authority(self, key: CloudKey) -> tuple[Authority | None, tuple[str, ...]]:
        """Who signs the certificates of port 9001, and why it can't: then those that there are stay in force."""
        name = names.authority_secret(key[1])
        data = self._known_data(key, name)
        if data is None:
            return None, ()
        pair = (_text_or(data, peertls.CERTIFICATE_FILE), _text_or(data, peertls.KEY_FILE))
        try:
            return authority(*pair, self._version(key, "Secret", name)), ()
        except ValueError as error:
            return None, (f"Secret {name} holds no authority: {error}; put that right, or delete it for a new one",)

    def _peer_files(self, key: CloudKey) -> PeerFiles | None:
        """What nodes were given last for TLS on port 9001."""
        name = names.peers_secret(key[1])
        data = self._known_data(key, name) or {}
        try:
            return peer_files({file: _text(data, file) for file in data}, self._version(key, "Secret", name))
        except (KeyError, ValueError):
            return None

    def _stored_credentials(self, key: CloudKey) -> Credentials | None:
        data = self._known_data(key, names.credentials_secret(key[1])) or {}
        try:
            return Credentials.model_validate_json(_text(data, names.CREDENTIALS_KEY))
        except (KeyError, ValueError):
            return None

    def _known_data(self, key: CloudKey, name: str) -> dict[str, str] | None:
        """The data of a Secret that the operator wrote; None where there is none."""
        known = self._inventory.get("Secret", key[0], name)
        return None if known is None else dict(known.content.get("data") or {})

    def _stored_map(self, key: CloudKey) -> CloudMap | None:
        known = self._inventory.get("ConfigMap", key[0], names.map_config(key[1]))
        text = (known.content.get("data") or {}).get(names.MAP_KEY) if known is not None else None
        try:
            return CloudMap.model_validate_json(text) if text else None
        except ValidationError:
            return None

    def _version(self, key: CloudKey, kind: str, name: str) -> str:
        known = self._inventory.get(kind, key[0], name)
        return str(known.version) if known is not None else ""

    async def _newest_map(self, key: CloudKey, answers: dict[str, Answer], doors: dict[str, Door]) -> CloudMap | None:
        """The stored map, or a node's where that is newer: the ConfigMap was lost or put back by hand."""
        newest = self._stored_map(key)
        for name, answer in answers.items():
            ahead = answer.status is not None and (newest is None or answer.status.epoch > newest.epoch)
            if ahead:
                try:
                    found = await self._nodes.map(doors[name])
                except NodeError:
                    continue
                if newest is None or (found.uid == newest.uid and found.epoch > newest.epoch):
                    newest = found
        return newest

    def _missing_since(self, key: CloudKey, observed: Observed) -> dict[str, float]:
        """When each pod that is wanted and does not exist was first missed."""
        before = self._missed.get(key, {})
        gone = [name for name in node_names(observed, None) if name not in observed.pods]
        self._missed[key] = {name: before.get(name, observed.now) for name in gone}
        return self._missed[key]

    async def _cordoned(self, pods: dict[str, Known], cloud_map: CloudMap | None) -> str:
        """The machine of the only node that has the data, where it is cordoned."""
        only = pods.get(only_node(cloud_map))
        machine = str(only.content["node"]) if only is not None else ""
        return machine if await self._zones.is_cordoned(machine) else ""

    async def _answers(self, pods: dict[str, Known], doors: dict[str, Door]) -> dict[str, Answer]:
        reachable = [name for name in doors if pods[name].content["ip"] and not pods[name].deleting]
        found = await asyncio.gather(*(self._nodes.status(doors[name]) for name in reachable))
        return dict(zip(reachable, found, strict=True))


def door(pod: Known, cluster: ClusterSecret, peers: PeerFiles | None) -> Door:
    """How the node of a pod is asked: by TLS where its template says that it speaks it, as it does in every mode."""
    tls = peers if pod.content["tls"] else None
    name = peertls.server_name(pod.cloud or "", pod.namespace)
    return Door(pod.content["ip"], cluster.secret, name, tls)


def master_keys(data: dict[str, str]) -> tuple[MasterKey, ...]:
    """The master keys in a Secret's data, the active one first; KeyError, ValueError where it is no such Secret."""
    found = {
        key_id: MasterKey.model_validate({"id": key_id, "key": _text(data, key_id).strip()})
        for key_id in sorted(data)
        if key_id != names.ACTIVE_KEY
    }
    first = found.pop(_text(data, names.ACTIVE_KEY).strip())
    return (first, *found.values())


def _text_or(data: dict[str, str] | None, name: str) -> str:
    """One value of a Secret's data; empty where it is absent or no text."""
    try:
        return _text(data or {}, name)
    except (KeyError, ValueError):
        return ""


def _text(data: dict[str, str], name: str) -> str:
    """One value of a Secret's data; KeyError if it is absent, ValueError if it is no text."""
    try:
        return base64.b64decode(data[name], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is no text") from error
