"""A client that works all the time and keeps its own ledger of what was acknowledged.

Each key has one writer, so the ledger knows what a read may show: the last acknowledged write, or one since that failed
without a word on whether it came about.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
import traceback
from collections import Counter
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BUCKET = "ledger"
_SIZES = (0, 100, 4_000, 70_000, 400_000)
_MISSING = "missing"
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.03
"""Between two requests of a thread: several stories share the processors with all that is under test."""


class Ledger:
    """Writes, reads, deletes and lists in threads of its own until `stop`; `verify` compares everything.

    Objects have one of `classes`, as chance has it; without any they have the one that the cloud chooses.

    Attributes:
        counts: operations by kind and outcome; `failed` are those that the client's own retries did not absorb.
        wrong: sentences about answers that contradict the ledger; it must stay empty.
    """

    def __init__(self, connect: Callable[[], Any], seed: int, threads: int = 3, classes: Sequence[str] = ()) -> None:
        self._connect = connect
        self._classes = classes
        self._may: dict[str, set[str]] = {}
        self._ending = threading.Event()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._connect().create_bucket(Bucket=BUCKET)
        self._threads = [
            threading.Thread(target=self._work, args=(number, random.Random(f"{seed}/{number}")), daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what is under way."""
        self._ending.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a client hangs"

    def verify(self) -> int:
        """Every key and the listing, against the ledger; how many objects there are."""
        s3 = self._connect()
        listed: set[str] = set()
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 50})
        for page in patiently(lambda: list(pages)):
            listed |= {entry["Key"] for entry in page.get("Contents", ())}
        for key, may in self._may.items():
            seen = patiently(partial(_digest, s3, key))
            if seen not in may:
                self.wrong.append(f"{key} at the end: {seen[:8]}, and not one of {sorted(v[:8] for v in may)}")
            if (key in listed) != (seen != _MISSING):
                self.wrong.append(f"{key} is {'listed' if key in listed else 'not listed'}, a read says {seen[:8]}")
        assert not self.wrong, self.wrong
        assert listed <= set(self._may)
        return len(listed)

    def _work(self, number: int, chance: random.Random) -> None:
        try:
            self._work_on(number, chance)
        except Exception:  # noqa: BLE001 (whatever it is: the test fails by it, and says it)
            self.wrong.append(traceback.format_exc())

    def _work_on(self, number: int, chance: random.Random) -> None:
        s3 = self._connect()
        while not self._ending.wait(_PAUSE_SECONDS):
            key = f"{number}/{chance.randrange(40):02}"
            kind = chance.choices(("put", "get", "delete", "list"), (5, 4, 1, 1))[0]
            try:
                getattr(self, f"_{kind}")(s3, key, chance)
                self.counts[kind] += 1
            except (BotoCoreError, ClientError, HTTPError, ResponseParserError) as error:
                self.counts[f"{kind} failed"] += 1
                self.counts[f"error {_name(error)}"] += 1
                time.sleep(0.3)
                s3 = self._reconnect(s3)

    def _reconnect(self, before: Any) -> Any:
        try:
            return self._connect()
        except Exception:  # noqa: BLE001 (whatever keeps the address from being found: it is tried again)
            return before

    def _put(self, s3: Any, key: str, chance: random.Random) -> None:
        body = chance.randbytes(chance.choice(_SIZES))
        value = hashlib.sha256(body).hexdigest()
        self._may.setdefault(key, {_MISSING}).add(value)
        asked = {"StorageClass": chance.choice(self._classes)} if self._classes else {}
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, **asked)
        self._may[key] = {value}

    def _delete(self, s3: Any, key: str, _: random.Random) -> None:
        self._may.setdefault(key, {_MISSING}).add(_MISSING)
        s3.delete_object(Bucket=BUCKET, Key=key)
        self._may[key] = {_MISSING}

    def _get(self, s3: Any, key: str, _: random.Random) -> None:
        seen = _digest(s3, key)
        if seen not in self._may.get(key, {_MISSING}):
            self.wrong.append(f"{key}: {seen[:8]}, and not one of {sorted(v[:8] for v in self._may.get(key, ()))}")

    def _list(self, s3: Any, key: str, _: random.Random) -> None:
        prefix = key[:2]
        listed = {entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())}
        mine = {name: may for name, may in self._may.copy().items() if name.startswith(prefix)}  # others add keys
        for name, may in mine.items():
            if (name in listed and may == {_MISSING}) or (name not in listed and _MISSING not in may):
                self.wrong.append(f"{name} is {'listed' if name in listed else 'not listed'}")


def patiently(ask: Callable[[], Any]) -> Any:
    """What a request gives once owners enough answer.

    Nodes that have just come back are ready some seconds before all others find them by their names, and until then
    there may be no majority: 503. Any other error is one.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except ClientError as error:
            busy = error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.SERVICE_UNAVAILABLE
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(0.3)


def _name(error: BotoCoreError | ClientError) -> str:
    """What kind of failure it was: S3's own code where there is one."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__


def _digest(s3: Any, key: str) -> str:
    """What a key holds, in short."""
    try:
        return hashlib.sha256(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return _MISSING
        raise
