"""The pure decisions: what several owners' answers amount to, and how an attempt to write stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moln_node.cluster.electorate import Electorate, Owning
from moln_node.cluster.quorum import Verdict, judge, merge
from moln_node.store.documents import Flag, RecordDocument
from moln_node.store.registers import NULL_SLOT, KeyState, Row
from moln_node.store.steps.replica import FORGOTTEN, Outcome, Vote
from moln_spec.version import Version


def stamp(number: int, node: int = 0) -> bytes:
    """A ballot or version."""
    return Version(number, node).to_bytes()


def row(version: int, ballot: int | None = None, *, null: bool = True, grave: bool = False) -> Row:
    """A row of that version, decided at that ballot."""
    flags = (Flag.NULL if null else 0) | (Flag.TOMBSTONE if grave else 0)
    document = RecordDocument(flags, 0, 0, "", "", "", {}, {}, {}, "", None, ())
    return Row(stamp(version), stamp(version if ballot is None else ballot), document)


def state(*rows: Row, complete: bool = True) -> KeyState:
    """What an owner says."""
    ballot = max((found.ballot for found in rows), default=b"")
    return KeyState(ballot, ballot, rows, complete)


def of(names: str, lost: str = "") -> Owning:
    """A list of owners."""
    return Owning.among((name, name in lost) for name in names)


THREE = Electorate.of(of("abc"))


def test_the_newest_ballot_of_a_slot_wins_and_its_holders_are_counted() -> None:
    """Not the newest version: a row decided again later is what holds."""
    view = merge({"a": state(row(5)), "b": state(row(3, 9)), "c": state(row(3, 9))})
    assert view.newest == row(3, 9)
    assert view.holders[NULL_SLOT] == {"b", "c"}
    assert view.unsettled(THREE, None) == ()
    assert view.unsettled(Electorate.of(of("abcde")), None) == (row(3, 9),)


def test_a_tombstone_above_the_answer_must_be_settled_too() -> None:
    """Else the next reader could see what was deleted, after this one did not."""
    deleted, there = row(7, 8, null=False, grave=True), row(5, null=False)
    view = merge({"a": state(deleted, there), "b": state(row(7, null=False))})
    assert view.newest == there
    assert {found.version for found in view.unsettled(THREE, None)} == {deleted.version, there.version}


def test_an_answer_cut_off_above_the_newest_is_shallow() -> None:
    """What lies below the cut may have been decided later than what is seen."""
    live, deleted = row(7, null=False), row(7, 8, null=False, grave=True)
    assert merge({"a": state(live, complete=False), "b": state(deleted, row(5, null=False))}).shallow
    assert not merge({"a": state(live, complete=False), "b": state(live, complete=False)}).shallow
    assert merge({"a": state(deleted, complete=False), "b": state(deleted)}).shallow


BALLOT = stamp(10)
DONE = Vote(Outcome.DONE)
PROMISED = Vote(Outcome.OLD, KeyState(stamp(20), stamp(4), (row(4),)))
REPLACED = Vote(Outcome.OLD, state(row(12)))
HELD = Vote(Outcome.OLD, state(row(12)), BALLOT)
HELD_ANEW = Vote(Outcome.OLD, state(row(12)), stamp(11))
UNKNOWN = None
FULL = Vote(Outcome.MISSING)


@pytest.mark.parametrize(
    ("votes", "waiting", "verdict"),
    [
        ([DONE, DONE], 1, Verdict.DONE),
        ([DONE], 2, Verdict.OPEN),
        ([DONE, HELD], 1, Verdict.DONE),  # decided at this ballot, and replaced on one of them since
        ([DONE, HELD_ANEW, PROMISED], 0, Verdict.UNSURE),  # held at two ballots: no proof of a decision
        ([REPLACED, REPLACED], 1, Verdict.DEAD),  # no majority can form, none was seen: whatever the third says
        ([DONE, REPLACED, REPLACED], 0, Verdict.DEAD),
        ([DONE, REPLACED, Vote(Outcome.OLD, state(row(13)))], 0, Verdict.UNSURE),  # neither of these is decided
        ([DONE, PROMISED, PROMISED], 0, Verdict.UNSURE),  # a reader may bring it from the first to the others
        ([DONE, REPLACED, PROMISED], 0, Verdict.UNSURE),
        ([PROMISED, PROMISED, PROMISED], 0, Verdict.DEAD),  # nobody has it
        ([PROMISED, PROMISED], 0, Verdict.DEAD),
        ([PROMISED, PROMISED, UNKNOWN], 0, Verdict.UNSURE),  # the third may have it
        ([FULL, FULL, FULL], 0, Verdict.DEAD),
        ([Vote(Outcome.OLD, state(row(12)), FORGOTTEN), REPLACED, PROMISED], 0, Verdict.UNSURE),
        ([], 0, Verdict.DEAD),
    ],
)
def test_how_an_attempt_stands(votes: list[Vote | None], waiting: int, verdict: Verdict) -> None:
    """Done, dead or unsure, as far as the answers prove it."""
    named = dict(zip("abc", votes, strict=False))
    assert judge(named, waiting, THREE, BALLOT, [NULL_SLOT]) is verdict


@pytest.mark.parametrize(
    ("votes", "confirming", "verdict"),
    [
        ({"a": DONE, "b": DONE, "d": DONE, "e": DONE}, False, Verdict.DONE),  # a majority of abc and of cde
        ({"a": DONE, "b": DONE, "c": PROMISED, "d": PROMISED, "e": PROMISED}, False, Verdict.UNSURE),
        ({"a": REPLACED, "b": REPLACED, "d": DONE, "e": DONE}, False, Verdict.DEAD),  # no reader of abc can see it
        ({"a": DONE, "b": DONE, "c": PROMISED, "d": REPLACED, "e": REPLACED}, False, Verdict.UNSURE),  # one may have
        ({"a": DONE, "b": DONE, "c": PROMISED, "d": REPLACED, "e": REPLACED}, True, Verdict.DEAD),  # readers ask both
    ],
)
def test_how_it_stands_between_two_lists(votes: dict[str, Vote | None], verdict: Verdict, *, confirming: bool) -> None:
    """A write needs both lists; whether a reader may have seen it depends on the lists that readers ask."""
    electorate = Electorate.of(of("cde"), of("abc"), confirming=confirming)
    assert judge(votes, 0, electorate, BALLOT, [NULL_SLOT]) is verdict


def test_whose_word_counts_while_owners_change() -> None:
    """Readers ask the list before until the list after is known to be complete."""
    copying = Electorate.of(of("cde"), of("abc"))
    assert copying.owners == tuple("cdeab")
    assert copying.readers == tuple("abc")
    assert copying.settled({"a", "b"})
    assert not copying.may_write({"a", "b"})
    assert copying.may_write({"b", "c", "d"})
    confirming = Electorate.of(of("cde"), of("abc"), confirming=True)
    assert not confirming.settled({"a", "b"})
    assert confirming.settled({"a", "c", "e"})


def test_those_that_are_lost_for_good_are_not_waited_for() -> None:
    """A majority of all, or all that are left; the name may come back in the list after."""
    assert Electorate.of(of("abc", lost="c")).may_write({"a", "b"})
    assert not Electorate.of(of("abc", lost="c")).may_write({"a"})
    assert Electorate.of(of("ab", lost="b")).sole == "a"
    again = Electorate.of(of("abc"), of("abc", lost="c"))
    assert not again.may_write({"a", "c"})
    assert again.may_write({"a", "b"})


def test_one_owner_alone_is_a_quorum_but_not_while_it_changes() -> None:
    """The fast way is for settled lists."""
    assert Electorate.of(of("a")).sole == "a"
    assert not Electorate.of(of("b"), of("a")).sole
    assert Electorate.of(of("a"), of("a")).sole == "a"


def test_an_added_version_is_not_dead_because_others_are_newer() -> None:
    """A slot of its own is not replaced by newer versions: a reader could still bring it everywhere."""
    newer = Vote(Outcome.OLD, state(row(12, null=False)))
    votes: dict[str, Vote | None] = {"a": DONE, "b": newer, "c": newer}
    assert judge(votes, 0, THREE, BALLOT, [stamp(10)]) is Verdict.UNSURE


def test_a_change_of_a_version_is_dead_where_a_majority_changed_it_otherwise() -> None:
    """As in the null slot: who decides it anew has seen the newer one."""
    newer = Vote(Outcome.OLD, state(row(5, 12, null=False)))
    votes: dict[str, Vote | None] = {"a": Vote(Outcome.OLD, newer.state, BALLOT), "b": newer, "c": newer}
    assert judge(votes, 0, THREE, BALLOT, [stamp(5)]) is Verdict.DEAD
    assert judge(votes, 0, THREE, BALLOT, [stamp(6)]) is Verdict.UNSURE
    assert judge(votes, 0, THREE, BALLOT, [stamp(5), stamp(4)]) is Verdict.UNSURE


rows = st.builds(row, st.integers(1, 6), st.integers(6, 9), null=st.booleans(), grave=st.booleans())


@given(
    st.dictionaries(st.sampled_from("abcde"), st.lists(rows, max_size=4).map(lambda found: state(*found)), max_size=5)
)
def test_merging_forgets_nothing(answers: dict[str, KeyState]) -> None:
    """In each slot nothing that any owner said is newer than what the view says, and holders do hold it."""
    view = merge(answers)
    for name, said in answers.items():
        for found in said.rows:
            best = view.rows[found.slot]
            assert (found.ballot, found.version) <= (best.ballot, best.version)
            assert (name in view.holders[found.slot]) or (found.ballot, found.version) < (best.ballot, best.version)
    assert view.newest is None or view.newest.live
    assert all(found.version <= view.newest.version for found in view.rows.values() if found.live and view.newest)
