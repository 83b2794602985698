"""TLS on port 9001: the way to it and back, from one authority to the next, and what is made for it."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from tests.operator.given import (
    NOW,
    SETTINGS,
    a_cloud,
    a_map_of,
    a_pod,
    a_stateful_set,
    an_answer,
    an_outcome,
    observed,
)

from moln_operator.apply import authority as making
from moln_operator.kube.inventory import known
from moln_operator.observe.certificate import authority, peer_files
from moln_operator.observe.gather import door
from moln_operator.observe.nodes import Answer, _context
from moln_operator.observe.state import Authority, ClusterSecret, Observed, PeerFiles
from moln_operator.plan.children import children
from moln_operator.plan.credentials import credentials
from moln_operator.plan.peers import (
    DROP,
    READ,
    RENEW,
    SHOW,
    TRUST,
    Peering,
    dns_names,
    holds_restarts,
    is_too_old,
    peering,
    wants_authority,
    who_is_behind,
)
from moln_operator.plan.rolling import roll
from moln_operator.plan.rotation import Behind, refreshes
from moln_operator.report.conditions import degraded, progressing
from moln_operator.report.nodes import node_states
from moln_spec.cloudsecret import fingerprint
from moln_spec.peertls import Mode, asks_by_tls

if TYPE_CHECKING:
    from moln_operator.kube.inventory import Known

YEAR = 365 * 86400.0
NAMES = ("photos-0", "photos-1", "photos-2")
DNS = dns_names(observed())
TLS = a_cloud(tls={"secretName": "cert"})
OLD = Behind(old=("photos-1 has yet to read it",))
SILENT = Behind(silent=("photos-2 does not answer",))
ALL = Behind()


def an_authority(name: str, begins: float = NOW - 86400, ends: float = NOW + 10 * YEAR) -> Authority:
    """An authority of this name; plans look at nothing else of it."""
    return Authority(name, f"key of {name}", begins, ends)


def files(mode: Mode = "require", trusted: str = "a", signed_by: str = "a", **more: Any) -> PeerFiles:
    """What nodes were given: the authorities that they trust by letter, and who has signed their certificate."""
    values = {"certificate": f"by {signed_by}", "names": DNS, "begins": NOW - 86400, "ends": NOW + 89 * 86400, **more}
    return PeerFiles(mode=mode, trusted=tuple(trusted), key="-", signed_by=signed_by, **values)


def step(given: PeerFiles | None, signer: str = "a", behind: Behind = ALL, cloud: Any = TLS, **more: Any) -> Any:
    """The next step: what nodes are to be given, and what they come to do by that."""
    state = observed(cloud, peers=given, **{"stateful_sets": {"photos": a_stateful_set()}, **more})
    found = peering(state, an_authority(signer) if signer else None, behind)
    return found and (found.mode, "".join(found.trusted), found.anew, found.doing, found.waits)


UP = {
    "accept": "every node comes to answer TLS, too",
    "send": "every node comes to ask by TLS",
    "require": "every node comes to answer nothing else",
}
DOWN = {
    "send": "every node comes to answer plain HTTP, too",
    "accept": "every node comes to ask by plain HTTP",
    "off": "every node is restarted without TLS",
}


@pytest.mark.parametrize(
    ("given", "behind", "expected"),
    [
        (None, ALL, ("accept", "a", True, UP["accept"], ())),
        (files("accept"), OLD, ("accept", "a", False, UP["accept"], OLD.old)),
        (files("accept"), SILENT, ("accept", "a", False, UP["accept"], SILENT.silent)),
        (files("accept"), ALL, ("send", "a", False, UP["send"], ())),
        (files("send"), OLD, ("send", "a", False, UP["send"], OLD.old)),
        (files("send"), ALL, ("require", "a", False, UP["require"], ())),
        (files("require"), OLD, ("require", "a", False, READ, OLD.old)),
        (files("require"), SILENT, ("require", "a", False, "", ())),
        (files("require"), ALL, ("require", "a", False, "", ())),
        (files("off", "b", "b"), SILENT, ("accept", "a", True, UP["accept"], ())),
    ],
)
def test_the_way_to_tls(given: PeerFiles | None, behind: Behind, expected: tuple[object, ...]) -> None:
    """Three steps, each taken only when every node is where the last one led."""
    assert step(given, behind=behind) == expected


@pytest.mark.parametrize(
    ("given", "behind", "expected"),
    [
        (None, ALL, None),
        (files("require"), OLD, ("require", "a", False, READ, OLD.old)),
        (files("require"), ALL, ("send", "a", False, DOWN["send"], ())),
        (files("send"), SILENT, ("send", "a", False, DOWN["send"], SILENT.silent)),
        (files("send"), ALL, ("accept", "a", False, DOWN["accept"], ())),
        (files("accept"), OLD, ("accept", "a", False, DOWN["accept"], OLD.old)),
        (files("accept"), ALL, ("off", "a", False, DOWN["off"], ())),
        (files("off"), OLD, ("off", "a", False, "", ())),
    ],
)
def test_the_way_back(given: PeerFiles | None, behind: Behind, expected: tuple[object, ...] | None) -> None:
    """The same steps the other way; a Cloud that never asked for TLS has none."""
    assert step(given, behind=behind, cloud=a_cloud()) == expected


@pytest.mark.parametrize(
    ("given", "behind", "expected"),
    [
        (files(), OLD, ("require", "ba", False, TRUST, ())),
        (files(trusted="ba"), OLD, ("require", "ba", False, TRUST, OLD.old)),
        (files(trusted="ba"), ALL, ("require", "ba", True, SHOW, ())),
        (files(trusted="ba", signed_by="b"), SILENT, ("require", "ba", False, SHOW, SILENT.silent)),
        (files(trusted="ba", signed_by="b"), ALL, ("require", "b", False, DROP, ())),
        (files(trusted="b", signed_by="b"), ALL, ("require", "b", False, "", ())),
        (files(trusted="ca", signed_by="a"), OLD, ("require", "bca", False, TRUST, ())),
        (files(trusted="b", signed_by=""), OLD, ("require", "b", True, SHOW, ())),
        (files("accept", trusted="ba"), OLD, ("accept", "ba", False, TRUST, OLD.old)),
    ],
)
def test_the_way_to_another_authority(given: PeerFiles, behind: Behind, expected: tuple[object, ...]) -> None:
    """Trusted by all before one certificate is of it; and the old one until none is of that."""
    assert step(given, "b", behind) == expected


def test_a_certificate_is_renewed_in_time_whoever_is_away() -> None:
    """When two thirds of its life are over, or it lacks a name: everybody trusts who signs it."""
    due = files(begins=NOW - 61 * 86400, ends=NOW + 29 * 86400)
    assert step(due, behind=OLD) == ("require", "a", True, RENEW, ())
    assert step(replace(due, ends=NOW + 32 * 86400))[3] == ""
    assert step(files(names=frozenset({"elsewhere"})))[3] == RENEW


def test_where_nodes_begin() -> None:
    """A new cloud requires TLS at once; one that runs goes there; one whose Secret was lost is found on its way."""
    assert step(None, stateful_sets={}, pods={})[0] == "require"
    assert step(None)[0] == "accept"
    assert step(None, pods={"photos-0": a_tls_pod("photos-0")})[0] == "send"
    assert step(None, signer="") is None


def a_tls_pod(name: str) -> Known:
    """A pod whose template says that it speaks TLS."""
    return a_pod(name, metadata={"annotations": {"prometheus.io/scheme": "https"}})


def test_when_an_authority_is_made() -> None:
    """Where there is none; and when nine tenths of its life are over. One that can't be read is the user's to mend."""
    assert wants_authority(observed(TLS))
    assert not wants_authority(observed(a_cloud()))
    broken = frozenset({("Secret", "photos-peers-ca")})
    assert not wants_authority(observed(TLS, children=broken))
    assert not wants_authority(observed(TLS, authority=an_authority("a")))
    assert wants_authority(observed(TLS, authority=an_authority("a", NOW - 9.1 * YEAR, NOW + 0.9 * YEAR)))
    assert not wants_authority(observed(a_cloud(), peers=files("off")))


def three(*said: str | None, wanted: bool = True, given: PeerFiles | None = None) -> Observed:
    """A cloud of three nodes whose first ones say this of their files; None: they are of a release before."""
    return observed(
        TLS if wanted else a_cloud(),
        peers=given or files("accept"),
        pods={name: a_pod(name) for name in NAMES},
        answers={name: an_answer(node=name, peer_tls=peer_tls) for name, peer_tls in zip(NAMES, said, strict=False)},
        previous_map=a_map_of(dict.fromkeys((*NAMES, "photos-3"), "active")),
    )


def test_who_is_waited_for() -> None:
    """Everybody in the map or with a pod; on the way back only those who have something to lay down."""
    newest, other = files("accept").fingerprint, files("send").fingerprint
    found = who_is_behind(state := three(newest, other, ""), state.previous_map)
    assert found == Behind(
        ("photos-1 has yet to read it", "photos-2 has yet to be restarted with it"), ("photos-3 does not answer",)
    )
    assert who_is_behind(three(newest, None, newest), None) == Behind(("photos-1 has yet to be restarted with it",))
    assert who_is_behind(three(newest, None, "", wanted=False), None) == ALL
    assert who_is_behind(observed(), None) == ALL


def test_kubernetes_is_asked_for_old_files_alone() -> None:
    """Of a node that has others; one that has none is restarted."""
    newest, other = files("accept").fingerprint, files("send").fingerprint
    state = three(newest, other, "")
    secret = ClusterSecret("s", "u1", ("s",))
    answers = {
        name: Answer(status=answer.status.model_copy(update={"secrets": (fingerprint("s"),)}))
        for name, answer in state.answers.items()
        if answer.status is not None
    }
    assert refreshes(replace(state, cluster=secret, answers=answers)).keys() == {"photos-1"}


def test_an_image_of_before_is_left_alone() -> None:
    """Its nodes could not start with TLS: the status says so, and names the remedy."""
    pinned = a_cloud(tls={"secretName": "cert"}, image="moln:before")
    sets = {"photos": a_stateful_set()}
    before = observed(pinned, stateful_sets=sets)
    assert is_too_old(before)
    assert is_too_old(replace(before, answers={}))
    assert not is_too_old(replace(before, answers={"photos-0": an_answer(peer_tls="")}))
    assert not is_too_old(replace(before, stateful_sets={}))
    assert not is_too_old(observed(TLS, stateful_sets=sets))
    assert not wants_authority(before)
    outcome = an_outcome(before)
    verdict = degraded(outcome, node_states(outcome))
    assert (verdict.status, verdict.reason) == ("True", "PeersPlain")
    assert "spec.image" in verdict.message


def test_the_status_says_what_goes_on() -> None:
    """Which step, and who is waited for."""
    outcome = an_outcome(peering=Peering("send", ("a",), doing=UP["send"], waits=OLD.old))
    found = progressing(outcome, node_states(outcome))
    assert (found.status, found.reason) == ("True", "PeersChange")
    assert found.message == f"TLS on port 9001 changes: {UP['send']} ({OLD.old[0]})"


def test_restarts_wait_while_nodes_go_back() -> None:
    """A pod would have to be restarted twice; one that does not run is restarted all the same."""
    down = Peering("send", ("a",))
    assert holds_restarts(observed(a_cloud()), down)
    assert not holds_restarts(observed(a_cloud()), Peering("off", ("a",)))
    assert not holds_restarts(observed(TLS), down)
    assert not holds_restarts(observed(a_cloud()), None)
    old = a_pod("photos-0")
    sets = {"photos": a_stateful_set(updateRevision="new", observedGeneration=0)}
    state = observed(pods={"photos-0": replace(old, content={**old.content, "revision": "old"})}, stateful_sets=sets)
    cloud_map = a_map_of({"photos-0": "active"})
    assert roll(state, cloud_map).restart is not None
    assert roll(state, cloud_map, "not now").restart is None
    assert roll(state, cloud_map, "not now").waits == ("not now",)


# Whatever happens in which order, any two take each other's calls.


@dataclass
class Node:
    """A node of the model: the files that it has read; None: it was started without."""

    has: PeerFiles | None

    def takes(self, asker: PeerFiles | None) -> bool:
        """Whether it answers somebody with such files."""
        if asker is None or not asks_by_tls(asker.mode):
            return self.has is None or self.has.mode != "require"
        return self.has is not None and asker.signed_by in self.has.trusted and self.has.signed_by in asker.trusted


class Model:
    """Three nodes, and the operator's part of it, without certificates."""

    def __init__(self, *, wanted: bool) -> None:
        self.cloud = TLS if wanted else a_cloud()
        self.signer = "a"
        self.given: PeerFiles | None = None
        self.nodes = [Node(None), Node(None), Node(None)]
        self.hold = ""
        self.look()

    def observed(self) -> Observed:
        """What the operator sees."""
        said = {
            name: an_answer(node=name, peer_tls=node.has.fingerprint if node.has is not None else "")
            for name, node in zip(NAMES, self.nodes, strict=True)
        }
        pods = {
            name: a_pod(name) if node.has is None else a_tls_pod(name)
            for name, node in zip(NAMES, self.nodes, strict=True)
        }
        sets = {"photos": a_stateful_set()}
        return observed(self.cloud, peers=self.given, answers=said, pods=pods, stateful_sets=sets)

    def look(self) -> None:
        """A look of the operator."""
        state = self.observed()
        found = peering(state, an_authority(self.signer), who_is_behind(state, None))
        self.hold = holds_restarts(state, found)
        if found is not None:
            before = self.given or files(signed_by=self.signer)
            signer = self.signer if found.anew else before.signed_by
            self.given = files(found.mode, "".join(found.trusted), signer)

    def restart(self, number: int) -> None:
        """A pod comes back by the newest template."""
        by_tls = self.given is not None and self.given.mode != "off"
        self.nodes[number] = Node(self.given if by_tls else None)

    def read(self, number: int) -> None:
        """A node that has files reads the newest."""
        if self.nodes[number].has is not None:
            self.nodes[number] = Node(self.given)

    def check(self) -> None:
        """Everybody takes the calls of everybody else, and those of the operator."""
        for asking, asked in product(self.nodes, self.nodes):
            assert asked.takes(asking.has), (asking, asked, self.given)
        for node in self.nodes:
            operator = self.given if node.has is not None and self.given is not None else None
            shown = None if operator is None else replace(operator, mode="require")
            assert node.takes(shown), (node, self.given)

    def run(self, event: str | int) -> None:
        """Something happens."""
        if event == "on":
            self.cloud = TLS
        elif event == "off":
            self.cloud = a_cloud()
        elif isinstance(event, str):
            if self.given is not None and self.given.mode != "off":
                self.signer = event
        elif event >= 3:
            if not self.hold:
                self.restart(event - 3)
        else:
            self.read(event)
        self.look()


EVENTS = st.one_of(st.sampled_from(["on", "off", "b", "c"]), st.integers(0, 5))


@settings(deadline=None)
@given_by(st.booleans(), st.lists(EVENTS, max_size=40))
def test_nobody_is_ever_refused(wanted: bool, events: list[str | int]) -> None:
    """Whatever is edited when, and whenever each node reads or is restarted."""
    model = Model(wanted=wanted)
    for event in events:
        model.run(event)
        model.check()


@settings(deadline=None)
@given_by(st.booleans(), st.booleans(), st.lists(EVENTS, max_size=20))
def test_it_ends(wanted: bool, at_last: bool, events: list[str | int]) -> None:
    """From anywhere, when all are restarted as they may be and read what they are given: all are as is wanted."""
    model = Model(wanted=wanted)
    for event in events:
        model.run(event)
    model.run("on" if at_last else "off")
    for _ in range(12):
        for event in range(6):
            model.run(event)
    if at_last:
        assert [node.has for node in model.nodes] == [files(signed_by=model.signer, trusted=model.signer)] * 3
    else:
        assert [node.has for node in model.nodes] == [None] * 3


# What is made: real certificates.


def made(cloud: Any = TLS, **more: Any) -> tuple[Authority, PeerFiles]:
    """An authority and what nodes of a new cloud are given."""
    state = observed(cloud, stateful_sets={}, pods={}, now=more.pop("now", NOW))
    signer = more.pop("signer", None) or making.new_authority(state)
    found = peering(state, signer, ALL)
    assert found is not None
    return signer, making.peer_files(state, found, signer)


def test_what_is_made_is_what_is_read() -> None:
    """A Secret says again what it was made from; a step that makes no certificate keeps the one that there is."""
    signer, given = made()
    manifests = {m["metadata"]["name"]: m for m in making.secrets(observed(TLS), signer, given)}
    read = {
        name: known({"kind": "Secret", **{key: m[key] for key in ("metadata", "data")}}).content["data"]
        for name, m in manifests.items()
    }
    import base64

    texts = {
        name: {key: base64.b64decode(value).decode() for key, value in data.items()} for name, data in read.items()
    }
    assert authority(texts["photos-peers-ca"]["tls.crt"], texts["photos-peers-ca"]["tls.key"]) == signer
    assert peer_files(texts["photos-peers"]) == given
    assert given.signed_by == signer.certificate
    assert "PRIVATE" not in repr(given) + repr(signer)
    assert signer.key not in texts["photos-peers"].values()
    kept = making.peer_files(observed(TLS, peers=given), Peering("send", given.trusted), signer)
    assert kept == replace(given, mode="send")


def test_a_certificate_never_outlives_its_authority() -> None:
    """So that no node shows one that nobody can check."""
    signer, given = made()
    assert (signer.begins, signer.ends) == (NOW - 86400, NOW + 3650 * 86400)
    assert given.ends == NOW + 90 * 86400
    assert made(now=NOW + 3649 * 86400, signer=signer)[1].ends == signer.ends


@pytest.mark.parametrize("asker", ["its own", "another's"])
def test_a_real_handshake(asker: str) -> None:
    """Both sides show the one certificate; each checks the authority, and the operator the name as well."""
    signer, given = made(now=time.time())
    shown = given if asker == "its own" else made(now=time.time())[1]
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=signer.certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    _load(server, given)
    client = _context(replace(shown, trusted=(signer.certificate,)))
    for name, good in (("photos-nodes.home.svc", True), ("photos-1.photos-nodes.home.svc", True), ("else.svc", False)):
        if good and asker == "its own":
            _shake_hands(client, server, name)
        else:
            with pytest.raises(ssl.SSLError):
                _shake_hands(client, server, name)


def _load(context: ssl.SSLContext, given: PeerFiles) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair"
        pair.write_text(given.certificate + given.key)
        context.load_cert_chain(pair)


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Let two sides speak in memory until both are content; ssl.SSLError of the one that is not."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(back, there, server_hostname=name), server.wrap_bio(there, back, server_side=True)]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_the_pod_of_a_node_with_tls() -> None:
    """Its flag, its files, probes and scrapes by https; and nothing of it where port 9001 is plain."""
    state = observed(TLS)
    signer, given = made()
    secrets = making.secrets(state, signer, given)

    def template(*, by_tls: bool) -> dict[str, Any]:
        planned = children(
            state, state.previous_map, credentials(state), ("s",), SETTINGS, secrets, peers_by_tls=by_tls
        )
        found: dict[str, Any] = next(m for m in planned if m["kind"] == "StatefulSet")["spec"]["template"]
        assert {"photos-peers", "photos-peers-ca"} <= {m["metadata"]["name"] for m in planned}
        return found

    by_tls = template(by_tls=True)
    (container,) = by_tls["spec"]["containers"]
    assert "--peer-tls=/etc/moln/peers" in container["args"]
    assert "/etc/moln/peers" in {mount["mountPath"] for mount in container["volumeMounts"]}
    (volume,) = [volume for volume in by_tls["spec"]["volumes"] if volume["name"] == "peers"]
    assert volume["secret"]["secretName"] == "photos-peers"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    assert by_tls["metadata"]["annotations"]["prometheus.io/scheme"] == "https"
    plain = template(by_tls=False)
    assert "scheme" not in plain["spec"]["containers"][0]["livenessProbe"]["httpGet"]
    assert "prometheus.io/scheme" not in plain["metadata"]["annotations"]
    assert "peer-tls" not in str(plain)


def test_the_operator_asks_as_the_pods_template_says() -> None:
    """A pod that has certificates answers TLS in every mode; one of before is asked by plain HTTP."""
    cluster, given = ClusterSecret("s3cret", "u1"), made()[1]
    plain, secured = door(a_pod(), cluster, given), door(a_tls_pod("photos-0"), cluster, given)
    assert plain.url("/v1/map") == "http://10.0.0.1:9001/v1/map"
    assert secured.url("/v1/map") == "https://10.0.0.1:9001/v1/map"
    assert (plain.security(), secured.security()["server_hostname"]) == ({}, "photos-nodes.home.svc")
    assert "s3cret" not in repr(secured)
    assert "PRIVATE" not in repr(secured)
