"""TLS on port 9001: the next step on the way to it, back from it, or from one authority to the next. Pure.

A Cloud that asks for TLS gets an authority of its own, and nodes a certificate of it, in a Secret that they read again
within seconds. Where one is a step behind, both take each other's calls (`moln_spec.peertls`), and a step is taken only
when every node has said that it is where the last one led; so nobody is ever refused. Nothing is remembered: what nodes
were given and what is wanted say it all.

    off -> accept -> send -> require        back: the same, the other way
    trust old -> trust both -> show a certificate of the new -> trust new
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_operator.plan import names
from moln_operator.plan.rotation import Behind
from moln_spec import peertls

if TYPE_CHECKING:
    from moln_operator.observe.state import Authority, Observed, PeerFiles
    from moln_spec.cloudmap import CloudMap

_UP: Final[dict[peertls.Mode, peertls.Mode]] = {"accept": "send", "send": "require"}
_DOWN: Final[dict[peertls.Mode, peertls.Mode]] = {"require": "send", "send": "accept", "accept": "off"}
_UP_WORDS: Final = {
    "accept": "every node comes to answer TLS, too",
    "send": "every node comes to ask by TLS",
    "require": "every node comes to answer nothing else",
}
_DOWN_WORDS: Final = {
    "send": "every node comes to answer plain HTTP, too",
    "accept": "every node comes to ask by plain HTTP",
    "off": "every node is restarted without TLS",
}
TRUST: Final = "every node comes to trust the new authority, too"
SHOW: Final = "every node comes to show a certificate of the new authority"
DROP: Final = "every node comes to trust the new authority alone"
RENEW: Final = "every node comes to show the new certificate"
READ: Final = "every node reads what it was given"
_AUTHORITY_SHARE: Final = 0.9
_CERTIFICATE_SHARE: Final = 2 / 3
"""The part of its life after which an authority, and a certificate, is made anew."""


@dataclass(frozen=True, slots=True)
class Peering:
    """Where TLS on port 9001 is.

    Attributes:
        mode: what nodes are to be given.
        trusted: the certificates of the authorities that they are to trust (PEM).
        anew: the certificate is to be made anew, by the authority that there is.
        doing: what nodes come to do by that; empty where nothing changes.
        waits: who has yet to say that it does, as sentences.
    """

    mode: peertls.Mode
    trusted: tuple[str, ...]
    anew: bool = False
    doing: str = ""
    waits: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What is going on, as a sentence."""
        return f"TLS on port 9001 changes: {self.doing}"


def is_wanted(observed: Observed) -> bool:
    """Whether port 9001 shall speak TLS: where the spec asks for TLS, and the image of the nodes can."""
    return observed.cloud.spec.tls is not None and not is_too_old(observed)


def is_too_old(observed: Observed) -> bool:
    """Whether the Cloud names an image that may be of a release that speaks plain HTTP alone.

    Its nodes could not be started with TLS; where it can, those that run already say so.
    """
    if observed.cloud.spec.image is None or observed.peers is not None or not observed.stateful_sets:
        return False
    said = [answer.status for answer in observed.answers.values() if answer.status is not None]
    return not said or any(status.peer_tls is None for status in said)


def wants_authority(observed: Observed) -> bool:
    """Whether an authority is to be made: there is none, or most of its life is over. A broken one is left alone."""
    if not is_wanted(observed) and (observed.peers is None or observed.peers.mode == "off"):
        return False
    if observed.authority is None:
        return ("Secret", names.authority_secret(observed.cloud.metadata.name)) not in observed.children
    return _is_due(observed.authority, observed.now, _AUTHORITY_SHARE)


def peering(observed: Observed, authority: Authority | None, behind: Behind) -> Peering | None:
    """The next step from what nodes were given last to what is wanted; None where nothing is either."""
    given = observed.peers
    if given is None or given.mode == "off":
        if authority is None or not is_wanted(observed):
            return None if given is None else Peering("off", given.trusted)
        mode: peertls.Mode = _first_mode(observed) if given is None else "accept"
        return Peering(mode, (authority.certificate,), anew=True, doing=_UP_WORDS[mode])
    waits = (*behind.old, *behind.silent)
    step = _of_authorities(given, authority, observed, waits) if authority is not None else None
    return step or _of_modes(given, wanted=is_wanted(observed), behind=behind)


def _of_modes(given: PeerFiles, *, wanted: bool, behind: Behind) -> Peering:
    """The next step on the way to TLS, or back."""
    ladder, words = (_UP, _UP_WORDS) if wanted else (_DOWN, _DOWN_WORDS)
    following = ladder.get(given.mode)
    waits = (*behind.old, *behind.silent)
    if following is None:  # there, but for those who have yet to read it
        return Peering(given.mode, given.trusted, doing=READ if behind.old else "", waits=behind.old)
    if waits:
        return Peering(given.mode, given.trusted, doing=words.get(given.mode, READ), waits=waits)
    return Peering(following, given.trusted, doing=words[following])


def _of_authorities(
    given: PeerFiles, authority: Authority, observed: Observed, waits: tuple[str, ...]
) -> Peering | None:
    """What is to be done about who is trusted and about the certificate; None where both are as they should be."""
    new = authority.certificate
    if new not in given.trusted:  # one more that is trusted harms nobody, however far others are
        return Peering(given.mode, (new, *given.trusted), doing=TRUST)
    if given.signed_by != new:
        waited_for = waits if given.signed_by else ()
        return Peering(given.mode, given.trusted, not waited_for, TRUST if waited_for else SHOW, waited_for)
    if _is_due(given, observed.now, _CERTIFICATE_SHARE) or given.names != dns_names(observed):
        return Peering(given.mode, given.trusted, anew=True, doing=RENEW)
    if len(given.trusted) > 1:
        return Peering(given.mode, given.trusted if waits else (new,), doing=SHOW if waits else DROP, waits=waits)
    return None


def _first_mode(observed: Observed) -> peertls.Mode:
    """Where nodes begin that were given nothing, or whose Secret was lost.

    With pods that have TLS nobody knows how far they are: all of them take the calls of `send`.
    """
    if any(pod.content["tls"] for pod in observed.pods.values()):
        return "send"
    return "accept" if observed.stateful_sets else "require"


def who_is_behind(observed: Observed, cloud_map: CloudMap | None) -> Behind:
    """Who has not said that it has what nodes were given last, of the map and of the pods.

    On the way back nobody waits for those who have nothing to lay down.
    """
    if observed.peers is None:
        return Behind()
    wanted = is_wanted(observed)
    named = {node.name for node in cloud_map.nodes} if cloud_map is not None else set()
    old, silent = [], []
    for name in sorted(named | observed.pods.keys()):
        status = observed.answer(name).status
        if status is None:
            silent.append(f"{name} does not answer")
        elif not status.peer_tls:
            if wanted:
                old.append(f"{name} has yet to be restarted with it")
        elif status.peer_tls != observed.peers.fingerprint:
            old.append(f"{name} has yet to read it")
    return Behind(tuple(old), tuple(silent))


def holds_restarts(observed: Observed, found: Peering | None) -> str:
    """Why no pod is restarted now: on the way back it would have to be again, at its end. Empty where one may be."""
    if found is None or found.mode == "off" or is_wanted(observed):
        return ""
    return "port 9001 goes back to plain HTTP first"


def dns_names(observed: Observed) -> frozenset[str]:
    """The names of every node, and the one by which they are known to those who reach one by its address."""
    name = peertls.server_name(observed.cloud.metadata.name, observed.cloud.metadata.namespace)
    return frozenset({f"*.{name}", name})


def _is_due(one: Authority | PeerFiles, now: float, share: float) -> bool:
    return now > one.begins + share * (one.ends - one.begins)
