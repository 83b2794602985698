"""TLS at the nodes, as a user asks for it: a Secret, and a renewal of it."""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING

import pytest
import urllib3
from cryptography import x509
from tests.certificates import Pair
from tests.e2e.cluster import Namespace, a_cloud, eventually

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab


def secret(pair: Pair) -> dict[str, object]:
    """The certificate as `kubectl create secret tls` writes it."""
    data = {
        name: base64.b64encode(path.read_bytes()).decode()
        for name, path in (("tls.crt", pair.chain), ("tls.key", pair.key))
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cert"},
        "type": "kubernetes.io/tls",
        "data": data,
    }


def test_a_cloud_speaks_tls_with_the_certificate_of_a_secret(namespace: Namespace, tmp_path: Path) -> None:
    """The status says what is missing; then clients that check the name get an answer, also after a renewal."""
    namespace.operator()
    dns = f"photos.{namespace.name}.svc"
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", dns)
    pair.renew()
    namespace.apply(a_cloud("photos", tls={"secretName": "cert"}))
    eventually(
        lambda: "Secret cert with the certificate" in namespace.condition("photos", "Degraded").get("message", ""),
        "the status names the Secret that is missing",
    )
    namespace.apply(secret(pair))
    namespace.wait_ready("photos", 150)
    assert namespace.get("cloud", "photos")["status"]["endpoint"] == f"https://{dns}:9000"
    address = namespace.get("pod", "photos-0")["status"]["podIP"]
    pool = urllib3.HTTPSConnectionPool(
        address, 9000, ca_certs=str(pair.chain), server_hostname=dns, assert_hostname=dns, retries=False, timeout=10
    )
    assert pool.request("GET", "/").status == 403  # unsigned: S3 itself has answered
    pool.close()

    renewed = pair.renew()
    namespace.apply(secret(pair))

    def served() -> bool:
        found = ssl.get_server_certificate((address, 9000), timeout=10)
        return x509.load_pem_x509_certificate(found.encode()).serial_number == renewed

    eventually(served, "the new certificate is served", 150)  # the kubelet looks at mounted Secrets once a minute
