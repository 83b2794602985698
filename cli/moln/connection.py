"""Which cloud a command speaks with, and as whom: flags, then environment, then a profile. Decided in one pure step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from moln.errors import CliError, Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moln.profiles import Profile

DEFAULT_PROFILE: Final = "dev"
_ENDPOINTS: Final = ("MOLN_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says about the connection; None where it says nothing."""

    endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    region: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything a client needs. `origin` is where the endpoint came from, for error messages."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str
    origin: str
    session_token: str | None = field(default=None, repr=False)


def resolve(flags: Flags, environment: Mapping[str, str], load: Callable[[str], Profile | None]) -> Connection:
    """The connection; CliError when something is missing, with what to do.

    Endpoint and keys come from one place unless flags say otherwise, so that a key in the environment is never sent to
    the endpoint of a profile: --profile, else flags and environment, else the profile of $MOLN_PROFILE or `dev`.
    """
    endpoint, origin = flags.endpoint, "--endpoint"
    if endpoint is None and flags.profile is None:
        name = next((name for name in _ENDPOINTS if environment.get(name)), None)
        if name is not None:
            endpoint, origin = environment[name], name
    if endpoint is None:
        return _from_profile(flags, flags.profile or environment.get("MOLN_PROFILE") or DEFAULT_PROFILE, load)
    access_key = flags.access_key or environment.get("AWS_ACCESS_KEY_ID")
    secret_key = flags.secret_key or environment.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        raise CliError(
            f"the endpoint comes from {origin}, and there are no keys for it: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or --access-key and --secret-key)",
            Exit.USAGE,
        )
    region = flags.region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or _REGION
    token = None if flags.access_key else environment.get("AWS_SESSION_TOKEN")
    return Connection(_checked(endpoint), access_key, secret_key, region, origin, token)


def _from_profile(flags: Flags, name: str, load: Callable[[str], Profile | None]) -> Connection:
    profile = load(name)
    if profile is None:
        raise CliError(
            f"there is no endpoint: set MOLN_ENDPOINT, give --endpoint, or run `moln dev` (profile {name!r} does not "
            "exist)",
            Exit.USAGE,
        )
    return Connection(
        _checked(profile.endpoint),
        flags.access_key or profile.access_key,
        flags.secret_key or profile.secret_key.get_secret_value(),
        flags.region or profile.region,
        f"profile {name}",
    )


def _checked(endpoint: str) -> str:
    scheme, separator, rest = endpoint.partition("://")
    if not separator or scheme not in ("http", "https") or not rest.strip("/"):
        raise CliError(f"the endpoint {endpoint!r} is not a URL such as http://127.0.0.1:9000", Exit.USAGE)
    return endpoint.rstrip("/")
