"""docs/s3-coverage.md tells the truth: every operation that the SDKs know is on it, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import botocore.session
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from moln_node.s3 import routing, unbuilt
from moln_node.s3.errors import S3Error
from moln_node.s3.target import parse_target

if TYPE_CHECKING:
    from botocore.model import OperationModel

PAGE: Final = Path(__file__).parents[3] / "docs" / "s3-coverage.md"
ROW: Final = re.compile(r"^\| ([\w, ]+) \| (built|empty|501) \|", re.MULTILINE)
ELSEWHERE: Final = {"WriteGetObjectResponse"}  # an operation of AWS Lambda's own endpoint
MODEL: Final = botocore.session.get_session().get_service_model("s3")


def told() -> dict[str, str]:
    """What the page says of each operation."""
    return {name: state for names, state in ROW.findall(PAGE.read_text("utf-8")) for name in names.split(", ")}


def done(operation: OperationModel) -> str:
    """What the operation table does with a minimal request for an operation."""
    members = operation.input_shape.members if operation.input_shape else {}
    required = operation.input_shape.required_members if operation.input_shape else []
    path, _, query = operation.http["requestUri"].partition("?")
    path = path.replace("{Bucket}", "bucket").replace("{Key+}", "key")
    places = [members[name].serialization for name in required]
    pairs = [query, *(f"{place['name']}=1" for place in places if place.get("location") == "querystring")]
    headers = CIMultiDict({place["name"]: "x" for place in places if place.get("location") == "header"})
    target = parse_target(f"{path}?{'&'.join(filter(None, pairs))}", "host")
    try:
        found = routing.find(operation.http["method"], target, CIMultiDictProxy(headers))
    except S3Error as error:
        return {"NotImplemented": "501"}.get(error.code, error.code)
    if found.handler is None:
        return "501"
    return "empty" if found.handler.__module__ == unbuilt.__name__ else "built"


@pytest.mark.parametrize("name", sorted(set(MODEL.operation_names) - ELSEWHERE))
def test_an_operation_does_what_the_page_says(name: str) -> None:
    """Built, empty or 501, as written; an operation that is new to the SDKs must be put on the page."""
    assert told().get(name) == done(MODEL.operation_model(name))


def test_the_page_names_nothing_else() -> None:
    """Every row is an operation of the SDKs, or the browser's form."""
    assert set(told()) - {"PostObject"} <= set(MODEL.operation_names)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_nobody_knows_changes_nothing(method: str) -> None:
    """A sub-resource that S3 may get one day is not taken for the object itself."""
    found = routing.find(method, parse_target("/bucket/key?novelty", "host"), CIMultiDictProxy(CIMultiDict()))
    assert (found.handler, found.asked) == (None, "novelty")
