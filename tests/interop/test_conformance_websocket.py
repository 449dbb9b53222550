"""WebSocket carrier and heartbeats of both transports at the wire (protocol reference 2.1, 2.5, 2.6)."""

import asyncio
from collections.abc import Iterator
from time import monotonic
from typing import Final

import pytest

from tests.support.conformance_client import NO_PINGS_MS, Poller, Wire, request, serving
from tests.support.waiting import PATIENCE_S
from tests.support.wire_client import Op

MAX_PAYLOAD: Final = 1_000_000
INTERVAL_S: Final = 0.3
TIMEOUT_S: Final = 0.2
CLOCK_S: Final = 0.002
"""Clocks of two processes, in whole milliseconds each."""


@pytest.fixture(scope="module")
def suite_port() -> Iterator[int]:
    """The app as the official suites run it."""
    with serving() as port:
        yield port


@pytest.fixture(scope="module")
def moderate_port() -> Iterator[int]:
    """The app for clients that answer their pings, on a slow machine perhaps."""
    with serving((300, 1_000)) as port:
        yield port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The app without its pings."""
    with serving(NO_PINGS_MS) as port:
        yield port


@pytest.mark.parametrize("packet", ["4hello", "4", "4é€😀", b"\x01\x02\x03\x04", b"", b"4hello"])
async def test_message_comes_back_as_the_kind_it_was(port: int, packet: str | bytes) -> None:
    async with await Wire.connect(port) as wire:
        await wire.send(packet)
        assert await wire.next() == packet


async def test_many_messages_come_back_in_order(port: int) -> None:
    packets = [f"4{number}" if number % 3 else number.to_bytes(2) for number in range(500)]
    async with await Wire.connect(port) as wire:
        await wire.send(*packets)
        assert [await wire.next() for _ in packets] == packets


async def test_text_frame_with_base64_is_a_binary_message(port: int) -> None:
    async with await Wire.connect(port) as wire:
        await wire.send("bAQIDBA==")
        assert await wire.next() == b"\x01\x02\x03\x04"


async def test_client_that_takes_only_text_gets_base64(port: int) -> None:
    async with await Wire.connect(port, query="&b64=1") as wire:
        await wire.send("bAQIDBA==", "4text", b"\xff")
        assert [await wire.next() for _ in range(3)] == ["bAQIDBA==", "4text", "b/w=="]


@pytest.mark.parametrize("packet", ["abc", "", "7", "2", "2probe", "b*", "bAQ=", "0", "4ok\x1e"[2:]])
async def test_bad_packet_closes_with_an_empty_close_frame(port: int, packet: str) -> None:
    async with await Wire.connect(port) as wire:
        await wire.send(packet)
        assert await wire.goodbye() is None


@pytest.mark.parametrize("packet", ["5", "6", "3"])
async def test_packets_without_meaning_are_ignored(port: int, packet: str) -> None:
    async with await Wire.connect(port) as wire:
        await wire.send(packet, "4hello")
        assert await wire.next() == "4hello"


async def test_close_packet_closes_at_once(port: int) -> None:
    async with await Wire.connect(port) as wire:
        await wire.send("1")
        assert await wire.goodbye() is None


async def test_close_frame_is_answered(port: int) -> None:
    async with await Wire.connect(port) as wire:
        wire.client.send(Op.CLOSE, b"\x03\xe8")
        assert await wire.goodbye() in (None, 1000)


@pytest.mark.parametrize("path", ["/engine.io/", "/socket.io/"])
async def test_one_byte_over_the_maximum_is_1009(port: int, path: str) -> None:
    for packet in ("4" + "x" * MAX_PAYLOAD, b"x" * (MAX_PAYLOAD + 1)):
        async with await Wire.connect(port, path) as wire:
            await wire.send(packet)
            assert await wire.goodbye() == 1009


async def test_exactly_the_maximum_passes(port: int) -> None:
    async with await Wire.connect(port) as wire:
        for packet in ("4" + "x" * (MAX_PAYLOAD - 1), b"x" * MAX_PAYLOAD):
            await wire.send(packet)
            assert await wire.next() == packet


async def test_compression_is_not_agreed_on_by_default(port: int) -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    async with await Wire.open(port, "/engine.io/?EIO=4&transport=websocket", offer) as wire:
        assert "sec-websocket-extensions" not in wire.head.lower()


async def test_websocket_is_pinged_one_interval_after_its_last_pong(moderate_port: int) -> None:
    last = monotonic()
    async with await Wire.connect(moderate_port) as wire:
        for _ in range(5):
            assert await wire.frame() == "2"
            assert monotonic() - last >= INTERVAL_S - CLOCK_S
            last = monotonic()
            await wire.send("3")


async def test_poll_is_pinged_one_interval_after_its_last_pong(moderate_port: int) -> None:
    last = monotonic()
    poller = await Poller.open(moderate_port)
    for _ in range(5):
        assert (await poller.get()).text == "2"
        last, before = monotonic(), last
        assert last - before >= INTERVAL_S - 5 * CLOCK_S
        assert (await poller.post("3")).text == "ok"


@pytest.mark.parametrize("chatter", [None, "3"])
async def test_websocket_without_pong_is_closed_in_time(suite_port: int, chatter: str | None) -> None:
    began = monotonic()
    async with await Wire.connect(suite_port) as wire:
        opened = monotonic()
        if chatter:
            await wire.send(chatter)  # nobody asked for it: it puts nothing off
        assert await wire.frame() == "2"
        assert await wire.goodbye() is None
        assert monotonic() - began >= INTERVAL_S + TIMEOUT_S - CLOCK_S
        assert monotonic() - opened < PATIENCE_S / 4


async def test_poll_at_the_very_end_of_the_ping_timeout_finds_nobody(suite_port: int) -> None:
    async def overstay(path: str) -> int:
        poller = await Poller.open(suite_port, path)
        await asyncio.sleep(INTERVAL_S + TIMEOUT_S)
        return (await poller.get()).status

    for _ in range(3):
        assert await asyncio.gather(*(overstay(path) for path in ("/engine.io/", "/socket.io/") * 5)) == [400] * 10


async def test_parked_poll_gets_the_ping_and_the_next_one_the_close(moderate_port: int) -> None:
    poller = await Poller.open(moderate_port)
    assert (await poller.get()).text == "2"
    assert (await poller.get()).text == "1"
    assert (await poller.get()).status == 400


async def test_who_overstays_disturbs_nobody(suite_port: int) -> None:
    late = await Poller.open(suite_port)
    async with await Wire.connect(suite_port) as wire:
        await wire.goodbye()
    assert (await late.get()).status == 400
    assert (await request(suite_port, "GET", "/engine.io/?EIO=4&transport=polling")).status == 200
