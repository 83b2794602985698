"""TLS of a Cloud's port 9001, for those who reach its nodes through `kubectl port-forward`."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from moln.errors import CliError
from moln_spec import peertls

if TYPE_CHECKING:
    from collections.abc import Mapping


def connections(files: Mapping[str, str] | None, name: str) -> urllib3.PoolManager:
    """Connections to nodes, by TLS where an address says https: one checks the other's certificate.

    Args:
        files: the Secret of port 9001; None for who may not read it. Then nothing is checked and nothing shown, which
            is enough for the open pages alone: the way to the node is Kubernetes' own, and no secret goes along.
        name: a name that each node's certificate has.
    """
    context = _unchecked() if files is None else _checked(files)
    return urllib3.PoolManager(maxsize=2, ssl_context=context, server_hostname=name)


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _checked(files: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=files[peertls.TRUSTED_FILE])
        with tempfile.TemporaryDirectory(prefix="moln-") as folder:  # OpenSSL takes a certificate from a file alone
            pair = Path(folder) / "pair.pem"
            pair.write_text(files[peertls.CERTIFICATE_FILE] + files[peertls.KEY_FILE], encoding="utf-8")
            context.load_cert_chain(pair)
    except (KeyError, OSError) as error:  # ssl.SSLError is an OSError
        raise CliError(f"the Secret with the certificates of port 9001 can't be used: {error}") from error
    return context
