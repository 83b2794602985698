"""The version that a request names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moln_node.s3.errors import S3Error
from moln_spec.version import InvalidVersionError, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

NULL: Final = "null"


def refuse_places(query: Mapping[str, str]) -> None:
    """InvalidArgument if the write of a whole object names a version, or a part of an upload that it does not name."""
    if "versionId" in query:
        raise S3Error("InvalidArgument", "This operation does not accept a version-id.", ArgumentName="versionId")
    if "partNumber" in query:
        raise S3Error("InvalidArgument", "A part needs the id of its upload.", ArgumentName="partNumber")


def version_of(query: Mapping[str, str]) -> str | None:
    """The `versionId` parameter; InvalidArgument if it cannot be one."""
    text = query.get("versionId")
    return None if text is None else checked_version(text)


def checked_version(text: str) -> str:
    """The version id in a query, a copy source or a document, if it can be one."""
    if text != NULL:
        try:
            Version.decode(text)
        except InvalidVersionError as error:
            raise S3Error(
                "InvalidArgument", "Invalid version id specified", ArgumentName="versionId", ArgumentValue=text
            ) from error
    return text
