"""The register keys of multipart uploads and their parts. Pure.

    U <key> 00 00 <upload id>                    the upload
    P <key> 00 00 <upload id> / <part number>    a part of it

Zero characters of the object's key are written as 00 01, so that uploads sort by key, then by id.
"""

from __future__ import annotations

from typing import Final

_UPLOAD: Final = "U"
_PART: Final = "P"
END: Final = "\0\0"


def escaped(key: str) -> str:
    """An object's key as the keys of registers that are about it have it."""
    return key.replace("\0", "\0\1")


def plain(escaped_key: str) -> str:
    """The key that `escaped` was given."""
    return escaped_key.replace("\0\1", "\0")


def upload(key: str, upload_id: str) -> str:
    """The register of an upload."""
    return f"{_UPLOAD}{escaped(key)}{END}{upload_id}"


def uploads_from(prefix: str) -> str:
    """Where the uploads of keys with this prefix begin."""
    return _UPLOAD + escaped(prefix)


def parts(key: str, upload_id: str) -> str:
    """What the registers of an upload's parts begin with."""
    return f"{_PART}{escaped(key)}{END}{upload_id}/"


def part(key: str, upload_id: str, number: int) -> str:
    """The register of a part."""
    return f"{parts(key, upload_id)}{number:05}"


def is_upload(register_key: str) -> bool:
    """It is an upload, not a part."""
    return register_key.startswith(_UPLOAD)


def object_key(register_key: str) -> str:
    """The key of the object that an upload or a part is for."""
    return plain(register_key[1:].partition(END)[0])


def upload_id(register_key: str) -> str:
    """The id of an upload, from its register or from a part's."""
    return register_key.rpartition(END)[2].partition("/")[0]


def part_number(register_key: str) -> int:
    """The number of a part, from its register."""
    return int(register_key.rpartition("/")[2])
