"""What an event says of each step that the cloud map takes. Pure: from two maps to sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from moln_spec.cloudmap import CloudMap, MapNode


def told(before: CloudMap | None, after: CloudMap) -> Iterator[tuple[str, str]]:
    """Reason and sentence of every decision that `after` stands for; `before` is None for a first map."""
    yield "MapPublished", f"cloud map epoch {after.epoch} is published to {len(after.nodes)} nodes"
    if before is None:
        return
    known = {(node.name, node.number): node for node in before.nodes}
    left = {(node.name, node.number) for node in after.nodes}
    came = [node for node in after.nodes if (node.name, node.number) not in known]
    if came:
        yield "NodesComing", f"{_names(came)} shall join, and will be taken in once up"
    for node in before.nodes:
        if (node.name, node.number) in left:
            continue
        if node.name in set(after.given_up) - set(before.given_up):
            yield "NodeGivenUp", f"the disk of {node.name} is given up, as lostNodes says"
        elif node.state == "leaving":
            yield "NodeGone", f"{node.name} is empty, and leaves the cloud"
        else:
            yield "NodeNotWanted", f"{node.name} is not wanted any more; it had not joined yet"
    for reason, text in _change(before, after):
        yield reason, f"{text} (epoch {after.epoch})"


def _change(before: CloudMap, after: CloudMap) -> Iterator[tuple[str, str]]:
    """What becomes of the change of layout."""
    if after.change is None:
        if before.change is not None:
            yield "ChangeOver", f"every key is with its owners: {_names(after.nodes, 'active')}"
        return
    if after.change == before.change:
        return
    if after.change.stage == "confirming":
        yield "ChangeConfirming", "what changes owners is copied; all of it is compared once more"
        return
    words = [
        f"{_names(after.nodes, state)} {doing}"
        for state, doing in (("joining", "come"), ("leaving", "go"))
        if any(node.state == state for node in after.nodes)
    ]
    text = "; ".join(words) or "the nodes stay, what each owns changes"
    if after.layout == after.change.before:
        yield "ChangeTurned", "the change under way is taken back; what was copied is compared once more"
    elif before.change is None:
        yield "ChangeBegun", f"{text}; keys are copied to those who will own them"
    else:
        yield "ChangeTurned", f"the change under way leads elsewhere now: {text}"


def _names(nodes: Iterable[MapNode], state: str = "") -> str:
    return ", ".join(node.name for node in nodes if not state or node.state == state)
