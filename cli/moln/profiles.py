"""Profiles: endpoint and keys of a cloud, one private JSON file each under ~/.config/moln/profiles.

`moln dev` writes one while it runs; every command reads one when flags and environment say nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_serializer

from moln.errors import CliError, Exit
from moln.files import write_private


class Profile(BaseModel):
    """Where a cloud answers, and as whom to speak with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str
    access_key: str
    secret_key: SecretStr
    region: str = "us-east-1"
    peer: str | None = None  # host:port of a node's port 9001, and the file that opens it
    cloud_secret_file: Path | None = None

    @field_serializer("secret_key", when_used="json")
    def _reveal(self, secret: SecretStr) -> str:
        return secret.get_secret_value()


def directory() -> Path:
    """Where profiles are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "moln" / "profiles"


def path(name: str) -> Path:
    """The file of a profile; CliError if the name could leave the folder."""
    if not name or "/" in name or name.startswith("."):
        raise CliError(f"{name!r} is no name for a profile", Exit.USAGE)
    return directory() / f"{name}.json"


def load(name: str) -> Profile | None:
    """The profile, None if there is none; CliError if it cannot be read."""
    file = path(name)
    try:
        return Profile.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CliError(f"cannot read the profile {file}: {error.strerror}", Exit.USAGE) from error
    except ValidationError:
        raise CliError(f"the profile {file} is not valid: correct it, or delete it", Exit.USAGE) from None


def save(name: str, profile: Profile) -> Path:
    """Write the profile for this user alone; OSError where that is not possible."""
    file = path(name)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(file, profile.model_dump_json(indent=1) + "\n")
    return file


def remove(name: str, profile: Profile) -> None:
    """Remove the profile if it is still this one."""
    if load(name) == profile:
        path(name).unlink(missing_ok=True)
