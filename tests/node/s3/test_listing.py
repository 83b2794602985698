"""Listings of both versions with every parameter, by boto3, held against a model that sorts in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus
from urllib.request import urlopen
from xml.etree import ElementTree as ET

import pytest
from botocore.handlers import set_list_objects_encoding_type_url
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Refused = Callable[[int, str], Any]

KEYS = sorted(
    (
        "a", "a/", "a//", "a/b", "a/b/c", "a/b/d", "a0", "A", "A/x", "a b", "a%2Fb", "a+b", "b", "b/1", "b/2", "b/3/4",
        "..", "../x", "/", "//", "/lead", "z", "ä", "ä/ö", "雪/1", "雪/2", "a\n", "\x01", "_", "a_b/c", "quux",
        "quux/a", "&<>\"'", "x-1", "x-10", "x-2", "ab--c", "ab--d", "ab-e",
    ),
    key=lambda key: key.encode(),
)  # fmt: skip


@pytest.fixture(scope="module")
def listed(server: Any) -> Iterator[tuple[Any, str]]:
    """A client and a bucket that holds `KEYS`."""
    client = server.client()
    client.create_bucket(Bucket="listed")
    for key in KEYS:
        client.put_object(Bucket="listed", Key=key, Body=key.encode())
    yield client, "listed"
    client.close()


def model(prefix: str, delimiter: str, after: str) -> list[tuple[str, str]]:
    """What a whole listing holds: keys strictly after a point, and the common prefixes of such keys, in byte order.

    A point that is itself a common prefix passes its whole group; one inside of a group passes only what is before it.
    """
    entries: set[tuple[str, str]] = set()
    for key in KEYS:
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        place = key.find(delimiter, len(prefix)) if delimiter else -1
        entries.add(("key", key) if place < 0 else ("prefix", key[: place + len(delimiter)]))
    return sorted(entries - {("prefix", after)}, key=lambda entry: entry[1].encode())


def entries_of(page: dict[str, Any]) -> list[tuple[str, str]]:
    """The entries of a page in byte order."""
    found = [("key", entry["Key"]) for entry in page.get("Contents", ())]
    found += [("prefix", entry["Prefix"]) for entry in page.get("CommonPrefixes", ())]
    return sorted(found, key=lambda entry: entry[1].encode())


PREFIXES = st.sampled_from(
    ["", "", "", "a", "a/", "a/b", "b/", "雪", "ä", "/", "..", "x-", "ab-", "none", "\x01", "a\n"]
)
DELIMITERS = st.sampled_from(["", "/", "-", "--", "b", "%", " ", "ö", "none", "\n"])
AFTERS = st.sampled_from(["", "a", "a/", "a/b", "a/b/", "b/", "A", "zz", "雪/", "x-1", "ab--", "/", "\x01"])
LIMITS = st.sampled_from([1, 2, 3, 5, 40])
EXAMPLES = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@EXAMPLES
@given(prefix=PREFIXES, delimiter=DELIMITERS, after=AFTERS, limit=LIMITS)
def test_version_2_agrees_with_the_model(
    listed: tuple[Any, str], prefix: str, delimiter: str, after: str, limit: int
) -> None:
    """Paged by any page size, every key and every common prefix comes once, in order, and pages are full."""
    client, bucket = listed
    expected = model(prefix, delimiter, after)
    found: list[tuple[str, str]] = []
    parameters = {"Bucket": bucket, "Prefix": prefix, "Delimiter": delimiter, "MaxKeys": limit, "StartAfter": after}
    while True:
        page = client.list_objects_v2(**parameters)
        entries = entries_of(page)
        assert page["KeyCount"] == len(entries)
        found += entries
        if not page["IsTruncated"]:
            break
        assert len(entries) == limit
        parameters["ContinuationToken"] = page["NextContinuationToken"]
    assert found == expected


@EXAMPLES
@given(prefix=PREFIXES, delimiter=DELIMITERS, after=AFTERS, limit=LIMITS)
def test_version_1_agrees_with_the_model(
    listed: tuple[Any, str], prefix: str, delimiter: str, after: str, limit: int
) -> None:
    """The same by markers: NextMarker where a delimiter was given, the last key elsewhere."""
    client, bucket = listed
    expected = model(prefix, delimiter, after)
    found: list[tuple[str, str]] = []
    marker = after
    while True:
        page = client.list_objects(Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=limit, Marker=marker)
        entries = entries_of(page)
        found += entries
        assert ("NextMarker" in page) == bool(delimiter and page["IsTruncated"])
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"] if delimiter else page["Contents"][-1]["Key"]
    assert found == expected


def test_entries_tell_what_head_tells(listed: tuple[Any, str]) -> None:
    """Size, etag, time, class and owner of an entry are those of the object."""
    client, bucket = listed
    entry = client.list_objects_v2(Bucket=bucket, Prefix="quux/a", FetchOwner=True)["Contents"][0]
    head = client.head_object(Bucket=bucket, Key="quux/a")
    assert (entry["Size"], entry["ETag"], entry["LastModified"]) == (6, head["ETag"], head["LastModified"])
    assert entry["StorageClass"] == "STANDARD"
    assert entry["Owner"] == {"ID": "main-id", "DisplayName": "Main"}
    assert "Owner" not in client.list_objects_v2(Bucket=bucket, Prefix="quux/a")["Contents"][0]
    assert "Owner" in client.list_objects(Bucket=bucket, Prefix="quux/a")["Contents"][0]


def test_page_sizes(listed: tuple[Any, str], refused: Refused) -> None:
    """Zero gives an empty page that is not truncated, more than 1,000 is 1,000, nonsense is refused."""
    client, bucket = listed
    for call in (client.list_objects, client.list_objects_v2):
        empty = call(Bucket=bucket, MaxKeys=0)
        assert (empty["IsTruncated"], empty["MaxKeys"], empty.get("Contents", [])) == (False, 0, [])
        assert call(Bucket=bucket, MaxKeys=5000)["MaxKeys"] == 1000
        with refused(400, "InvalidArgument"):
            call(Bucket=bucket, MaxKeys=-1)


def test_parameters_are_echoed(listed: tuple[Any, str]) -> None:
    """What was asked comes back in the answer, as S3 has it."""
    client, bucket = listed
    page = client.list_objects_v2(Bucket=bucket, Prefix="a", Delimiter="/", StartAfter="a/", MaxKeys=2)
    assert (page["Name"], page["Prefix"], page["Delimiter"], page["StartAfter"]) == (bucket, "a", "/", "a/")
    token = page["NextContinuationToken"]
    page = client.list_objects_v2(Bucket=bucket, Prefix="a", Delimiter="/", StartAfter="zzz", ContinuationToken=token)
    assert page["ContinuationToken"] == token
    assert page["StartAfter"] == "zzz"
    first = client.list_objects(Bucket=bucket, Prefix="a", Marker="a", Delimiter="/")
    assert (first["Prefix"], first["Marker"], first["Delimiter"], first["MaxKeys"]) == ("a", "a", "/", 1000)


def test_tokens_that_nobody_made_are_refused(listed: tuple[Any, str], refused: Refused) -> None:
    """A continuation token is opaque, and checked."""
    client, bucket = listed
    for token in ("nonsense", "a", "MTo", "é"):
        with refused(400, "InvalidArgument"):
            client.list_objects_v2(Bucket=bucket, ContinuationToken=token)
    assert client.list_objects_v2(Bucket=bucket, ContinuationToken="")["KeyCount"] == len(KEYS)


def test_encoding_is_what_the_client_asks_for(listed: tuple[Any, str]) -> None:
    """Without encoding-type keys stand as they are (escaped for XML), with `url` they are percent-encoded."""
    client, bucket = listed
    parameters = {"Bucket": bucket, "Prefix": "a", "Delimiter": " "}
    event = "before-parameter-build.s3.ListObjectsV2"
    client.meta.events.unregister(event, set_list_objects_encoding_type_url)
    url = client.generate_presigned_url("list_objects_v2", Params=parameters)
    with urlopen(url) as answer:  # noqa: S310 our own server
        root = ET.fromstring(answer.read())  # noqa: S314 our own server
    space = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
    keys = [element.text for element in root.findall("s3:Contents/s3:Key", space)]
    assert "a+b" in keys
    assert "a%2Fb" in keys
    url = client.generate_presigned_url("list_objects_v2", Params=parameters | {"EncodingType": "url"})
    with urlopen(url) as answer:  # noqa: S310 our own server
        root = ET.fromstring(answer.read())  # noqa: S314 our own server
    keys = [element.text for element in root.findall("s3:Contents/s3:Key", space)]
    assert "a%2Bb" in keys
    assert "a%252Fb" in keys
    assert "a/b" in keys
    prefixes = [unquote_plus(element.text or "") for element in root.findall("s3:CommonPrefixes/s3:Prefix", space)]
    assert prefixes == ["a "]
    client.meta.events.register(event, set_list_objects_encoding_type_url)


def test_wrong_encodings_and_types_are_refused(listed: tuple[Any, str], refused: Refused) -> None:
    """Only `url` is an encoding."""
    client, bucket = listed
    with refused(400, "InvalidArgument"):
        client.list_objects_v2(Bucket=bucket, EncodingType="base64")


def test_a_listing_of_no_bucket(s3: Any, refused: Refused) -> None:
    """NoSuchBucket, whichever way it is asked."""
    for call in (s3.list_objects, s3.list_objects_v2, s3.list_object_versions, s3.list_multipart_uploads):
        with refused(404, "NoSuchBucket"):
            call(Bucket="no-such-bucket")
