"""CORS as browsers use it: preflights, the headers of answers and of errors, and the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from moln_node.s3.cors import Rule, match

if TYPE_CHECKING:
    import http.client

ALLOW = "access-control-allow-"


def send(raw: http.client.HTTPConnection, method: str, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    """Send a request; status and headers (lower case) of the answer. `_` stands for `-` in header names."""
    raw.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = raw.getresponse()
    answer.read()
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}


def rules(s3: Any, bucket: str, *given: dict[str, Any]) -> None:
    """Put these rules."""
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": list(given)})


def test_configuration(s3: Any, bucket: str, refused: Any) -> None:
    """Rules read back as they were put, and are gone when they are deleted."""
    with refused(404, "NoSuchCORSConfiguration"):
        s3.get_bucket_cors(Bucket=bucket)
    full = {
        "ID": "one",
        "AllowedOrigins": ["https://*.example.com", "http://localhost"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["x-amz-*", "content-type"],
        "ExposeHeaders": ["ETag", "x-amz-version-id"],
        "MaxAgeSeconds": 600,
    }
    short = {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]}
    rules(s3, bucket, full, short)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [full, short]
    s3.delete_bucket_cors(Bucket=bucket)
    with refused(404, "NoSuchCORSConfiguration"):
        s3.get_bucket_cors(Bucket=bucket)


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}, "InvalidRequest"),
        ({"AllowedOrigins": ["http://*.*"], "AllowedMethods": ["GET"]}, "InvalidRequest"),
        ({"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*a*"]}, "InvalidRequest"),
        ({"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "ExposeHeaders": ["*"]}, "InvalidRequest"),
        ({"AllowedOrigins": [], "AllowedMethods": ["GET"]}, "MalformedXML"),
        ({"AllowedOrigins": ["*"], "AllowedMethods": []}, "MalformedXML"),
    ],
)
def test_refused_rules(s3: Any, bucket: str, refused: Any, rule: dict[str, Any], code: str) -> None:
    """Rules that S3 does not have are refused."""
    with refused(400, code):
        rules(s3, bucket, rule)
    with refused(400, "InvalidRequest"):
        rules(s3, bucket, *[{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}] * 101)


def test_preflight(s3: Any, bucket: str, raw: http.client.HTTPConnection) -> None:
    """A preflight is answered by the first rule that has origin, method and headers; 403 when none has."""
    rules(
        s3,
        bucket,
        {"AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["x-amz-*"],
         "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 600},
        {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]},
    )  # fmt: skip
    path = f"/{bucket}/a%2Fkey?versionId=1"
    status, headers = send(
        raw,
        "OPTIONS",
        path,
        Origin="https://www.example.com",
        Access_Control_Request_Method="PUT",
        Access_Control_Request_Headers="X-Amz-Date, x-amz-acl",
    )
    assert status == 200
    assert headers[ALLOW + "origin"] == "https://www.example.com"
    assert headers[ALLOW + "methods"] == "GET, PUT"
    assert headers[ALLOW + "headers"] == "x-amz-date, x-amz-acl"
    assert headers[ALLOW + "credentials"] == "true"
    assert headers["access-control-max-age"] == "600"
    assert headers["access-control-expose-headers"] == "ETag"
    assert "Origin" in headers["vary"]
    status, headers = send(raw, "OPTIONS", path, Origin="http://other", Access_Control_Request_Method="GET")
    assert (status, headers[ALLOW + "origin"], ALLOW + "credentials" in headers) == (200, "*", False)
    for refused in (
        {"Origin": "http://other", "Access_Control_Request_Method": "PUT"},
        {"Origin": "http://other", "Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "x-a"},
        {"Origin": "https://www.example.com.evil", "Access_Control_Request_Method": "PUT"},
    ):
        status, headers = send(raw, "OPTIONS", path, **refused)
        assert (status, ALLOW + "origin" in headers) == (403, False)
    assert send(raw, "OPTIONS", path, Access_Control_Request_Method="GET")[0] == 400
    assert send(raw, "OPTIONS", path, Origin="http://other")[0] == 400
    assert send(raw, "OPTIONS", path, Origin="http://other", Access_Control_Request_Method="PATCH")[0] == 400


def test_preflight_without_rules(bucket: str, raw: http.client.HTTPConnection) -> None:
    """A bucket without rules allows no other origin, and a bucket that is not there is not found."""
    ask = {"Origin": "http://a", "Access_Control_Request_Method": "GET"}
    assert send(raw, "OPTIONS", f"/{bucket}", **ask)[0] == 403
    assert send(raw, "OPTIONS", "/no-such-bucket-here", **ask)[0] == 404


def test_answers_carry_the_headers(s3: Any, bucket: str, raw: http.client.HTTPConnection) -> None:
    """Answers and errors to an allowed origin can be read by its scripts; to others and to none, nothing is added."""
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 100_000, ACL="public-read")
    rules(s3, bucket, {"AllowedOrigins": ["http://a"], "AllowedMethods": ["GET"], "ExposeHeaders": ["ETag"]})
    for path, expected in ((f"/{bucket}", 200), (f"/{bucket}/k", 200), (f"/{bucket}/missing", 404)):
        status, headers = send(raw, "GET", path, Origin="http://a")
        assert (status, headers[ALLOW + "origin"], headers[ALLOW + "methods"]) == (expected, "http://a", "GET")
        assert headers["access-control-expose-headers"] == "ETag"
        assert ALLOW + "origin" not in send(raw, "GET", path, Origin="http://b")[1]
        assert ALLOW + "origin" not in send(raw, "GET", path)[1]
    status, headers = send(raw, "PUT", f"/{bucket}/k", Origin="http://a", Content_Length="0")
    assert (status, ALLOW + "origin" in headers) == (403, False)
    status, headers = send(
        raw, "PUT", f"/{bucket}/k", Origin="http://a", Access_Control_Request_Method="GET", Content_Length="0"
    )
    assert (status, headers[ALLOW + "origin"]) == (403, "http://a")


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("*", "x", "*"),
        ("http://a", "http://a", "http://a"),
        ("http://a", "http://ab", None),
        ("*.suffix", "foo.suffix", "foo.suffix"),
        ("*.suffix", ".suffix", ".suffix"),
        ("*.suffix", "foo.suffix.get", None),
        ("start*end", "startend", "startend"),
        ("start*end", "start12end", "start12end"),
        ("start*end", "0startend", None),
        ("prefix*", "prefix.suffix", "prefix.suffix"),
        ("prefix*", "bla.prefix", None),
    ],
)
def test_origins(pattern: str, origin: str, allowed: str | None) -> None:
    """A wildcard in an origin stands for any run of characters, in its place."""
    found = match((Rule((pattern,), ("GET",)),), origin, "GET", ())
    assert (found and found[1]) == allowed
