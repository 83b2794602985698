"""The log: one line per event, with the request's id and without secrets."""

from __future__ import annotations

import json
import logging

import pytest

from moln_node.logs import JsonFormatter, TextFormatter, redact, request_id


def _record(message: str, **extra: object) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": "moln.test", "levelno": 20, "levelname": "INFO", "msg": message})
    record.__dict__.update(extra)
    return record


@pytest.mark.parametrize(
    "text",
    [
        "GET /b/k?X-Amz-Signature=SECRETVALUE&x=1",
        "GET /b/k?x-amz-security-token=SECRETVALUE",
        "Authorization: AWS4-HMAC-SHA256 Credential=AK/2026/us-east-1/s3/aws4_request, Signature=SECRETVALUE",
        "Authorization: Bearer SECRETVALUE",
        '{"access_key": "AK", "secret_key": "SECRETVALUE"}',
        "secretKey=SECRETVALUE",
    ],
)
def test_secrets_never_reach_a_line(text: str) -> None:
    """Signatures, tokens and secret keys are replaced, in text and in JSON, in messages and in extras."""
    assert "SECRETVALUE" not in redact(text)
    assert "***" in redact(text)
    for formatter in (JsonFormatter(), TextFormatter()):
        assert "SECRETVALUE" not in formatter.format(_record(text))
        assert "SECRETVALUE" not in formatter.format(_record("event", url=text))


def test_a_json_line_has_the_request_id_and_extras() -> None:
    """A line can be found by the id that the client was given."""
    token = request_id.set("REQ1")
    try:
        line = json.loads(JsonFormatter().format(_record("hello", bucket="b", size=3)))
    finally:
        request_id.reset(token)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "moln.test",
        "message": "hello",
        "request_id": "REQ1",
        "bucket": "b",
        "size": 3,
    }


def test_a_line_break_in_a_message_does_not_break_the_line() -> None:
    """A key with a newline in it cannot forge a line of the JSON log."""
    assert "\n" not in JsonFormatter().format(_record('key\n{"level": "forged"}'))
