"""Secrets that the operator makes up: once, when they are absent, and never again."""

from __future__ import annotations

import base64
import secrets
import string
from typing import TYPE_CHECKING, Final

from moln_operator.kube import labels
from moln_operator.plan import names
from moln_operator.plan.credentials import ROOT_OWNER
from moln_spec.credentials import MASTER_KEY_BYTES

if TYPE_CHECKING:
    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.state import Observed

_ALPHABET: Final = string.ascii_uppercase + string.digits


def missing(observed: Observed) -> tuple[Manifest, ...]:
    """The Secrets to create: they have no owner, so that they survive the Cloud as its volumes do."""
    made: list[Manifest] = []
    cloud = observed.cloud
    if observed.cluster is None:
        identity = observed.previous_map.uid if observed.previous_map is not None else cloud.metadata.uid
        values = {names.SECRET_KEY: secrets.token_urlsafe(32), names.IDENTITY_KEY: identity}
        made.append(_secret(cloud.metadata.name, names.cluster_secret(cloud.metadata.name), values))
    if observed.master_keys is None:
        made.append(
            _secret(cloud.metadata.name, names.master_keys_secret(cloud.metadata.name), _master_values(observed))
        )
    if observed.root is None and not any(cloud.root_secret_name in problem for problem in observed.problems):
        made.append(_secret(cloud.metadata.name, cloud.root_secret_name, _root_values(observed)))
    return tuple(made)


def _master_values(observed: Observed) -> dict[str, str]:
    """A new master key, or those that nodes still have where their Secret was deleted: objects depend on them."""
    kept = observed.stored.master_keys if observed.stored is not None else ()
    if kept:
        return {names.ACTIVE_KEY: kept[0].id, **{key.id: key.key.get_secret_value() for key in kept}}
    new = f"key-{secrets.token_hex(4)}"
    return {names.ACTIVE_KEY: new, new: base64.b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).decode()}


def _root_values(observed: Observed) -> dict[str, str]:
    """A new key, or the one that nodes still take where its Secret was deleted by hand."""
    for key in observed.stored.keys if observed.stored is not None else ():
        if key.id == ROOT_OWNER and key.expires is None:
            return {names.ACCESS_KEY: key.access_key, names.ACCESS_SECRET: key.secret_key.get_secret_value()}
    return {
        names.ACCESS_KEY: "".join(secrets.choice(_ALPHABET) for _ in range(20)),
        names.ACCESS_SECRET: secrets.token_urlsafe(30),
    }


def _secret(cloud: str, name: str, values: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels.of_cloud(cloud)},
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }
