"""A few fixed examples of every state machine, and proof that they would tell."""

import logging
from typing import Any

import pytest
import structlog

from protocol.engineio.heartbeat import Heartbeat
from protocol.socketio.connection import Connection
from protocol.socketio.membership import Membership, State
from services.gateway.hub import Hub
from services.gateway.limits import TokenBucket
from services.gateway.log_window import LogWindow
from services.gateway.price_feed import PriceFeed
from services.gateway.recovery import Missed
from services.launcher.embedded_valkey import EmbeddedValkey
from tests.fuzz import stateful
from tests.fuzz.machines.price_shards import GatewaysWatch
from tests.fuzz.stateful import MACHINES, walk


@pytest.fixture(autouse=True)
def _on_a_server(valkey: EmbeddedValkey) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # kept for this test alone
    for machine in MACHINES.values():
        if machine.needs_redis:
            machine.kind.url = valkey.url


@pytest.mark.parametrize("name", MACHINES)
def test_a_short_walk_finds_nothing(name: str) -> None:
    walk(MACHINES[name], MACHINES[name].examples, same=True)


def nothing(*_: object) -> None:
    """What should have been done is not."""


def always(*_: object) -> bool:
    return True


def from_where_it_joined(missed: Missed, room: str, number: int, joined: int) -> None:
    """What it has got since is forgotten."""
    missed.behind[room] = joined
    missed.logs[room] = number


def admit_anybody(connection: Connection, namespace: str) -> None:
    """However many namespaces there are."""
    connection._memberships += (Membership(namespace, State.CONNECTING),)


FAULTS: list[tuple[str, type, str, Any]] = [
    ("engineio", Heartbeat, "stop", nothing),
    ("engineio", Heartbeat, "receive_pong", nothing),
    ("engineio", Heartbeat, "forgive_pong", nothing),
    ("engineio", Heartbeat, "receive_message", nothing),
    ("socketio", Membership, "note_unanswered", nothing),
    ("socketio", Membership, "check_room_to_ask", nothing),
    ("socketio", Membership, "expire", lambda _self, _now: ()),
    ("socketio", Connection, "_admit", admit_anybody),
    ("rooms", Hub, "leave", always),
    ("limits", TokenBucket, "take", lambda *_: 0.0),
    ("log", Missed, "want", from_where_it_joined),
    ("log", Missed, "lacking", lambda _self, _floors: {}),
    ("log", LogWindow, "holds", always),
    ("shards", PriceFeed, "_leave_if_unwatched", nothing),
]


@pytest.mark.parametrize(
    ("name", "owner", "method", "planted"), FAULTS, ids=[f"{it[1].__name__}.{it[2]}" for it in FAULTS]
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, owner: type, method: str, planted: Any
) -> None:
    monkeypatch.setattr(GatewaysWatch, "patience", 0.5)
    monkeypatch.setattr(owner, method, planted)
    with pytest.raises(BaseException):  # noqa: B017,PT011  # hypothesis may raise a group of them
        walk(MACHINES[name], MACHINES[name].examples, same=True, shorten=False)


def test_the_command_line_walks_one_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert stateful.main(["--seconds", "0.1", "--machine", "limits"]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_the_command_line_tells_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(TokenBucket, "take", lambda *_: 0.0)
    assert stateful.main(["--seconds", "1", "--machine", "limits"]) == 1
    assert "found after" in capsys.readouterr().out
