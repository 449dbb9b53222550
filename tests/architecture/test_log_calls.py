"""Every log call names an event in snake_case and fields of the one vocabulary; every field of it is used."""

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from shared.names import log_fields
from tests.support.source_tree import SOURCES, parse, python_files

METHODS: Final = {"debug", "info", "warning", "error", "exception", "critical", "log"}
FROM_CALLS: Final = log_fields.NAMES | {"error"}
"""`error=` is an exception, which `shared.log` spells."""

_is_event: Final = re.compile(r"[a-z]+(_[a-z0-9]+)*").fullmatch


class Call(NamedTuple):
    """One log call: its event, None if that is no literal, and its fields, None for one that is spread out."""

    where: str
    event: str | None
    fields: tuple[str | None, ...]


def calls(tree: ast.Module, where: str) -> Iterator[Call]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in METHODS:
            continue
        if not isinstance(node.func.value, ast.Name) or node.func.value.id != "log":
            continue
        named = node.args[1 if node.func.attr == "log" else 0]
        event = named.value if isinstance(named, ast.Constant) and isinstance(named.value, str) else None
        yield Call(f"{where}:{node.lineno}", event, tuple(word.arg for word in node.keywords))


def all_calls() -> list[Call]:
    return [call for path in python_files(*SOURCES) for call in calls(parse(path), str(path))]


def is_sound(call: Call) -> bool:
    return call.event is not None and _is_event(call.event) is not None and set(call.fields) <= FROM_CALLS


def test_every_call_speaks_the_vocabulary() -> None:
    found = all_calls()
    assert len(found) > 40, "the calls were not found"
    assert [call for call in found if not is_sound(call)] == []


def test_every_field_of_an_event_is_written_by_some_call() -> None:
    written = {field for call in all_calls() for field in call.fields}
    assert {field.name for field in log_fields.OF_EVENTS} - written == set()


def test_names_are_listed_once_in_order_and_durations_say_that_they_are_seconds() -> None:
    names = [field.name for field in log_fields.ALL]
    assert len(names) == len(set(names))
    ours = [field.name for field in log_fields.OF_EVENTS]
    assert ours == sorted(ours)
    assert all(name.endswith("_s") == (unit == "s") and not name.endswith("_ms") for name, unit, _ in log_fields.ALL)


@pytest.mark.parametrize(
    "line",
    [
        'log.info("Redis is away")',
        'log.info("redisAway")',
        'log.info(f"redis_{state}")',
        'log.info("redis_away", colour="red")',
        'log.warning("redis_away", **fields)',
        'log.log(level, "Redis is away")',
    ],
)
def test_a_call_that_does_not_is_found(line: str) -> None:
    (call,) = calls(ast.parse(line), "x")
    assert not is_sound(call)
