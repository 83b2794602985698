"""The names of bodies that are apart from their records, and the register keys of such. Pure.

    <version>.<place>       a body: a ballot that nothing else has as its name, and the place of the map it lives in
    <key> 00 00 <body>      its register

Where an object is uploaded in parts, its body has the name of the upload. Zero characters of the object's key are
written as 00 01, so that bodies sort by key.
"""

from __future__ import annotations

from typing import Final

from moln_node.cluster.uploadkeys import END, escaped, plain

_VERSION_LENGTH: Final = 20


def name(version: str, place: str) -> str:
    """The name of a new body, or of an upload whose body will be apart; without a place the version alone."""
    return f"{version}.{place}" if place else version


def place_of(body: str) -> str:
    """The place that a body, or an upload, names; empty if its bytes are with their record."""
    return body[_VERSION_LENGTH + 1 :]


def register_key(key: str, body: str) -> str:
    """The register of a body."""
    return escaped(key) + END + body


def object_key(key_of_register: str) -> str:
    """The key of the object that a body is for."""
    return plain(key_of_register.rpartition(END)[0])


def body_of(key_of_register: str) -> str:
    """The name of a body, from its register."""
    return key_of_register.rpartition(END)[2]
