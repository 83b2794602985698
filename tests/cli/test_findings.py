"""What nodes list of their work, read whole by the commands: letter by letter, finding by finding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from moln.commands import letters as letters_command
from moln.commands import repair as repair_command
from moln.commands import tasks
from moln.errors import CliError
from moln.watching import choose
from moln.watching.snapshot import Doors

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel


class Source:
    """A cloud of two nodes."""

    def doors(self) -> Doors:
        """Of both."""
        return Doors({"n-0": "http://n-0", "n-1": "http://n-1"}, "secret")

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., dict[str, Any]]], None]:
    """Let a function answer what the nodes are asked: address, path, the document sent, the query."""
    monkeypatch.setattr(choose, "choose", lambda **_: Source())
    monkeypatch.setattr(tasks, "_POLL_SECONDS", 0)

    def use(answer: Callable[..., dict[str, Any]]) -> None:
        def ask(
            _http: object,
            address: str,
            _secret: str,
            path: str,
            model: type[BaseModel],
            query: dict[str, str] | None = None,
            post: BaseModel | None = None,
        ) -> BaseModel:
            sent = {} if post is None else json.loads(post.model_dump_json())
            return model.model_validate(answer(address, path, sent, query or {}))

        monkeypatch.setattr(tasks, "ask", ask)
        monkeypatch.setattr(letters_command, "ask", ask)

    return use


class Disks:
    """The dead letters of two nodes; one more dies on each after they were listed."""

    def __init__(self) -> None:
        self.held = {f"http://n-{node}": [f"{node}.{number}" for number in range(1200)] for node in range(2)}

    def answer(self, address: str, path: str, sent: dict[str, Any], _query: dict[str, str]) -> dict[str, Any]:
        """As a node does."""
        held = self.held[address]
        if path == "/v1/letters/settle":
            assert len(sent["letters"]) <= 500
            named = set(sent["letters"])
            self.held[address] = [letter for letter in held if letter not in named]
            return {"settled": len(held) - len(self.held[address])}
        start = 0 if not sent["after"] else held.index(sent["after"]) + 1
        page = held[start : start + 500]
        told = [{"id": one, "path": f"b/{one}", "version": "v", "bytes": 2, "reason": "why"} for one in page]
        more = page[-1] if start + 500 < len(held) else None
        if more is None:
            held.append(f"late {address}")
        return {"letters": told, "owed": 3, "next": more}


def test_letters_drops_those_that_it_listed_and_no_other(answers: Callable[..., None]) -> None:
    """All of them are listed, also behind the first page; one that died since stays."""
    disks = Disks()
    answers(disks.answer)
    shown = CliRunner().invoke(letters_command.letters, ["--drop"], input="y\n")
    assert shown.exit_code == 0, shown.output
    lines = [line for line in shown.output.splitlines() if line.startswith("n-")]
    assert lines == [f"n-{node}: b/{node}.{n}: version v, 2 bytes: why" for node in range(2) for n in range(1200)]
    assert "2400 dead letters, 4.7 KiB; 2400 dropped; 6 owed" in shown.output
    assert disks.held == {f"http://n-{node}": [f"late http://n-{node}"] for node in range(2)}


def test_letters_that_nobody_confirms_stay(answers: Callable[..., None]) -> None:
    """Whoever is asked has seen them."""
    disks = Disks()
    answers(disks.answer)
    shown = CliRunner().invoke(letters_command.letters, ["--drop"], input="n\n")
    assert "2400 dead letters are dropped, and what they hold with them. Go on?" in shown.output
    assert {len(held) for held in disks.held.values()} == {1201}


def test_letters_as_json_are_one_document(answers: Callable[..., None]) -> None:
    """With every letter."""
    answers(Disks().answer)
    shown = CliRunner().invoke(letters_command.letters, ["--json"])
    assert isinstance(shown.exception, CliError)
    document = json.loads(shown.stdout)
    assert (len(document["letters"]), document["count"], document["settled"]) == (2400, 2400, 0)


class Task:
    """A node's task with so many findings, of which it keeps some until they are read."""

    def __init__(self, findings: int, lost: int = 0, *, older: bool = False) -> None:
        self.left = [f"finding {number}" for number in range(findings)]
        self.lost = lost
        self.first = 0
        self.older = older

    def answer(self, query: dict[str, str]) -> dict[str, Any]:
        """As a node does, or one of a release that keeps the first hundred alone."""
        common: dict[str, Any] = {"id": "t", "progress": {"differing": len(self.left)}, "error": ""}
        if self.older:
            return common | {"state": "done" if query else "running", "findings": self.left[:100]}
        read = int(query.get("read", "0"))
        self.left, self.first = self.left[read - self.first :], read
        done = len(self.left) <= 700
        cut = {"first": self.first, "unlisted": self.lost if done else 0}
        return common | {"state": "done" if done else "running", "findings": self.left[:700], **cut}


def test_repair_lists_every_key_and_tells_of_those_it_can_not(answers: Callable[..., None]) -> None:
    """Page by page, from a node of this release and one of the last; what was not kept is told in both forms."""
    for arguments in ([], ["--json"]):
        nodes = {"http://n-0": Task(2000, lost=7), "http://n-1": Task(100, older=True)}
        answers(lambda address, _path, _sent, query, nodes=nodes: nodes[address].answer(query))
        shown = CliRunner().invoke(repair_command.repair, ["--dry-run", *arguments])
        assert shown.exit_code == 0, shown.output
        if arguments:
            document = json.loads(shown.stdout)
            assert document["findings"] == [f"finding {n}" for n in (*range(2000), *range(100))]
            assert document["unlisted"] == 7
        else:
            assert shown.output.count("finding ") == 2100
            assert "... and 7 more, too many to be listed" in shown.output
