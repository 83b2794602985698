"""The documents that a node starts with: cloud map, credentials, cloud secret. Reads files; every error is one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from moln_node.exits import StartError

if TYPE_CHECKING:
    from pathlib import Path

Model = TypeVar("Model", bound=BaseModel)


def explain(error: ValidationError) -> str:
    """Where a document is wrong and why, on one line, without the values: they may be secrets."""
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'document'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "; ".join(problems)


def read_text(path: Path, what: str) -> str:
    """The file's text; StartError names what it should have held."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise StartError(f"cannot read the {what} from {path}: {reason}") from error


def read_document(path: Path, model: type[Model], what: str) -> Model:
    """The JSON document in a file; StartError says where it is wrong."""
    text = read_text(path, what)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise StartError(f"the {what} in {path} is not valid: {explain(error)}") from error
