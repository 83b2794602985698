"""The S3 client under every command: botocore, set up for one endpoint, its errors turned into exit codes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import botocore.session
from botocore import exceptions as boto
from botocore.config import Config

from moln.errors import CliError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moln.connection import Connection

Client = Any  # botocore makes its clients at run time: they have no static type

_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 120  # a long completion answers late
_ATTEMPTS: Final = 4
_BY_CODE: Final[dict[str, Exit]] = {
    "BucketAlreadyExists": Exit.CONFLICT,
    "BucketAlreadyOwnedByYou": Exit.CONFLICT,
    "BucketNotEmpty": Exit.CONFLICT,
    "QuotaExceeded": Exit.FULL,
    "StorageFull": Exit.FULL,
    "BadDigest": Exit.CORRUPT,
    "XAmzContentSHA256Mismatch": Exit.CORRUPT,
}
_BY_STATUS: Final[dict[int, Exit]] = {
    401: Exit.DENIED,
    403: Exit.DENIED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    503: Exit.UNREACHABLE,
    504: Exit.UNREACHABLE,
    507: Exit.FULL,
}
_WORDS: Final[dict[str, str]] = {"404": "it does not exist", "403": "access denied", "412": "a condition does not hold"}


def make_client(connection: Connection, *, connections: int = 10) -> Client:
    """A client for the connection; safe to share between threads."""
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        user_agent_appid="moln",
    )
    return botocore.session.get_session().create_client(
        "s3",
        region_name=connection.region,
        endpoint_url=connection.endpoint,
        aws_access_key_id=connection.access_key,
        aws_secret_access_key=connection.secret_key,
        aws_session_token=connection.session_token,
        config=config,
    )


@contextmanager
def errors_about(subject: object) -> Iterator[None]:
    """Turn the client's errors into CliError with the right exit code; `subject` is what the command was about."""
    try:
        yield
    except boto.ClientError as error:
        raise from_answer(subject, error) from error
    except (boto.EndpointConnectionError, boto.ConnectTimeoutError) as error:
        url = error.kwargs.get("endpoint_url", "the endpoint")
        raise CliError(f"{url} does not answer: is the cloud running there?", Exit.UNREACHABLE) from error
    except boto.HTTPClientError as error:
        raise CliError(f"{subject}: the connection was lost: {error}", Exit.UNREACHABLE) from error
    except boto.ParamValidationError as error:
        raise CliError(f"{subject}: {' '.join(str(error).split())}", Exit.USAGE) from error
    except boto.BotoCoreError as error:
        raise CliError(f"{subject}: {error}") from error


def from_answer(subject: object, error: boto.ClientError) -> CliError:
    """What a refusal of the server means for the command."""
    problem = error.response.get("Error", {})
    code = str(problem.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = problem.get("Message") or ""
    said = f"{code}: {message}" if message else code
    if code.isdigit():  # a HEAD request: no body says why
        said = _WORDS.get(code, f"status {code}")
    return CliError(f"{subject}: {said}", _BY_CODE.get(code, _BY_STATUS.get(status, Exit.FAILURE)))
