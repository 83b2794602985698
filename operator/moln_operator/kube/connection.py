"""How the API server is reached: as the pod's service account, or by the kubeconfig outside of a cluster."""

from __future__ import annotations

import socket
import ssl
from typing import Final

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.core.exceptions import ConfigError

from moln_operator.kube.api import FIELD_MANAGER
from moln_operator.kube.kinds import WATCHED

WORKING_CONNECTIONS: Final = 50

# A connection whose other end vanished is given up after about a minute, so that no watch hangs on it.
_KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


def connect(namespaces: int) -> AsyncClient:
    """A client for watches of every kind in this many namespaces, and the workers' calls beside them. ConfigError."""
    config = KubeConfig.from_env().get()
    if config is None or config.user is None:
        raise ConfigError("no cluster: run in a pod with a service account, or name a kubeconfig in KUBECONFIG")
    context = verify_cluster(config.cluster, config.user, config.abs_file)
    # Python 3.13 asks for extensions that the certificates of many clusters lack (no Authority Key Identifier); the
    # signature, the name and the validity are checked as before.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    limits = httpx2.Limits(max_connections=namespaces * len(WATCHED) + WORKING_CONNECTIONS)
    transport = httpx2.AsyncHTTPTransport(verify=context, limits=limits, socket_options=_KEEP_ALIVE)
    return AsyncClient(config=config, field_manager=FIELD_MANAGER, transport=transport)
