"""TLS on the S3 port: a real node, real certificates, a real client that checks them."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from tests.certificates import Pair
from tests.node.process.harness import ACCESS_KEY, SECRET_KEY, Node, Nodes, wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A certificate and its key."""
    found = Pair(tmp_path / "tls.crt", tmp_path / "tls.key")
    found.renew()
    return found


def serve(nodes: Nodes, pair: Pair) -> Node:
    """A node that speaks TLS on its S3 port."""
    return nodes.start(tls_certificate=str(pair.chain), tls_key=str(pair.key))


def client(node: Node, pair: Pair) -> Any:
    """A client that accepts this certificate and no other."""
    return boto3.client(
        "s3",
        endpoint_url=f"https://{node.s3}",
        verify=str(pair.chain),
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def serial(node: Node) -> int:
    """The serial number of the certificate that a new connection gets."""
    host, _, port = node.s3.rpartition(":")
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode()).serial_number


def test_a_client_that_checks_certificates_reads_what_it_wrote(nodes: Nodes, pair: Pair) -> None:
    """Large and small bodies come back bit for bit over TLS."""
    s3 = client(serve(nodes, pair), pair)
    s3.create_bucket(Bucket="safe")
    for size in (0, 100, 5_000_000):
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        s3.put_object(Bucket="safe", Key=f"k{size}", Body=body)
        assert s3.get_object(Bucket="safe", Key=f"k{size}")["Body"].read() == body


def test_a_policy_tells_tls_from_plain_http(nodes: Nodes, pair: Pair) -> None:
    """`aws:SecureTransport` is what the connection is, and a forwarded header changes that only where it is trusted."""
    deny = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::tls/*"},
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::tls/*",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
    secure = serve(nodes, pair)
    s3 = client(secure, pair)
    s3.create_bucket(Bucket="tls")
    s3.put_object(Bucket="tls", Key="k", Body=b"seen")
    s3.put_bucket_policy(Bucket="tls", Policy=json.dumps(deny))
    assert s3.get_object(Bucket="tls", Key="k")["Body"].read() == b"seen"
    secure.stop()

    for trusted, status in (("off", 403), ("on", 200)):
        plain = nodes.start(trust_forwarded=trusted)
        with pytest.raises(ClientError):
            plain.client().get_object(Bucket="tls", Key="k")
        url = f"http://{plain.s3}/tls/k"
        assert plain.pool.request("GET", url, headers={"X-Forwarded-Proto": "https"}).status == status
        plain.stop()


def test_a_renewed_certificate_is_served_without_a_restart(nodes: Nodes, pair: Pair) -> None:
    """New connections get the new one within seconds; one that doesn't fit its key changes nothing."""
    node = serve(nodes, pair)
    old = client(node, pair)
    old.create_bucket(Bucket="before")
    renewed = pair.renew()
    wait_until("the new certificate is served", lambda: serial(node) == renewed)
    assert [bucket["Name"] for bucket in old.list_buckets()["Buckets"]] == ["before"]  # its connection is still open

    whole = pair.chain.read_bytes()
    Pair(pair.chain, pair.key.with_name("another.key")).renew()
    wait_until("the pair that doesn't fit is noticed", lambda: "can't be used" in node.log())
    assert serial(node) == renewed
    pair.chain.write_bytes(whole)


def test_a_certificate_that_cannot_be_used_is_a_reason_not_to_start(nodes: Nodes, pair: Pair) -> None:
    """In one sentence, which never asks for a password."""
    pair.key.write_text("no key")
    code, line = nodes.refused(tls_certificate=str(pair.chain), tls_key=str(pair.key))
    assert code != 0
    assert f"cannot use the certificate {pair.chain}" in line
    code, line = nodes.refused(tls_key=str(pair.key))
    assert "--tls-certificate and --tls-key go together" in line
