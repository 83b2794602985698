"""Which access keys nodes take, and for how long."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.operator.given import NOW, a_cloud, a_master_key, observed

from moln_operator.apply.secrets import missing
from moln_operator.observe.gather import master_keys
from moln_operator.observe.state import KeyPair
from moln_operator.plan.credentials import credentials
from moln_spec.credentials import Credentials, reveal


def keys(document: Credentials) -> list[tuple[str, int | None]]:
    """Each key and when it ends."""
    return [(key.access_key, key.expires) for key in document.keys]


def stored(*given: dict[str, Any]) -> Credentials:
    """The document as nodes were given it."""
    return Credentials.model_validate({"keys": given})


OLD = {"access_key": "OLD", "secret_key": "old-secret-1", "id": "root"}


def test_the_root_key_may_do_everything() -> None:
    """The administrator's key comes from the root Secret."""
    (root,) = credentials(observed()).keys
    assert (root.access_key, root.key_policy.role) == ("ROOT", "admin")


@pytest.mark.parametrize(
    ("before", "grace", "expected"),
    [
        ([], 300, [("ROOT", None)]),
        ([OLD], 300, [("ROOT", None), ("OLD", int(NOW) + 300)]),
        ([OLD], 0, [("ROOT", None)]),
        ([{**OLD, "expires": int(NOW) + 5}], 300, [("ROOT", None), ("OLD", int(NOW) + 5)]),
        ([{**OLD, "expires": int(NOW) - 5}], 300, [("ROOT", None)]),
        ([{**OLD, "access_key": "ROOT", "expires": int(NOW) + 5}], 300, [("ROOT", None)]),
    ],
    ids=["first", "replaced", "no grace", "grace goes on", "grace is over", "a key that comes back"],
)
def test_a_replaced_key_lives_for_its_grace(
    before: list[dict[str, Any]], grace: int, expected: list[tuple[str, int | None]]
) -> None:
    """The grace starts when the change is first noticed, is not prolonged, and ends."""
    state = observed(a_cloud(keyGraceSeconds=grace), stored=stored(*before) if before else None)
    assert keys(credentials(state)) == expected


def test_a_new_secret_of_the_same_key_holds_at_once() -> None:
    """One name has one secret."""
    (key,) = credentials(observed(stored=stored({**OLD, "access_key": "ROOT"}))).keys
    assert key.secret_key.get_secret_value() == "root-secret-1"


def test_a_second_look_changes_nothing() -> None:
    """A settled document is its own successor, to the byte: no write, no push."""
    first = credentials(observed(stored=stored(OLD)))
    again = credentials(observed(stored=Credentials.model_validate_json(reveal(first)), now=NOW + 1))
    assert reveal(again) == reveal(first)


def test_further_keys_are_bound_as_the_spec_says() -> None:
    """Role, buckets, prefixes and owner reach the nodes; a key whose Secret can't be read is left out."""
    cloud = a_cloud(
        accessKeys=[{"secretName": "camera", "role": "read-only", "buckets": ["pics"]}, {"secretName": "gone"}]
    )
    document = credentials(observed(cloud, keys={"camera": KeyPair("CAM", "cam-secret-1")}))
    _, camera = json.loads(reveal(document))["keys"]
    assert camera["access_key"] == "CAM"
    assert camera["secret_key"] == "cam-secret-1"
    assert camera["id"] == "camera"
    assert camera["policy"] == {"role": "read-only", "buckets": ["pics"], "prefixes": []}


def test_secrets_are_made_up_only_where_there_are_none() -> None:
    """A root Secret that exists is never written again."""
    assert missing(observed()) == ()
    assert [m["metadata"]["name"] for m in missing(observed(root=None, cluster=None, master_keys=None))] == [
        "photos-cluster",
        "photos-master-keys",
        "photos-root",
    ]
    assert missing(observed(a_cloud(rootSecretName="mine"), root=None))[0]["metadata"]["name"] == "mine"


def test_a_root_secret_that_is_no_key_is_not_overwritten() -> None:
    """What a user wrote wrong is told, and left alone."""
    assert missing(observed(root=None, problems=("Secret photos-root is no access key; ...",))) == ()


def test_a_root_secret_deleted_by_hand_comes_back_as_it_was() -> None:
    """Nodes still take the key: it is written again, instead of locking everybody out."""
    (secret,) = missing(observed(root=None, stored=stored(OLD)))
    assert secret["data"]["access_key"] == "T0xE"  # OLD


def test_a_cloud_gets_a_master_key_of_its_own() -> None:
    """Made once, of 32 random bytes, and read again as it was written; no two clouds have the same."""
    made = [missing(observed(master_keys=None))[0]["data"] for _ in range(2)]
    (first,), (second,) = (master_keys(data) for data in made)
    assert len(first.raw) == len(second.raw) == 32
    assert first.raw != second.raw


def test_master_keys_deleted_by_hand_come_back_as_they_were() -> None:
    """Objects are encrypted under them: a new one in their place would be the loss of all of these."""
    there = (a_master_key("new"), a_master_key("old", "B"))
    (secret,) = missing(observed(master_keys=None, stored=Credentials(master_keys=there)))
    assert master_keys(secret["data"]) == there


def data(**values: str) -> dict[str, str]:
    """A Secret's data."""
    return {name.replace("_", "-"): base64.b64encode(value.encode()).decode() for name, value in values.items()}


def test_the_active_master_key_comes_first() -> None:
    """A rotation is an edit of the Secret: one more entry, another `active`. The others stay, to open what is there."""
    old, new = "A" * 43 + "=", "B" * 43 + "=\n"
    found = master_keys(data(active="key-2\n", key_1=old, key_2=new))
    assert [key.id for key in found] == ["key-2", "key-1"]
    document = credentials(observed(master_keys=found))
    assert [key["id"] for key in json.loads(reveal(document))["master_keys"]] == ["key-2", "key-1"]
    assert Credentials.model_validate_json(reveal(document)) == document


@pytest.mark.parametrize(
    "wrong", [data(), data(active="key"), data(key="A" * 43 + "="), data(active="key", key="short"), {"active": "%"}]
)
def test_what_holds_no_master_keys_is_seen(wrong: dict[str, str]) -> None:
    """An entry that is missing or is no key."""
    with pytest.raises((KeyError, ValueError)):
        master_keys(wrong)


def test_no_secret_shows_in_a_repr() -> None:
    """A state that lands in a log or a traceback gives nothing away."""
    assert "root-secret-1" not in repr(observed())
    assert "s3cret" not in repr(observed())
    assert "AAAA" not in repr(observed())
