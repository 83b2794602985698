"""Signatures against AWS's published examples, and every way in which a request can claim too much.

`authenticate` is a function of a request, a keyring and a clock, so most of this needs no server.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from moln_node.s3.auth import sigv4
from moln_node.s3.auth.authenticate import Authentication, authenticate
from moln_node.s3.auth.keyring import Keyring, derive
from moln_node.s3.errors import S3Error
from moln_node.s3.settings import Settings
from moln_node.s3.target import parse_target
from moln_spec.credentials import AccessKey, Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HOST = "examplebucket.s3.amazonaws.com"
NOW = 1369353600.0  # 2013-05-24T00:00:00Z, the moment of AWS's examples
EMPTY = sigv4.EMPTY_SHA256
KEYRING = Keyring(
    Credentials(
        keys=(
            AccessKey(access_key=ID, secret_key=SECRET, id="owner"),
            AccessKey(access_key="EXPIRING", secret_key=SECRET, expires=int(NOW) + 100),
        )
    )
)
EXAMPLE = {
    "Host": HOST,
    "Range": "bytes=0-9",
    "x-amz-content-sha256": EMPTY,
    "x-amz-date": "20130524T000000Z",
    "Authorization": (
        f"AWS4-HMAC-SHA256 Credential={ID}/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    ),
}
PRESIGNED = (
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    f"&X-Amz-Credential={ID}%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z"
    "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)


def ask(
    path: str = "/test.txt", headers: dict[str, str] | None = None, *, now: float = NOW, keyring: Keyring = KEYRING
) -> Authentication:
    """Authenticate a GET of this target."""
    sent = CIMultiDictProxy(CIMultiDict(EXAMPLE if headers is None else headers))
    settings = dataclasses.replace(Settings(), now=lambda: now)
    return authenticate("GET", parse_target(path, HOST, ("s3.amazonaws.com",)), sent, HOST, keyring, settings)


def sign(path: str, headers: dict[str, str], method: str = "GET", payload: str = EMPTY) -> dict[str, str]:
    """Sign as a client does, with code of the test's own order: what is signed is what was sent."""
    headers = {"Host": HOST, "x-amz-content-sha256": payload, "x-amz-date": "20130524T000000Z"} | headers
    names = sorted(name.lower() for name in headers)
    values = {name.lower(): value for name, value in headers.items()}
    target = parse_target(path, HOST)
    request = "\n".join(
        (
            method,
            path.partition("?")[0],
            sigv4.canonical_query(target.pairs),
            *(f"{name}:{values[name]}" for name in names),
            "",
            ";".join(names),
            payload,
        )
    )
    scope = sigv4.Scope(ID, "20130524", "us-east-1", "s3")
    signature = sigv4.sign(
        derive(SECRET, "20130524", "us-east-1", "s3"), sigv4.string_to_sign("20130524T000000Z", scope, request)
    )
    credential = f"Credential={ID}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return headers | {"Authorization": f"AWS4-HMAC-SHA256 {credential}"}


def code_of(call: Callable[[], object]) -> str:
    """The code that a refusal carries."""
    with pytest.raises(S3Error) as caught:
        call()
    return caught.value.code


def test_published_header_example() -> None:
    """AWS's own example of a signed GET is accepted, and its signature is what makes it so."""
    assert ask().identity.id == "owner"
    assert code_of(lambda: ask("/test.txu")) == "SignatureDoesNotMatch"


def test_published_presigned_example() -> None:
    """AWS's own presigned URL is accepted until it expires, and not a second longer."""
    assert ask(PRESIGNED, {"Host": HOST}).presigned
    assert ask(PRESIGNED, {"Host": HOST}, now=NOW + 86400).presigned
    with pytest.raises(S3Error, match="Request has expired") as caught:
        ask(PRESIGNED, {"Host": HOST}, now=NOW + 86401)
    assert (caught.value.code, caught.value.status) == ("AccessDenied", 403)
    assert code_of(lambda: ask(PRESIGNED, {"Host": HOST}, now=NOW - 901)) == "AccessDenied"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Authorization": ""}, ""),
        ({"Authorization": "AWS AKIA:c2lnbmF0dXJl"}, "InvalidAccessKeyId"),
        (
            {"Authorization": "AWS AKIA:c2lnbmF0dXJl", "x-amz-date": "Fri, 24 May 2013 00:00:00 GMT"},
            "InvalidAccessKeyId",
        ),
        ({"Authorization": "AWS AKIA:c2lnbmF0dXJl", "x-amz-date": "a bad date"}, "AccessDenied"),
        ({"Authorization": "AWS AKIA:c2lnbmF0dXJl", "x-amz-date": ""}, "AccessDenied"),
        ({"Authorization": "AWS AKIA:c2lnbmF0dXJl", "x-amz-date": "Fri, 24 May 1950 00:00:00 GMT"}, "AccessDenied"),
        ({"Authorization": "AWS AKIA:c2lnbmF0dXJl", "x-amz-date": "Fri, 24 May 9999 0:00 GMT"}, "RequestTimeTooSkewed"),
        ({"Authorization": "AWS HAHAHA"}, "InvalidArgument"),
        ({"Authorization": "Bearer token"}, "InvalidArgument"),
        ({"Authorization": "AWS4-HMAC-SHA256 HAHAHA"}, "AuthorizationHeaderMalformed"),
        (("Credential=", "Crodential="), "AuthorizationHeaderMalformed"),
        (("/20130524/", "/2013-05-24/"), "AuthorizationHeaderMalformed"),
        (("/20130524/", "/20130525/"), "AuthorizationHeaderMalformed"),
        (("/s3/", "/ec2/"), "AuthorizationHeaderMalformed"),
        (("aws4_request", "aws5_request"), "AuthorizationHeaderMalformed"),
        ((ID, "AKIANOBODY"), "InvalidAccessKeyId"),
        (("Signature=f0", "Signature=00"), "SignatureDoesNotMatch"),
        (("Signature=f0", "Signature=\udcff"), "SignatureDoesNotMatch"),
        (("SignedHeaders=host;", "SignedHeaders="), "SignatureDoesNotMatch"),
        (("us-east-1", "eu-north-1"), "SignatureDoesNotMatch"),
        ({"Range": "bytes=0-8"}, "SignatureDoesNotMatch"),
        ({"x-amz-acl": "public-read"}, "AccessDenied"),
        ({"x-amz-date": "yesterday"}, "AccessDenied"),
        ({"x-amz-security-token": "FwoGZXIvYXdz"}, "InvalidToken"),
        ({"x-amz-date": "20130230T000000Z"}, "AccessDenied"),
        ({"x-amz-content-sha256": None}, "InvalidRequest"),
        ({"x-amz-date": None}, "AccessDenied"),
    ],
)
def test_broken_headers(change: dict[str, str | None] | tuple[str, str], expected: str) -> None:
    """Each defect of a signed request has AWS's code for it; an empty Authorization is nobody's."""
    headers: dict[str, str | None] = dict(EXAMPLE)
    if isinstance(change, tuple):
        headers["Authorization"] = EXAMPLE["Authorization"].replace(*change)
    else:
        headers |= change
    sent = {name: value for name, value in headers.items() if value is not None}
    if expected:
        assert code_of(lambda: ask(headers=sent)) == expected
    else:
        assert ask(headers=sent).identity.anonymous


@pytest.mark.parametrize(("seconds", "accepted"), [(-900, True), (900, True), (-901, False), (901, False)])
def test_clock_skew(seconds: int, *, accepted: bool) -> None:
    """A request may be a quarter of an hour off, and not more."""
    if accepted:
        assert ask(now=NOW + seconds).identity.id == "owner"
    else:
        assert code_of(lambda: ask(now=NOW + seconds)) == "RequestTimeTooSkewed"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("X-Amz-Expires=86400", "X-Amz-Expires=0", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=604801", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=-7", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=soon", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=86401", "SignatureDoesNotMatch"),
        ("&X-Amz-Expires=86400", "", "AuthorizationQueryParametersError"),
        ("&X-Amz-SignedHeaders=host", "", "AuthorizationQueryParametersError"),
        ("HMAC-SHA256&", "HMAC-SHA512&", "AuthorizationQueryParametersError"),
        ("%2Fs3%2F", "%2Fsts%2F", "AuthorizationQueryParametersError"),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=2013", "AuthorizationQueryParametersError"),
        ("X-Amz-Date=20130524T", "X-Amz-Date=20130523T", "AuthorizationQueryParametersError"),
        (ID, "AKIANOBODY", "InvalidAccessKeyId"),
        ("d404", "d405", "SignatureDoesNotMatch"),
        ("/test.txt?", "/test.txt?versionId=1&", "SignatureDoesNotMatch"),
    ],
)
def test_broken_presigned(old: str, new: str, expected: str) -> None:
    """A presigned URL that is changed in any part is refused, with AWS's code for the defect."""
    assert code_of(lambda: ask(PRESIGNED.replace(old, new), {"Host": HOST})) == expected


def test_unsigned_header_on_presigned_url() -> None:
    """Whoever holds a URL cannot add headers that S3 obeys: it would be a permission that nobody gave."""
    assert code_of(lambda: ask(PRESIGNED, {"Host": HOST, "x-amz-acl": "public-read-write"})) == "AccessDenied"


def test_two_mechanisms() -> None:
    """A request that is signed twice is ambiguous and refused; SigV2 in the query is named as not supported."""
    assert code_of(lambda: ask(PRESIGNED, EXAMPLE)) == "InvalidArgument"
    assert code_of(lambda: ask("/a?AWSAccessKeyId=x&Signature=y&Expires=1", {"Host": HOST})) == "InvalidRequest"


@pytest.mark.parametrize(
    "path",
    [
        "/a//b/../c",
        "/a%2Fb",
        "/%C3%A4%0A",
        "/a+b",
        "/x?prefix=&delimiter=%2F&prefix=b&prefix=a",
        "/x?acl",
        "/x?marker=a+b",
        "/~tilde(star)*'quote!",
    ],
)
def test_odd_paths_are_signed_as_sent(path: str) -> None:
    """Nothing in a path is normalised, encoded twice or sorted away before it is held against its signature."""
    assert ask(path, sign(path, {})).identity.id == "owner"


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("/a(b)*'!", "/a%28b%29%2A%27%21"),
        ("/a+b", "/a%2Bb"),
        ("/%7e", "/~"),
        ("/a/../b", "/a/../b"),
        ("/a%2fb", "/a/b"),
    ],
)
def test_paths_are_signed_in_s3s_own_encoding(sent: str, canonical: str) -> None:
    """A client that encodes less or more on the wire than SigV4 does is still the one that signed."""
    assert ask(sent, sign(canonical, {})).identity.id == "owner"


def test_spaces_in_signed_headers_are_folded() -> None:
    """Runs of spaces in a header count as one, as SigV4 has it."""
    signed = sign("/k", {"x-amz-meta-a": "one two"})
    assert ask("/k", signed | {"x-amz-meta-a": "  one   two "}).identity.id == "owner"


def test_http_date() -> None:
    """A request without x-amz-date is dated by its Date header."""
    signed = sign("/k", {"Date": "Fri, 24 May 2013 00:00:00 GMT"})
    del signed["x-amz-date"]
    assert code_of(lambda: ask("/k", signed)) == "SignatureDoesNotMatch"  # the header was signed, and is gone
    assert code_of(lambda: ask("/k", signed | {"Date": "Fri, 24 May 2013 01:00:00 GMT"})) == "RequestTimeTooSkewed"
    assert code_of(lambda: ask("/k", signed | {"Date": "Not a date"})) == "AccessDenied"


def test_keys_expire_and_change() -> None:
    """A key is refused from its expiry on; a keyring that is replaced judges the next request by its new keys."""
    keyring = Keyring(Credentials(keys=(AccessKey(access_key=ID, secret_key=SECRET, id="one"),)))
    assert ask(keyring=keyring).identity.id == "one"
    keyring.replace(Credentials(keys=(AccessKey(access_key=ID, secret_key="another-secret", id="two"),)))
    assert code_of(lambda: ask(keyring=keyring)) == "SignatureDoesNotMatch"
    keyring.replace(Credentials())
    assert code_of(lambda: ask(keyring=keyring)) == "InvalidAccessKeyId"
    assert KEYRING.find("EXPIRING", NOW + 99) is not None
    assert KEYRING.find("EXPIRING", NOW + 100) is None


def test_secrets_do_not_show() -> None:
    """Neither a key nor a keyring shows a secret where it could be logged."""
    assert SECRET not in repr(KEYRING.find(ID, NOW)) + repr(KEYRING) + repr(ask())
