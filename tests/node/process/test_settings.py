"""Flags and environment become settings; every wrong one is a sentence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from moln_node.exits import StartError
from moln_node.settings import Address, parse

EVERYWHERE = "0.0.0.0"  # noqa: S104 (what a server listens on unless told otherwise)
NEEDED = ["--name", "n", "--data", "/d", "--map", "/m", "--credentials", "/c", "--cloud-secret", "/s"]


def test_defaults_are_those_of_the_documentation() -> None:
    """S3 on 9000, peers on 9001, JSON logs."""
    settings = parse(NEEDED, {})
    assert (settings.listen.port, settings.peer_listen.port) == (9000, 9001)
    assert {settings.listen.host, settings.peer_listen.host} == {EVERYWHERE}
    assert (settings.domains, settings.ready_file, settings.log_format) == ((), None, "json")
    assert settings.slow_seconds == 5
    assert settings.scrub_days == 14


def test_every_flag_is_an_environment_variable_and_the_flag_wins() -> None:
    """A container can be set up by either."""
    environment = {
        "MOLN_NAME": "env",
        "MOLN_DATA": "/data",
        "MOLN_MAP": "/map",
        "MOLN_CREDENTIALS": "/cred",
        "MOLN_CLOUD_SECRET": "/secret",
        "MOLN_LISTEN": "[::]:9100",
        "MOLN_PEER_LISTEN": ":0",
        "MOLN_DOMAIN": "s3.example.com, localhost",
        "MOLN_READY_FILE": "/ready",
        "MOLN_LOG_FORMAT": "text",
        "MOLN_STOP_SECONDS": "1.5",
        "MOLN_ACCESS_LOG": "off",
        "MOLN_SLOW_SECONDS": "0",
    }
    settings = parse(["--name", "flag"], environment)
    assert settings.name == "flag"
    assert (settings.data, settings.cloud_secret, settings.ready_file) == (
        Path("/data"),
        Path("/secret"),
        Path("/ready"),
    )
    assert (settings.listen, settings.peer_listen) == (Address("::", 9100), Address(EVERYWHERE, 0))
    assert settings.domains == ("s3.example.com", "localhost")
    assert (settings.log_format, settings.stop_seconds, settings.access_log) == ("text", 1.5, False)
    assert settings.slow_seconds == math.inf


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (NEEDED[2:], {}, "--name"),
        ([*NEEDED, "--listen", "9000"], {}, "HOST:PORT"),
        ([*NEEDED, "--listen", "h:99999"], {}, "HOST:PORT"),
        ([*NEEDED, "--stop-seconds", "-1"], {}, "number of seconds"),
        ([*NEEDED, "--stop-seconds", "inf"], {}, "number of seconds"),
        ([*NEEDED, "--log-format", "xml"], {}, "log-format"),
        (NEEDED, {"MOLN_LOG_FORMAT": "xml"}, "MOLN_LOG_FORMAT"),
        (NEEDED, {"MOLN_LISTEN": "x"}, "HOST:PORT"),
        ([*NEEDED, "--access-log", "maybe"], {}, "neither on nor off"),
        ([*NEEDED, "--nonsense"], {}, "--nonsense"),
    ],
)
def test_wrong_settings_are_one_sentence(arguments: list[str], environment: dict[str, str], says: str) -> None:
    """What is wrong is named."""
    with pytest.raises(StartError, match=says):
        parse(arguments, environment)
