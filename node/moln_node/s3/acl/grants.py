"""Grants and what they allow. Pure; called by `s3.access` and by the other modules of this room.

An ACL is kept as compact JSON, a list of [permission, kind, who], in a bucket's settings or a record's attributes. The
empty text is the default: the owner has full control, nobody else anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moln_node.s3.auth.keyring import Identity

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"


class Permission(StrEnum):
    """What a grant gives: on a bucket READ lists and WRITE puts and deletes; ..._ACP is about the list itself."""

    READ = "READ"
    WRITE = "WRITE"
    READ_ACP = "READ_ACP"
    WRITE_ACP = "WRITE_ACP"
    FULL_CONTROL = "FULL_CONTROL"


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission for an owner (by id) or for a group (by URI)."""

    permission: Permission
    kind: Literal["id", "group"]
    who: str

    @property
    def public(self) -> bool:
        """Whether it is for more than somebody: S3 counts every authenticated user of the world as public."""
        return self.kind == "group" and self.who != LOG_DELIVERY

    def reaches(self, identity: Identity) -> bool:
        """Whether the caller is meant."""
        if self.kind == "id":
            return not identity.anonymous and identity.id == self.who
        return self.who == ALL_USERS or (self.who == AUTHENTICATED_USERS and not identity.anonymous)


def default(owner: str) -> tuple[Grant, ...]:
    """The grants of the empty text."""
    return (Grant(Permission.FULL_CONTROL, "id", owner),)


def dump(grants: Iterable[Grant], owner: str) -> str:
    """Grants as they are kept; the default is kept as nothing."""
    listed = tuple(grants)
    if listed == default(owner):
        return ""
    return json.dumps([[grant.permission, grant.kind, grant.who] for grant in listed], separators=(",", ":"))


@lru_cache(maxsize=4096)
def load(text: str, owner: str) -> tuple[Grant, ...]:
    """The grants of an ACL as it was kept."""
    if not text:
        return default(owner)
    return tuple(Grant(Permission(permission), kind, who) for permission, kind, who in json.loads(text))


_CANNED: Mapping[str, tuple[Permission, ...]] = {
    "public-read": (Permission.READ,),
    "public-read-write": (Permission.READ, Permission.WRITE),
    "authenticated-read": (Permission.READ,),
    "log-delivery-write": (Permission.WRITE, Permission.READ_ACP),
}
_GROUPS: Mapping[str, str] = {"authenticated-read": AUTHENTICATED_USERS, "log-delivery-write": LOG_DELIVERY}


def canned(name: str, owner: str, bucket_owner: str) -> tuple[Grant, ...] | None:
    """The grants that a canned ACL stands for; None if it is none of those that are built.

    `bucket_owner` is the owner of the bucket that an object is put into (the owner itself for a bucket).
    """
    own = default(owner)
    if name == "private":
        return own
    if name in _CANNED:
        group = _GROUPS.get(name, ALL_USERS)
        return (*(Grant(permission, "group", group) for permission in _CANNED[name]), *own)
    if name in {"bucket-owner-read", "bucket-owner-full-control"}:
        if bucket_owner == owner:
            return own
        permission = Permission.READ if name == "bucket-owner-read" else Permission.FULL_CONTROL
        return (*own, Grant(permission, "id", bucket_owner))
    return None


def allows(
    grants: Iterable[Grant], owner: str, identity: Identity, permission: Permission, *, ignore_public: bool = False
) -> bool:
    """Whether the caller has a permission; an owner can always read and change the list itself."""
    if permission in {Permission.READ_ACP, Permission.WRITE_ACP} and not identity.anonymous and identity.id == owner:
        return True
    return any(
        grant.permission in {permission, Permission.FULL_CONTROL}
        and grant.reaches(identity)
        and not (ignore_public and grant.public)
        for grant in grants
    )
