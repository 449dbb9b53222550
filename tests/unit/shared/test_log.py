"""Log lines, as a machine reads them."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest
import structlog

from shared.bus.errors import BusUnavailableError
from shared.log import MAX_ITEMS, MAX_VALUE_LENGTH, configure_logging, get_logger, redact

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the process writes; the logging of the tests themselves comes back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(stderr: io.StringIO) -> Lines:
    """Configures JSON logs; returns what was written since."""
    configure_logging("info", "json", service="gateway", instance="gateway-1")
    return lambda: [json.loads(line) for line in stderr.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_event_and_what_was_bound(lines: Lines):
    get_logger("shared.bus").info("redis_lost", stream="feed:prices", count=3)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "redis_lost",
        "service.name": "gateway",
        "service.version": version("tickwire"),
        "service.instance.id": "gateway-1",
        "module": "shared.bus",
        "stream": "feed:prices",
        "count": 3,
    }


def test_lines_below_the_level_are_not_written(lines: Lines):
    get_logger("x").debug("detail")
    assert lines() == []


def test_libraries_speak_through_the_same_chain_from_warning_up(lines: Lines):
    logging.getLogger("aiohttp").info("hello")
    logging.getLogger("aiohttp").warning("careful: %s", "x" * 5000)
    (line,) = lines()
    assert (line["level"], line["service.name"]) == ("warning", "gateway")
    assert len(line["event"]) < MAX_VALUE_LENGTH + 50


def test_an_exception_is_told_whole_on_one_line(lines: Lines):
    try:
        raise ValueError("what went wrong")
    except ValueError:
        get_logger("x").exception("failed")
        logging.getLogger("lib").exception("failed too")
    for line in lines():
        assert line["error.type"] == "ValueError"
        assert line["exception.message"] == "what went wrong"
        assert "ValueError: what went wrong" in line["exception.stacktrace"]


def test_an_error_that_was_foreseen_is_told_by_its_type_and_what_it_says(lines: Lines):
    get_logger("x").warning(
        "redis_unavailable", error=BusUnavailableError("rediss://gateway:secret@redis:6379 is away")
    )
    (line,) = lines()
    assert line["error.type"] == "shared.bus.errors.BusUnavailableError"
    assert line["exception.message"] == "rediss://[login]@redis:6379 is away"
    assert not {"error", "exception.stacktrace"} & line.keys()


def test_secrets_never_pass_however_deep_and_however_spelt(lines: Lines):
    secret = "eyJhbGciOi"
    get_logger("x").warning(
        "refused",
        token=secret,
        auth={"token": secret},
        headers={"Authorization": secret, "Cookie": secret, "Host": "a"},
        calls=[{"password": secret}, ({"sid": secret},)],
    )
    (line,) = lines()
    assert secret not in json.dumps(line)
    assert line["token"] == line["auth"] == "[redacted]"
    assert line["headers"] == {"Authorization": "[redacted]", "Cookie": "[redacted]", "Host": "a"}


@pytest.mark.parametrize(
    "value",
    ["x" * 100_000, b"x" * 100_000, ["x" * 1000] * 10_000, {str(number): "x" * 1000 for number in range(10_000)}],
)
def test_what_a_client_sends_cannot_flood_the_log(value: object):
    (shown,) = redact(None, "info", {"payload": value}).values()
    assert len(repr(shown)) < MAX_ITEMS * (MAX_VALUE_LENGTH + 100)


def test_a_cut_value_says_how_long_it_was():
    shown = redact(None, "info", {"text": "x" * 600, "raw": b"x" * 600})
    assert str(shown["text"]).endswith("x[600 characters]")
    assert str(shown["raw"]).endswith("x'[600 bytes]")


def test_people_get_a_console_form(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", stderr)  # pytest puts its own back between set-up and test
    configure_logging("info", "console", service="gateway")
    get_logger("x").info("ready", port=8080)
    text = stderr.getvalue()
    assert "ready" in text
    assert "port=8080" in text
    assert not text.startswith("{")
    try:
        raise ValueError("what went wrong")
    except ValueError:
        get_logger("x").exception("failed")
    assert "\nTraceback (most recent call last):" in stderr.getvalue()
