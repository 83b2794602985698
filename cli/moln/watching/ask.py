"""One question to a node's port 9001 that wants the cloud secret, and the file that the secret is in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode

import urllib3
from pydantic import BaseModel, ValidationError

from moln.errors import CliError, Exit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TIMEOUT: Final = 10.0
_CODES: Final = {401: Exit.DENIED, 404: Exit.NOT_FOUND, 503: Exit.UNREACHABLE}
Model = TypeVar("Model", bound=BaseModel)


def read_secret(file: Path) -> str:
    """The cloud secret in a file: its first line; CliError."""
    try:
        return file.read_text(encoding="utf-8").split("\n")[0].strip()
    except OSError as error:
        raise CliError(f"cannot read the cloud secret from {file}: {error.strerror}", Exit.USAGE) from error


def ask(
    http: urllib3.PoolManager,
    address: str,
    secret: str,
    path: str,
    model: type[Model],
    query: Mapping[str, str] | None = None,
    post: BaseModel | None = None,
) -> Model:
    """The answer to a GET, or to a POST of a document; CliError with the node's own words where there is none.

    `address` is `http://HOST:PORT`, or https where `http` knows whom to trust.
    """
    url = f"{address}{path}" + (f"?{urlencode(query)}" if query else "")
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    body = None if post is None else post.model_dump_json()
    method = "GET" if post is None else "POST"
    try:
        answer = http.request(method, url, body=body, headers=headers, timeout=_TIMEOUT, retries=False)
    except urllib3.exceptions.SSLError as error:
        raise CliError(f"{url}: {error}", Exit.DENIED) from error
    except urllib3.exceptions.HTTPError as error:
        raise CliError(f"{url} does not answer: is the cloud running there?", Exit.UNREACHABLE) from error
    if answer.status not in (200, 202):
        raise CliError(f"{address}: {_sentence(answer.data)}", _CODES.get(answer.status, Exit.FAILURE))
    try:
        return model.model_validate_json(answer.data)
    except ValidationError as error:
        raise CliError(f"{url}: the answer is none that this release of `moln` knows") from error


def _sentence(body: bytes) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return body[:200].decode("utf-8", "replace")
    return str(document.get("error", document)) if isinstance(document, dict) else str(document)
