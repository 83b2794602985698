"""ACLs as clients write and read them: the canned name and grants in headers, AccessControlPolicy in XML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from moln_node.s3 import xml
from moln_node.s3.acl.grants import ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY, Grant, Permission, canned
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from xml.etree.ElementTree import Element

    from moln_node.s3.auth.keyring import Keyring

    Grantee = tuple[Literal["id", "group"], str]

_MOST_GRANTS = 100
_HEADERS: Mapping[str, Permission] = {
    "x-amz-grant-read": Permission.READ,
    "x-amz-grant-write": Permission.WRITE,
    "x-amz-grant-read-acp": Permission.READ_ACP,
    "x-amz-grant-write-acp": Permission.WRITE_ACP,
    "x-amz-grant-full-control": Permission.FULL_CONTROL,
}


def from_headers(
    headers: Mapping[str, str], owner: str, bucket_owner: str, keyring: Keyring
) -> tuple[Grant, ...] | None:
    """The grants that a request's headers ask for; None if they say nothing of them."""
    name = headers.get("x-amz-acl")
    given = [header for header in _HEADERS if header in headers]
    if name is not None:
        if given:
            raise S3Error("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed")
        grants = canned(name, owner, bucket_owner)
        if grants is None:
            raise S3Error(
                "InvalidArgument", f"There is no canned ACL {name!r}.", ArgumentName="x-amz-acl", ArgumentValue=name
            )
        return grants
    if not given:
        return None
    return tuple(
        Grant(_HEADERS[header], kind, who) for header in given for kind, who in _grantees(headers[header], keyring)
    )


def _grantees(text: str, keyring: Keyring) -> Iterable[Grantee]:
    """`id="..."`, `uri="..."`, with commas between them."""
    for piece in text.split(","):
        kind, equals, value = piece.strip().partition("=")
        value = value.strip().strip('"')
        if not equals or not value:
            raise S3Error(
                "InvalidArgument", f'A grantee must be id="...", uri="..." or emailAddress="...", not {piece!r}.'
            )
        yield _grantee(kind.strip().lower(), value, keyring)


def _grantee(kind: str, value: str, keyring: Keyring) -> Grantee:
    if kind == "id":
        if not keyring.knows_owner(value):
            raise S3Error("InvalidArgument", "Invalid id", ArgumentName="CanonicalUser/ID", ArgumentValue=value)
        return "id", value
    if kind == "uri":
        if value not in {ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY}:
            raise S3Error("InvalidArgument", "Invalid group uri", ArgumentName="uri", ArgumentValue=value)
        return "group", value
    if kind == "emailaddress":
        raise S3Error("UnresolvableGrantByEmailAddress")
    raise S3Error("InvalidArgument", f"A grantee cannot be named by {kind!r}.")


def from_xml(root: Element, owner: str, keyring: Keyring) -> tuple[Grant, ...]:
    """The grants of an AccessControlPolicy; the owner in it must be the one that the resource has."""
    if root.tag != "AccessControlPolicy":
        raise S3Error("MalformedACLError")
    named = xml.text_of(root.find("Owner"), "ID")
    if named is None or root.find("AccessControlList") is None:
        raise S3Error("MalformedACLError")
    if named != owner:
        raise S3Error("AccessDenied", "The owner of a resource cannot be changed by its ACL.")
    elements = root.findall("AccessControlList/Grant")
    if len(elements) > _MOST_GRANTS:
        raise S3Error("MalformedACLError", f"An ACL can have up to {_MOST_GRANTS} grants.")
    return tuple(grant_from(element, keyring) for element in elements)


def grant_from(element: Element, keyring: Keyring) -> Grant:
    """One `<Grant>`; MalformedACLError, InvalidArgument."""
    grantee = element.find("Grantee")
    permission = xml.text_of(element, "Permission")
    if grantee is None or permission not in list(Permission):
        raise S3Error("MalformedACLError")
    for kind, tag in (("id", "ID"), ("uri", "URI"), ("emailaddress", "EmailAddress")):
        value = xml.text_of(grantee, tag)
        if value:
            return Grant(Permission(permission), *_grantee(kind, value, keyring))
    raise S3Error("MalformedACLError")


def to_xml(grants: Iterable[Grant], owner: str, keyring: Keyring) -> bytes:
    """An AccessControlPolicy document: groups first, as in the canned ACLs."""
    listed = sorted(grants, key=lambda grant: not grant.public)
    return xml.document(
        "AccessControlPolicy",
        _person("Owner", owner, keyring),
        xml.node("AccessControlList", *(grant_to_xml(grant, keyring) for grant in listed)),
    )


def _person(name: str, owner: str, keyring: Keyring, attributes: str = "") -> str:
    return xml.node(
        name, xml.leaf("ID", owner), xml.leaf("DisplayName", keyring.owner_name(owner)), attributes=attributes
    )


def grant_to_xml(grant: Grant, keyring: Keyring) -> str:
    """A `<Grant>`."""
    kind = "CanonicalUser" if grant.kind == "id" else "Group"
    attributes = f' xmlns:xsi="{xml.XSI}" xsi:type="{kind}"'
    if grant.kind == "id":
        grantee = _person("Grantee", grant.who, keyring, attributes)
    else:
        grantee = xml.node("Grantee", xml.leaf("URI", grant.who), attributes=attributes)
    return xml.node("Grant", grantee, xml.leaf("Permission", grant.permission))
