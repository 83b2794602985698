"""The access and master keys in force, replaced as one while the node serves, with the signing keys derived from them.

Read by authentication on every request, and by encryption; replaced through port 9001. Holds secrets in memory and
never logs them.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from moln_spec.credentials import Credentials, Role

_CACHED = 4096  # signing keys: one per access key, day and region


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, and within which bounds: `buckets` are globs, `prefixes` begin keys; both empty mean everything."""

    id: str
    name: str
    access_key: str
    role: Role | Literal["anonymous"]
    buckets: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    @property
    def anonymous(self) -> bool:
        """Whether nobody signed the request."""
        return self.role == "anonymous"


ANONYMOUS = Identity("anonymous", "anonymous", "", "anonymous")


@dataclass(frozen=True, slots=True)
class Key:
    """An access key as authentication needs it; the secret does not show in a repr."""

    identity: Identity
    secret: str = field(repr=False)
    expires: int | None = None


def derive(secret: str, date: str, region: str, service: str) -> hmac.HMAC:
    """SigV4's signing key for a day, region and service, ready to be copied and fed with what is to be signed."""
    key = ("AWS4" + secret).encode()
    for word in (date, region, service, "aws4_request"):
        key = hmac.digest(key, word.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return hmac.new(key, digestmod=hashlib.sha256)


class Keyring:
    """Every access key and master key that is valid now."""

    def __init__(self, credentials: Credentials) -> None:
        self._keys: dict[str, Key] = {}
        self._names: dict[str, str] = {}
        self._masters: dict[str, bytes] = {}
        self._signing: dict[tuple[str, str, str, str], hmac.HMAC] = {}
        self._leaving: dict[str, int] = {}
        self.replace(credentials)

    def replace(self, credentials: Credentials) -> None:
        """Put other keys in force: the next request is judged by them, and a key that is absent is refused."""
        keys = {}
        for key in credentials.keys:
            policy = key.key_policy
            identity = Identity(key.id, key.name, key.access_key, policy.role, policy.buckets, policy.prefixes)
            keys[key.access_key] = Key(identity, key.secret_key.get_secret_value(), key.expires)
        self._keys = keys
        self._names = {key.id: key.name for key in credentials.keys}
        self._masters = {key.id: key.raw for key in credentials.master_keys}
        self._signing = {}
        self._leaving = {name: self._leaving.get(name, 0) for name, key in keys.items() if key.expires is not None}

    def find(self, access_key: str, now: float) -> Key | None:
        """The key of this id, unless it is unknown or expired at `now` (seconds since 1970)."""
        key = self._keys.get(access_key)
        if key is None or key.expires is None:
            return key
        if now >= key.expires:
            return None
        self._leaving[access_key] += 1
        return key

    def leaving(self) -> dict[str, tuple[int, int]]:
        """The keys that were replaced and have an end: by id, that end and how often they were asked for meanwhile."""
        return {name: (self._keys[name].expires or 0, asked) for name, asked in self._leaving.items()}

    def owner_name(self, owner_id: str) -> str:
        """The display name of an owner; the id itself if no key of theirs is left."""
        return self._names.get(owner_id, owner_id)

    def knows_owner(self, owner_id: str) -> bool:
        """Whether a key of this owner is in force."""
        return owner_id in self._names

    @property
    def active_master_key(self) -> tuple[str, bytes] | None:
        """The master key for new objects, with its id."""
        return next(iter(self._masters.items()), None)

    def master_key(self, key_id: str) -> tuple[str, bytes] | None:
        """The master key of this id, with its id."""
        key = self._masters.get(key_id)
        return None if key is None else (key_id, key)

    def signing_key(self, key: Key, date: str, region: str, service: str = "s3") -> hmac.HMAC:
        """SigV4's signing key, derived once a day and region while it is remembered."""
        slot = (key.identity.access_key, date, region, service)
        signing = self._signing.get(slot)
        if signing is None:
            signing = derive(key.secret, date, region, service)
            if len(self._signing) >= _CACHED:
                self._signing.clear()
            self._signing[slot] = signing
        return signing
