"""Ids that nobody guesses, and names that reach nothing but a handler of ours."""

import ast
import json
import secrets
import string
from pathlib import Path

import pytest

from services.gateway.sessions import PID_BYTES
from tests.support.cluster import Cluster
from tests.support.source_tree import SOURCES, parse, python_files
from tests.support.waiting import eventually
from tests.support.wire_client import ask, connect
from tests.support.wire_socket import WireSocket, joined

IDS = 100_000
ALPHABET = set(string.ascii_letters + string.digits + "-_")
LEAST_BYTES = 15
CHANCE_FOR = {
    "shared/bus/retrying.py": "the length of a pause",
    "shared/bus/subscription.py": "the moment of a beat",
    "shared/identity/key_source.py": "the length of a pause",
    "services/gateway/connection.py": "the age that a connection may reach",
    "services/gateway/users.py": "the moment of a renewal",
    "services/gateway/server.py": "the length of a pause",
    "services/gateway/drain.py": "the order in which clients go",
    "services/gateway/shedding.py": "which clients go",
}
"""Where `random` is good enough."""

RESERVED = (
    *("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "error"),
    *("__init__", "__class__", "__proto__", "__dict__", "constructor", "prototype", "toString", "hasOwnProperty"),
    *("hello", "authenticated", "price:update", "auth:expired", "_handlers", "received", "", "\x00", "subscribe"),
)


def calls_of(path: Path, module: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == module
    ]


@pytest.mark.threat("T5")
def test_chance_that_can_be_foretold_makes_no_id():
    users = {
        str(path)
        for path in python_files(*SOURCES)
        if not str(path).startswith("services/launcher/")
        for node in ast.walk(parse(path))
        if (isinstance(node, ast.Import) and any(name.name == "random" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "random")
    }
    assert users == set(CHANCE_FOR)


@pytest.mark.threat("T5")
def test_every_id_of_a_client_has_enough_bytes():
    made = [call for path in python_files("services/gateway") for call in calls_of(path, "secrets")]
    tokens = [call for call in made if isinstance(call.func, ast.Attribute) and call.func.attr == "token_urlsafe"]
    assert len(tokens) >= 3
    for call in tokens:
        (size,) = call.args
        assert isinstance(size, ast.Constant | ast.Name), ast.dump(size)
        if isinstance(size, ast.Constant):
            assert int(str(size.value)) >= LEAST_BYTES
    assert PID_BYTES >= LEAST_BYTES


@pytest.mark.threat("T5")
def test_a_hundred_thousand_ids_are_all_different():
    made = {secrets.token_urlsafe(PID_BYTES) for _ in range(IDS)}
    assert len(made) == IDS
    assert {len(one) for one in made} == {24}
    assert set().union(*made) == ALPHABET


@pytest.mark.threat("T5")
async def test_the_three_ids_of_a_client_are_strangers_to_each_other(cluster: Cluster):
    gateway = await cluster.start("gateway", MAX_ACCEPTS_PER_SECOND="0")
    seen: set[str] = set()
    for _ in range(50):
        polled = await ask(
            gateway.port, b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        async with await connect(gateway.port) as wire:
            client = WireSocket(wire)
            client.join()
            opened = json.loads((await client.next_text("40"))[2:])
            ids = [json.loads(polled.body[1:])["sid"], opened["sid"], opened["pid"]]
            hello = json.dumps(await client.next("hello"))
        for one in ids:
            assert len(one) >= 20
            assert set(one) <= ALPHABET
            assert one not in seen
            assert one not in hello
            seen.add(one)
    assert len({one[:6] for one in seen}) > len(seen) - 3


@pytest.mark.threat("T6")
async def test_reserved_names_and_those_of_python_call_nothing(cluster: Cluster):
    gateway = await cluster.start("gateway", RATE_LIMIT_DEFAULT="10000", RATE_LIMIT_BURST="10000")
    for name in RESERVED:
        async with await connect(gateway.port) as wire:
            client = WireSocket(wire)
            client.join()
            await client.next("hello")
            client.emit_ack(name, {"x": 1}) if hasattr(client, "emit_ack") else wire.text(f"420{json.dumps([name, 1])}")
            while True:
                frame = await wire.receive()
                if frame is None or frame.close_code is not None or frame.op == 8:
                    break
                if frame.payload.startswith(b"430"):
                    assert json.loads(frame.payload[3:])[0]["ok"] is False, name
                    break
    events = {series for series in await gateway.scrape() if series.startswith("websocket_events_total")}
    assert not {name for name in RESERVED if f'websocket_events_total{{event="{name}"}}' in events}
    async with joined(gateway.port) as client:
        assert (await client.call("subscribe:price", ["A"]))["ok"]
    await eventually(lambda: gateway.process.poll() is None, "the gateway lives")
    assert b"Traceback" not in gateway.log.read_bytes()
