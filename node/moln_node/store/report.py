"""How maintenance tells what it does: counters that grow, and findings for people."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Where maintenance writes down what it did; read by others while it runs."""

    def set(self, **counts: int) -> None:
        """Set counters to what they are now."""
        ...

    def found(self, finding: str) -> None:
        """Note something that a person should know."""
        ...
