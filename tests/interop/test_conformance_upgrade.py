"""The upgrade from polling to WebSocket at the wire (protocol reference 2.7)."""

from collections.abc import Iterator

import pytest

from tests.support.conformance_client import NO_PINGS_MS, Answer, Poller, Wire, serving


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The app without its pings."""
    with serving(NO_PINGS_MS) as port:
        yield port


@pytest.fixture(scope="module")
def pinging_port() -> Iterator[int]:
    """The app with its pings, patient with slow machines."""
    with serving((300, 20_000)) as port:
        yield port


def check_refused(answer: Answer) -> None:
    assert (answer.status, answer.json()) == (400, {"code": 3, "message": "Bad request"})


async def probed(port: int, poller: Poller) -> Wire:
    """A WebSocket that has been answered its probe."""
    wire = await Wire.open(port, poller.websocket_target)
    await wire.send("2probe")
    assert await wire.frame() == "3probe"
    return wire


async def check_lives_by_polling(poller: Poller) -> None:
    await poller.send("4still polling")
    assert await poller.next() == "4still polling"


async def check_lives_by_websocket(poller: Poller, wire: Wire) -> None:
    await wire.send("4upgraded")
    assert await wire.next() == "4upgraded"
    check_refused(await poller.get())
    check_refused(await poller.post("4late"))
    await wire.send("4alone")
    assert await wire.next() == "4alone"


async def test_polls_end_with_nothing_until_the_websocket_takes_over(port: int) -> None:
    poller = await Poller.open(port)
    async with await poller.parked() as parked, await probed(port, poller) as wire:
        assert (await parked.answer()).text == "6"
        for _ in range(3):
            assert (await poller.get()).text == "6"
        await wire.send("5")
        await check_lives_by_websocket(poller, wire)


async def test_websocket_serves_real_packets_right_behind_the_upgrade_packet(port: int) -> None:
    poller = await Poller.open(port)
    async with await probed(port, poller) as wire:
        await wire.send("5", *(f"4{number}" for number in range(20)), b"\x01")
        assert [await wire.next() for _ in range(21)] == [*(f"4{number}" for number in range(20)), b"\x01"]


async def test_packets_buffered_meanwhile_arrive_once_and_in_order(port: int) -> None:
    poller = await Poller.open(port)
    await poller.send("40", b"\x01")
    async with await probed(port, poller) as wire:
        await poller.send("42", b"\x03")
        assert (await poller.get()).text == "6"
        await poller.send("44")
        await wire.send("5", "45", b"\x06")
        arrived = [await wire.next() for _ in range(7)]
        assert arrived == ["40", b"\x01", "42", b"\x03", "44", "45", b"\x06"]
        await check_lives_by_websocket(poller, wire)


async def test_large_buffer_survives_the_upgrade(port: int) -> None:
    poller = await Poller.open(port)
    sent = [f"4{number}-{'x' * 9_000}" for number in range(60)]
    async with await probed(port, poller) as wire:
        for first in range(0, 60, 20):
            await poller.send(*sent[first : first + 20])
        await wire.send("5")
        assert [await wire.next() for _ in sent] == sent
        await check_lives_by_websocket(poller, wire)


async def test_upgrade_without_a_probe_is_taken(port: int) -> None:
    poller = await Poller.open(port)
    async with await poller.parked() as parked, await Wire.open(port, poller.websocket_target) as wire:
        await wire.send("5")
        assert (await parked.answer()).text == "6"
        await check_lives_by_websocket(poller, wire)


@pytest.mark.parametrize("packet", ["abc", "", "2", "3", "3probe", "1", "6", "4hello", b"\x00"])
@pytest.mark.parametrize("is_probed", [False, True])
async def test_wrong_packet_closes_only_the_probe(port: int, packet: str | bytes, is_probed: bool) -> None:  # noqa: FBT001
    poller = await Poller.open(port)
    async with await Wire.open(port, poller.websocket_target) as wire:
        if is_probed:
            await wire.send("2probe")
            assert await wire.frame() == "3probe"
        await wire.send(packet, "4more", "5")
        assert await wire.goodbye() is None
    await check_lives_by_polling(poller)
    async with await probed(port, poller) as second:
        await second.send("5")
        await check_lives_by_websocket(poller, second)


async def test_poll_parked_through_a_failed_probe_is_served(port: int) -> None:
    poller = await Poller.open(port)
    async with await Wire.open(port, poller.websocket_target) as wire, await poller.parked() as parked:
        await wire.send("abc")
        assert await wire.goodbye() is None
        await poller.send("4hello")
        first = await parked.answer()
        assert first.text == "4hello"


async def test_dropped_probe_leaves_polling_alone(port: int) -> None:
    poller = await Poller.open(port)
    async with await probed(port, poller) as wire:
        await poller.send("4buffered")
        wire.drop()
        while (polled := await poller.get()).text == "6":
            pass
        assert polled.text == "4buffered"
    await check_lives_by_polling(poller)
    async with await probed(port, poller) as second:
        await second.send("5")
        await check_lives_by_websocket(poller, second)


async def test_second_websocket_is_accepted_and_closed_while_upgrading(port: int) -> None:
    poller = await Poller.open(port)
    async with await probed(port, poller) as wire:
        async with await Wire.open(port, poller.websocket_target) as second:
            assert await second.goodbye() is None
        await wire.send("5")
        await check_lives_by_websocket(poller, wire)


async def test_second_websocket_is_accepted_and_closed_when_upgraded(port: int) -> None:
    poller = await Poller.open(port)
    async with await probed(port, poller) as wire:
        await wire.send("5")
        async with await Wire.open(port, poller.websocket_target) as second:
            await second.send("2probe", "5", "4hello")
            assert await second.goodbye() is None
        await check_lives_by_websocket(poller, wire)


async def test_client_that_leaves_by_post_takes_its_probe_along(port: int) -> None:
    poller = await Poller.open(port)
    async with await probed(port, poller) as wire:
        assert (await poller.post("1")).text == "ok"
        assert await wire.goodbye() is None
    assert (await poller.get()).text == "6"
    assert (await poller.get()).json()["code"] == 1


async def test_upgraded_connection_ends_with_its_websocket(port: int) -> None:
    poller = await Poller.open(port)
    async with await probed(port, poller) as wire:
        await wire.send("5", "1")
        assert await wire.goodbye() is None
    assert (await poller.get()).json()["code"] == 1


async def test_upgraded_connection_is_pinged_on_its_websocket(pinging_port: int) -> None:
    poller = await Poller.open(pinging_port)
    async with await probed(pinging_port, poller) as wire:
        await wire.send("5")
        for _ in range(2):
            assert await wire.frame() == "2"
            await wire.send("3")
        await check_lives_by_websocket(poller, wire)
