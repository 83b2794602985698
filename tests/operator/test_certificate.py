"""Pairs of certificate and key as Secrets hold them: which fit, and what is said of those that do not."""

from __future__ import annotations

import ssl
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from tests.certificates import Pair

from moln_operator.observe.certificate import fingerprint_of_pair

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A certificate and its key."""
    made = Pair(tmp_path / "tls.crt", tmp_path / "tls.key")
    made.renew()
    return made


def test_the_fingerprint_is_of_the_first_certificate(pair: Pair) -> None:
    """A chain is known by the certificate that it begins with, as nodes know theirs."""
    first, key = pair.chain.read_text(), pair.key.read_text()
    pair.renew()
    expected = sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
    assert fingerprint_of_pair(first + pair.chain.read_text(), key) == expected


def test_what_does_not_fit_is_refused_with_why(pair: Pair) -> None:
    """Each of both that can't be read, and a key of another certificate."""
    chain, key = pair.chain.read_text(), pair.key.read_text()
    pair.renew()
    for one, other, why in (
        ("", key, "tls.crt is no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key, "tls.crt is no certificate in PEM"),
        (chain, "", "tls.key is no private key in PEM"),
        (chain, pair.key.read_text(), "tls.key is not the key of the certificate"),
    ):
        with pytest.raises(ValueError, match=why):
            fingerprint_of_pair(one, other)
