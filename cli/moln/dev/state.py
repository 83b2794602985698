"""The folder of `moln dev`: identity, keys and secret of a cloud, its newest map, and a folder for each node's data.

    DIR/moln-dev.json        the cloud's identity, its first access key and its master keys (0600)
    DIR/map.json             the newest cloud map
    DIR/credentials.json     what nodes start with: the first key, those of --access-keys, the master keys (0600)
    DIR/cloud-secret         the secret of port 9001 (0600)
    DIR/nodes/NAME/          a node's data

Keys and secret stay the same from run to run. One `moln dev` at a time uses a folder.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import string
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from moln.errors import CliError, Exit
from moln.files import write_private
from moln_spec.cloudmap import CloudMap
from moln_spec.credentials import MASTER_KEY_BYTES, Credentials, MasterKey, reveal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


_MASTER_KEY: Final = "moln-dev"


class Identity(BaseModel):
    """What a cloud of `moln dev` is, from its first run on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uid: str
    access_key: str
    secret_key: str
    cloud_secret: str
    master_keys: tuple[MasterKey, ...] = ()


class State:
    """The folder of one cloud."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.map_file = directory / "map.json"
        self.credentials_file = directory / "credentials.json"
        self.secret_file = directory / "cloud-secret"

    def node_directory(self, name: str) -> Path:
        """Where a node keeps its data."""
        return self.directory / "nodes" / name

    def identity(self, master_keys: Sequence[str] = ()) -> Identity:
        """The cloud's identity, made at the first run; CliError if it was damaged: it is never made anew.

        A master key is made once for the cloud and for each id in `master_keys`, and kept from then on.
        """
        file = self.directory / "moln-dev.json"
        try:
            found = Identity.model_validate_json(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            found = Identity(
                uid=str(uuid.uuid4()),
                access_key="MOLN" + _random(16, string.ascii_uppercase + string.digits),
                secret_key=_random(40, string.ascii_letters + string.digits),
                cloud_secret=secrets.token_urlsafe(32),
            )
        except ValidationError:
            raise CliError(f"{file} is not valid: restore it, or use another --data folder", Exit.USAGE) from None
        there = {key.id for key in found.master_keys}
        new = [_master_key(key_id) for key_id in dict.fromkeys((_MASTER_KEY, *master_keys)) if key_id not in there]
        if new:
            found = found.model_copy(update={"master_keys": (*found.master_keys, *new)})
            write_private(file, _reveal(found))
        write_private(self.secret_file, found.cloud_secret + "\n")
        return found

    def previous_map(self) -> CloudMap | None:
        """The map of the last run; CliError if it was damaged."""
        try:
            return CloudMap.model_validate_json(self.map_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValidationError:
            raise CliError(f"{self.map_file} is not a cloud map: restore it", Exit.USAGE) from None

    def keep_map(self, cloud_map: CloudMap) -> None:
        """Write the newest map."""
        write_private(self.map_file, cloud_map.model_dump_json(indent=1) + "\n")

    def keep_credentials(self, credentials: Credentials) -> None:
        """Write what nodes start with."""
        write_private(self.credentials_file, reveal(credentials) + "\n")


def _master_key(key_id: str) -> MasterKey:
    raw = base64.b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).decode()
    return MasterKey(id=key_id, key=SecretStr(raw))


def _reveal(identity: Identity) -> str:
    """The identity with its secrets in it, as its file has it."""
    document = identity.model_dump(mode="python")
    document["master_keys"] = [{"id": key.id, "key": key.key.get_secret_value()} for key in identity.master_keys]
    return json.dumps(document, indent=1) + "\n"


def _random(length: int, alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


@contextmanager
def opened(directory: Path) -> Iterator[State]:
    """The folder, made if need be, for one `moln dev` at a time; CliError."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory / "moln-dev.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CliError(f"cannot use the folder {directory}: {error.strerror}", Exit.USAGE) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CliError(f"another `moln dev` uses the folder {directory}", Exit.CONFLICT) from None
    try:
        yield State(directory)
    finally:
        os.close(descriptor)
