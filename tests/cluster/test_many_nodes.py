"""What clients do against three nodes, sprayed over all of them: real processes, real sockets, real disks."""

from __future__ import annotations

import hashlib
import random
import re
from itertools import cycle
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from tests.cluster.nodes import SECRET

if TYPE_CHECKING:
    from tests.cluster.client import Answer, Client
    from tests.cluster.nodes import Cloud, Node

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("many nodes"),  # one cloud for all
    pytest.mark.asyncio(loop_scope="module"),
]


def keys_of(answer: Answer) -> list[str]:
    """The keys in a listing."""
    return re.findall(r"<Key>([^<]*)</Key>", answer.body.decode())


def next_token(answer: Answer) -> str | None:
    """Where a listing goes on."""
    found = ET.fromstring(answer.body).find("{*}NextContinuationToken")  # noqa: S314 (our own answer)
    return None if found is None else found.text


async def test_any_node_reads_what_any_node_wrote(three: Cloud, client: Client) -> None:
    """An acknowledged put, small or large, is what every node answers at once, and so is a delete."""
    nodes = list(three.nodes.values())
    assert (await client.call(nodes[0], "PUT", "/values")).status == 200
    randomness = random.Random(1)
    for turn, size in enumerate((0, 5, 70_000, 1_500_000)):
        body = randomness.randbytes(size)
        writer = nodes[turn % 3]
        assert (await client.call(writer, "PUT", f"/values/of size {size}", body)).status == 200
        for node in nodes:
            answer = await client.call(node, "GET", f"/values/of size {size}")
            assert (answer.status, answer.body) == (200, body)
        assert (await client.call(nodes[(turn + 1) % 3], "DELETE", f"/values/of size {size}")).status == 204
        for node in nodes:
            assert (await client.call(node, "GET", f"/values/of size {size}")).status == 404


async def test_a_condition_is_decided_once_for_all_nodes(three: Cloud, client: Client) -> None:
    """If-None-Match and If-Match hold against what another node wrote."""
    nodes = cycle(three.nodes.values())
    await client.call(next(nodes), "PUT", "/conditions")
    assert (await client.call(next(nodes), "PUT", "/conditions/k", b"1", {"If-None-Match": "*"})).status == 200
    assert (await client.call(next(nodes), "PUT", "/conditions/k", b"2", {"If-None-Match": "*"})).status == 412
    etag = hashlib.md5(b"1", usedforsecurity=False).hexdigest()
    assert (await client.call(next(nodes), "PUT", "/conditions/k", b"3", {"If-Match": etag})).status == 200
    assert (await client.call(next(nodes), "PUT", "/conditions/k", b"4", {"If-Match": etag})).status == 412
    assert (await client.call(next(nodes), "GET", "/conditions/k")).body == b"3"


async def test_listings_merge_all_nodes(three: Cloud, client: Client) -> None:
    """Pages of a listing, asked of one node after the other, hold every key once, in order."""
    nodes = cycle(three.nodes.values())
    await client.call(next(nodes), "PUT", "/listings")
    wanted = sorted(f"{folder}/{number:02}" for folder in "abc" for number in range(9))
    for key in wanted:
        assert (await client.call(next(nodes), "PUT", f"/listings/{key}", b"x")).status == 200
    await client.call(next(nodes), "PUT", "/listings/gone", b"x")
    await client.call(next(nodes), "DELETE", "/listings/gone")
    got: list[str] = []
    query = {"list-type": "2", "max-keys": "5"}
    while True:
        answer = await client.call(next(nodes), "GET", "/listings", query=query)
        assert answer.status == 200
        got += keys_of(answer)
        token = next_token(answer)
        if token is None:
            break
        query["continuation-token"] = token
    assert got == wanted
    groups = await client.call(next(nodes), "GET", "/listings", query={"list-type": "2", "delimiter": "/"})
    assert re.findall(r"<Prefix>([^<]+)</Prefix>", groups.body.decode()) == ["a/", "b/", "c/"]


async def test_a_bucket_is_the_same_on_every_node(three: Cloud, client: Client) -> None:
    """Made, changed and deleted through one node, it is so on all at once; one that holds something stays."""
    nodes = list(three.nodes.values())
    assert (await client.call(nodes[0], "PUT", "/buckets")).status == 200
    for node in nodes:
        assert (await client.call(node, "HEAD", "/buckets")).status == 200
    versioned = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert (await client.call(nodes[1], "PUT", "/buckets", versioned, query={"versioning": ""})).status == 200
    first = await client.call(nodes[2], "PUT", "/buckets/k", b"1")
    second = await client.call(nodes[0], "PUT", "/buckets/k", b"2")
    assert first.headers is not None
    assert second.headers is not None
    old = first.headers["x-amz-version-id"]
    assert (await client.call(nodes[1], "GET", "/buckets/k", query={"versionId": old})).body == b"1"
    assert (await client.call(nodes[1], "DELETE", "/buckets")).status == 409
    for answer in (first, second):
        assert answer.headers is not None
        version = {"versionId": answer.headers["x-amz-version-id"]}
        assert (await client.call(nodes[2], "DELETE", "/buckets/k", query=version)).status == 204
    assert (await client.call(nodes[1], "DELETE", "/buckets")).status == 204
    for node in nodes:
        assert (await client.call(node, "HEAD", "/buckets")).status == 404


async def test_an_upload_in_parts_through_all_nodes(three: Cloud, client: Client) -> None:
    """Begun, filled, listed and completed through different nodes, it is one object, and the upload is gone."""
    nodes = list(three.nodes.values())
    await client.call(nodes[0], "PUT", "/uploads")
    begun = await client.call(nodes[1], "POST", "/uploads/big", query={"uploads": ""})
    upload_id = ET.fromstring(begun.body).findtext("{*}UploadId") or ""  # noqa: S314 (our own answer)
    randomness = random.Random(2)
    bodies = [randomness.randbytes(5 * 1024 * 1024), randomness.randbytes(1000)]
    parts = ""
    for number, body in enumerate(bodies, start=1):
        query = {"partNumber": str(number), "uploadId": upload_id}
        answer = await client.call(nodes[number % 3], "PUT", "/uploads/big", body, query=query)
        assert answer.status == 200
        parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.etag}</ETag></Part>"
    under_way = await client.call(nodes[0], "GET", "/uploads", query={"uploads": ""})
    assert upload_id.encode() in under_way.body
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    done = await client.call(nodes[0], "POST", "/uploads/big", document, query={"uploadId": upload_id})
    assert done.status == 200, done.body
    for node in nodes:
        assert (await client.call(node, "GET", "/uploads/big")).body == b"".join(bodies)
        assert upload_id.encode() not in (await client.call(node, "GET", "/uploads", query={"uploads": ""})).body


async def test_one_node_of_three_may_be_gone(three: Cloud, client: Client) -> None:
    """With one node dead, reads, writes and listings go on; with two dead they are refused, not answered wrongly."""
    first, second, third = three.nodes.values()
    await client.call(first, "PUT", "/faults")
    await client.call(first, "PUT", "/faults/before", b"before")
    await third.kill()
    assert (await client.call(second, "PUT", "/faults/after", b"after" * 30_000)).status == 200
    assert (await client.call(first, "GET", "/faults/before")).body == b"before"
    assert (await client.call(first, "GET", "/faults/after")).body == b"after" * 30_000
    assert keys_of(await client.call(first, "GET", "/faults")) == ["after", "before"]
    await second.kill()
    assert (await client.call(first, "PUT", "/faults/later", b"later")).status == 503
    assert (await client.call(first, "GET", "/faults/before")).status == 503
    await third.start()
    assert (await client.call(third, "GET", "/faults/after")).body == b"after" * 30_000
    await second.start()


async def test_any_node_tells_where_a_key_is(three: Cloud, client: Client) -> None:
    """The owners, the versions that each of them has, and which of them does not answer."""
    nodes = list(three.nodes.values())
    await client.call(nodes[0], "PUT", "/places")
    await client.call(nodes[0], "PUT", "/places/k", b"1")

    async def where(node: Node, bucket: str) -> tuple[int, dict[str, Any]]:
        query = {"bucket": bucket, "key": "k"}
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with client.http.get(f"http://{node.peer}/v1/where", params=query, headers=headers) as answer:
            return answer.status, await answer.json()

    for node in nodes:
        status, found = await where(node, "places")
        assert (status, found["key"], {copy["owner"] for copy in found["copies"]}) == (200, "k", {"now"})
        assert {copy["node"] for copy in found["copies"]} == set(three.nodes)
        assert sum(copy["versions"] == ["null"] for copy in found["copies"]) >= 2
    await nodes[2].kill()
    try:
        found = (await where(nodes[0], "places"))[1]
        assert [copy["node"] for copy in found["copies"] if not copy["answers"]] == [nodes[2].name]
    finally:
        await nodes[2].start()
    assert (await where(nodes[0], "nowhere"))[0] == 404
