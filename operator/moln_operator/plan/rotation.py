"""The next step of a change of the cloud secret, and which pods' files Kubernetes is asked to bring up to date. Pure.

Nodes read the secrets that they are given from a file: they send the first and accept all. From `old` to `new` leads
`old, new`, then `new, old`, then `new`. Whoever is one step behind speaks with everybody else, and a step is taken only
when every node has said that it is where the last one led; so nobody is ever refused. Nothing is remembered: what nodes
were given and what is wanted say it all, and an edit in the midst of a rotation is one more row of the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_spec.cloudsecret import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moln_operator.observe.state import ClusterSecret, Observed
    from moln_spec.cloudmap import CloudMap
    from moln_spec.nodestatus import NodeStatus

ACCEPT: Final = "every node comes to accept the new one, too"
SEND: Final = "every node comes to send the new one"
DROP: Final = "every node drops the old one"
REFRESH_SECONDS: Final = 10
"""How long a pod's files may take once Kubernetes was asked; then it is asked again."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """Where a change of the cloud secret is.

    Attributes:
        given: the secrets that nodes are to be given.
        doing: what nodes come to do by that; empty where nothing changes.
        waits: who has yet to say that it does, as sentences.
    """

    given: tuple[str, ...]
    doing: str = ""
    waits: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What is going on, as a sentence."""
        return f"the secret of port 9001 changes: {self.doing}"


@dataclass(frozen=True, slots=True)
class Behind:
    """Who has not said that it has the secrets which nodes were given last, as sentences.

    Attributes:
        old: nodes that say that they have others.
        silent: nodes that say nothing of it.
    """

    old: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def rotation(cluster: ClusterSecret, behind: Behind) -> Rotation:
    """The next step from what nodes were given last to what is wanted."""
    given, wanted, waits = cluster.given, cluster.wanted, (*behind.old, *behind.silent)
    if not given:
        return Rotation((wanted,))
    if given == (wanted,):
        return Rotation(given, DROP if behind.old else "", behind.old)
    if len(given) == 1:  # one more that is accepted harms nobody, however far others are
        return Rotation((given[0], wanted), ACCEPT)
    if waits:
        return Rotation(given, SEND if given[0] == wanted else ACCEPT, waits)
    if given[0] == wanted:
        return Rotation((wanted,), DROP)
    return Rotation((wanted, given[0]), SEND) if wanted in given else Rotation((given[0], wanted), ACCEPT)


def who_is_behind(observed: Observed, cloud_map: CloudMap | None) -> Behind:
    """The nodes of the map, wherever they are, and pods whether or not the map names them."""
    if observed.cluster is None or not observed.cluster.given:
        return Behind()
    named = {node.name for node in cloud_map.nodes} if cloud_map is not None else set()
    expected = _fingerprints(observed.cluster.given)
    old, silent = [], []
    for name in sorted(named | observed.pods.keys()):
        status = observed.answer(name).status
        if status is None:
            silent.append(f"{name} does not answer")
        elif status.secrets is None:
            silent.append(f"{name} runs a release that does not say which secrets it accepts")
        elif status.secrets != expected:
            old.append(f"{name} has yet to read it")
    return Behind(tuple(old), tuple(silent))


def refreshes(observed: Observed) -> Mapping[str, str]:
    """The pods whose mounted Secrets are old, and the mark by which Kubernetes looks at them at once.

    By itself it does so about once a minute; a pod whose annotations change is looked at within moments.
    """
    if observed.cluster is None or not observed.cluster.given:
        return {}
    secrets = _fingerprints(observed.cluster.given)
    peers = observed.peers.fingerprint if observed.peers is not None else ""
    mark, now = fingerprint("/".join((*secrets, observed.certificate, peers))), int(observed.now)
    return {
        name: f"{mark}/{now}"
        for name, answer in observed.answers.items()
        if answer.status is not None
        and _is_old(answer.status, secrets, observed.certificate, peers)
        and not _is_asked(observed.pods[name].content["refreshed"], mark, now)
    }


def _is_old(status: NodeStatus, secrets: tuple[str, ...], certificate: str, peers: str) -> bool:
    """Whether a node works by other files; one without TLS has no certificates to bring up to date."""
    if status.secrets is None:
        return False
    return (
        status.secrets != secrets or _differs(status.certificate, certificate) or _differs(status.peer_tls or "", peers)
    )


def _differs(has: str, wanted: str) -> bool:
    return bool(has and wanted and has != wanted)


def _is_asked(refreshed: str, mark: str, now: int) -> bool:
    before, _, at = refreshed.partition("/")
    return before == mark and at.isdecimal() and now - int(at) < REFRESH_SECONDS


def _fingerprints(secrets: Iterable[str]) -> tuple[str, ...]:
    return tuple(fingerprint(secret) for secret in secrets)
