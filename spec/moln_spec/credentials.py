"""Access keys: who may speak S3 with a cloud, and what each key may do."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

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


class Credentials(BaseModel):
    """Every access key of a cloud: the document that is pushed to nodes. A key that is absent is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[AccessKey, ...] = ()
