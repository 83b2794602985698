"""The real lab, for the tests that need it: brought up once, left running for the next."""

from collections.abc import Iterator

import pytest

from moln_lab.faults import Faults
from moln_lab.lab import Lab
from moln_lab.saved import Saved
from moln_lab.topology import Settings

LEAST_NODES = 3


@pytest.fixture(scope="session")
def lab() -> Lab:
    """A running lab of at least three nodes, with the project's image as the code is now."""
    settings = Settings.of()
    saved = Saved.find(settings)
    lab = Lab(Settings.of(settings.name, max(LEAST_NODES, saved.nodes if saved else 0)))
    lab.up()
    lab.images()
    return lab


@pytest.fixture
def faults(lab: Lab) -> Iterator[Faults]:
    """The lab's faults; whatever a test did, the lab is whole again after it."""
    made = Faults(lab)
    try:
        yield made
    finally:
        made.heal_everything()
