"""A desk for each test, and for the commands one cloud that all tests of a module share."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.harness import Desk, Dev, Result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_numbers = itertools.count(1)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk of its own, on which nothing runs."""
    found = Desk(tmp_path)
    yield found
    found.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Dev]]:
    """One cloud for a module."""
    found = Desk(tmp_path_factory.mktemp("desk"))
    yield found, found.start("--data", str(found.folder / "data"))
    found.end()


@dataclass
class Shelf:
    """A bucket of the test's own in the shared cloud."""

    desk: Desk
    dev: Dev
    bucket: str
    folder: Path

    @property
    def url(self) -> str:
        """The bucket's name on the command line."""
        return f"s3://{self.bucket}"

    def moln(self, *arguments: str | Path, **more: Any) -> Result:
        """Run a command against the cloud, by the profile that `moln dev` wrote."""
        return self.desk.moln(*arguments, **more)

    def keys(self) -> list[str]:
        """Every key in the bucket, asked with another client."""
        found = self.dev.s3().list_objects_v2(Bucket=self.bucket)
        return [item["Key"] for item in found.get("Contents", [])]

    def body(self, key: str) -> bytes:
        """An object's bytes, read with another client."""
        data: bytes = self.dev.s3().get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return data


@pytest.fixture
def shelf(shared: tuple[Desk, Dev], tmp_path: Path) -> Shelf:
    """An empty bucket."""
    desk, dev = shared
    bucket = f"bucket-{next(_numbers)}"
    dev.s3().create_bucket(Bucket=bucket)
    return Shelf(desk, dev, bucket, tmp_path)
