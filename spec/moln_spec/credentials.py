"""The secrets of a cloud's S3: access keys and what each may do, and the keys that objects are encrypted under."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

MASTER_KEY_BYTES: Final = 32

Role = Literal["admin", "read-write", "read-only"]


class KeyPolicy(BaseModel):
    """What a key may do: a role, within some buckets and prefixes.

    `admin` may do everything to every bucket; the others act within the buckets of their owner (and where a bucket
    policy or ACL says so), and are bounded by `buckets` (globs) and `prefixes` where these are given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role = "read-write"
    buckets: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


class AccessKey(BaseModel):
    """One access key; `id` and `name` are the owner that S3 answers show. Keys with one id share their buckets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    access_key: str = Field(min_length=3, max_length=128, pattern=r"^[A-Za-z0-9_+=.@-]+$")
    secret_key: SecretStr = Field(min_length=8)
    id: str = "moln"
    name: str = "moln"
    policy: Role | KeyPolicy = "read-write"
    expires: int | None = Field(
        None, description="Seconds since 1970 after which the key is refused: the grace of a rotated key."
    )

    @property
    def key_policy(self) -> KeyPolicy:
        """The policy in its long form."""
        return KeyPolicy(role=self.policy) if isinstance(self.policy, str) else self.policy


class MasterKey(BaseModel):
    """A key that wraps the data keys of encrypted objects. Objects name it by `id`: lose it, and they are lost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9:/_-]+$")
    key: SecretStr = Field(description="32 random bytes in base64.")

    @field_validator("key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        try:
            raw = base64.b64decode(value.get_secret_value(), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != MASTER_KEY_BYTES:
            raise ValueError(f"a master key is {MASTER_KEY_BYTES} bytes in base64")
        return value

    @property
    def raw(self) -> bytes:
        """The key itself."""
        return base64.b64decode(self.key.get_secret_value())


class Credentials(BaseModel):
    """Every access key and master key of a cloud: the document that is pushed to nodes. What is absent is refused.

    New objects are encrypted under the first master key; the others stay as long as objects were encrypted under them,
    and serve requests of SSE-KMS that name them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[AccessKey, ...] = ()
    master_keys: tuple[MasterKey, ...] = ()

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        if len({key.id for key in self.master_keys}) < len(self.master_keys):
            raise ValueError("two master keys have one id")
        return self


def reveal(document: Credentials) -> str:
    """The document with its secrets in clear, as nodes take it: for a file, a Secret or a push, and nowhere else."""
    keys = [{**key.model_dump(mode="json"), "secret_key": key.secret_key.get_secret_value()} for key in document.keys]
    masters = [{"id": key.id, "key": key.key.get_secret_value()} for key in document.master_keys]
    return json.dumps({"keys": keys, "master_keys": masters}, indent=1, sort_keys=True)
