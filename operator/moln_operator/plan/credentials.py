"""The access keys that nodes shall take, with the grace of those that were replaced, and the master keys."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from moln_operator.kube import labels
from moln_operator.plan import names
from moln_spec.credentials import AccessKey, Credentials, KeyPolicy, reveal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.state import Observed

ROOT_OWNER: Final = "root"


def _declared(observed: Observed) -> Iterator[AccessKey]:
    """The keys that the spec asks for now."""
    if observed.root is not None:
        yield AccessKey.model_validate(
            {
                "access_key": observed.root.access_key,
                "secret_key": observed.root.secret_key,
                "id": ROOT_OWNER,
                "name": ROOT_OWNER,
                "policy": "admin",
            }
        )
    for reference in observed.cloud.spec.access_keys:
        pair = observed.keys.get(reference.secret_name)
        if pair is not None:
            owner = reference.owner or reference.secret_name
            yield AccessKey.model_validate(
                {
                    "access_key": pair.access_key,
                    "secret_key": pair.secret_key,
                    "id": owner,
                    "name": owner,
                    "policy": KeyPolicy(role=reference.role, buckets=reference.buckets, prefixes=reference.prefixes),
                }
            )


def credentials(observed: Observed) -> Credentials:
    """The document for the nodes: the declared keys, then those whose grace is not over.

    A key that is no longer declared still works for `keyGraceSeconds` from the moment that this is first noticed. A key
    that keeps its name and changes its secret changes at once, because a name has one secret.
    """
    declared = {key.access_key: key for key in _declared(observed)}
    grace = observed.cloud.spec.key_grace_seconds
    leaving: list[AccessKey] = []
    for key in observed.stored.keys if observed.stored is not None else ():
        expires = key.expires if key.expires is not None else int(observed.now) + grace
        if key.access_key not in declared and expires > observed.now:
            leaving.append(key.model_copy(update={"expires": expires}))
    return Credentials(keys=(*declared.values(), *leaving), master_keys=observed.master_keys or ())


def secret(observed: Observed, document: Credentials, cloud_secrets: tuple[str, ...]) -> Manifest:
    """The Secret that nodes start with: keys, and the cloud secrets, one a line.

    It names the version that it replaces, so that of two operators one is refused: a secret is never taken a step back.
    """
    cloud = observed.cloud.metadata.name
    metadata: Manifest = {"name": names.credentials_secret(cloud), "labels": labels.of_cloud(cloud)}
    if observed.stored_version:
        metadata["resourceVersion"] = observed.stored_version
    files = {names.CREDENTIALS_KEY: reveal(document), names.GIVEN_SECRETS_KEY: "".join(f"{s}\n" for s in cloud_secrets)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in files.items()},
    }
