"""The file of `--access-keys`: further keys that a cloud takes, as a JSON list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from moln.errors import CliError, Exit
from moln_spec.credentials import AccessKey

if TYPE_CHECKING:
    from pathlib import Path

_KEYS: Final = TypeAdapter(tuple[AccessKey, ...])


def read(path: Path) -> tuple[AccessKey, ...]:
    """The keys in the file; CliError says where it is wrong, and never shows a secret."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CliError(f"cannot read the access keys from {path}: {reason}", Exit.USAGE) from error
    try:
        keys = _KEYS.validate_json(text)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise CliError(
            f"the access keys in {path} are not valid: {'; '.join(problems)} "
            '(wanted: [{"access_key", "secret_key", "id", "name", "policy"}, ...])',
            Exit.USAGE,
        ) from None
    names = [key.access_key for key in keys]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CliError(f"the access keys in {path} have {', '.join(twice)} more than once", Exit.USAGE)
    return keys
