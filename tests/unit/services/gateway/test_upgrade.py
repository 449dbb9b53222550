"""A WebSocket takes over from polling, or fails to, and only its own life depends on that (protocol reference 2.7)."""

import pytest

from services.gateway.frames import frame_message
from shared.names import close_reasons
from tests.support.fakes_http import UPGRADE, FakePort, FakeSocket, PollingClient, masked, text
from tests.support.waiting import eventually

PROBE, PONG, EMPTY_CLOSE = text(b"2probe"), b"\x81\x063probe", b"\x88\x00"


@pytest.fixture(name="port")
async def one_port() -> FakePort:
    return FakePort()


@pytest.fixture(name="client")
async def one_client(port: FakePort) -> PollingClient:
    return PollingClient(port)


def upgraded(client: PollingClient) -> FakeSocket:
    probe = client.probe()
    probe.feed(PROBE + text(b"5"))
    assert probe.take() == PONG
    return probe


def assert_lives_by_polling(client: PollingClient) -> None:
    client.push("still here")
    assert client.poll().endswith(b"4still here")
    assert client.post(b"4and talking").body == b"ok"
    assert client.application.messages[-1] == "and talking"
    client.poll()
    assert client.port.ended == []


async def test_after_the_dance_the_websocket_is_the_carrier(client: PollingClient) -> None:
    socket = upgraded(client)
    socket.feed(text(b"4hi"))
    assert socket.take() == frame_message("hi")
    assert client.connection.transport == "websocket"
    socket.leave()
    assert client.application.closings == [close_reasons.PEER_GONE]
    client.port.loop.advance(60)
    assert client.port.is_at_rest()


async def test_the_upgrade_and_what_follows_may_come_in_one_read(client: PollingClient) -> None:
    socket = client.probe()
    socket.feed(PROBE + text(b"5") + text(b"4one") + text(b"4two"))
    assert socket.take() == PONG + frame_message("one") + frame_message("two")


async def test_an_upgrade_without_a_probe_is_taken(client: PollingClient) -> None:
    parked = client.get()
    socket = client.probe()
    socket.feed(text(b"5"))
    assert parked.answer().body == b"6"
    client.push("x")
    assert socket.take() == frame_message("x")


@pytest.mark.parametrize("after_probe", [True, False])
@pytest.mark.parametrize(
    "frames",
    [
        text(b"4hello"),
        text(b"2"),
        text(b"nonsense"),
        text(b""),
        text(b"\xff"),
        masked(0x2, b"\x00"),
        masked(0x3),
        masked(0x8, b"\x03\xe8"),
        text(b"4a") + text(b"4b") + text(b"2probe") + text(b"5"),
        text(b"x") * 250,
    ],
    ids=range(10),
)
async def test_whatever_else_it_says_costs_only_the_probing_websocket(
    client: PollingClient, frames: bytes, *, after_probe: bool
) -> None:
    socket = client.probe()
    if after_probe:
        socket.feed(PROBE)
        assert socket.take() == PONG
    socket.feed(frames)
    assert socket.ended or b"\x88" in socket.take()
    assert client.application.messages == []
    assert_lives_by_polling(client)


@pytest.mark.parametrize("after_probe", [True, False])
async def test_one_that_drops_leaves_polling_as_it_was_and_another_may_try(
    client: PollingClient, *, after_probe: bool
) -> None:
    socket = client.probe()
    if after_probe:
        socket.feed(PROBE)
    socket.leave()
    assert_lives_by_polling(client)
    upgraded(client)


async def test_one_that_takes_too_long_is_closed(client: PollingClient) -> None:
    socket = client.probe()
    socket.feed(PROBE)
    socket.take()
    client.port.loop.advance(10.1)
    assert socket.take() == EMPTY_CLOSE
    assert_lives_by_polling(client)


@pytest.mark.parametrize("done", [True, False])
async def test_a_second_one_is_accepted_and_closed_and_the_first_goes_on(client: PollingClient, *, done: bool) -> None:
    first = upgraded(client) if done else client.probe()
    second = client.port.ask(client.upgrade_target, *UPGRADE)
    answer = second.take()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\r\n\r\n" + EMPTY_CLOSE)
    first.feed(text(b"4hi") if done else PROBE)
    assert first.take() == (frame_message("hi") if done else PONG)


async def test_the_connection_s_end_closes_the_probing_websocket_too(client: PollingClient) -> None:
    socket = client.probe()
    socket.feed(PROBE)
    socket.take()
    client.connection.end(close_reasons.KICKED)
    assert socket.take() == EMPTY_CLOSE
    assert client.poll() == b"1"
    socket.feed(text(b"5"))
    assert client.application.messages == []


async def test_one_that_does_not_leave_is_dropped(client: PollingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.upgrade.CLOSE_TIMEOUT_S", 0.01)
    socket = client.probe()
    socket.feed(text(b"nonsense"))
    await eventually(lambda: socket.ended, "it is dropped")


async def test_under_load_both_ways_nothing_is_lost_doubled_or_reordered(client: PollingClient) -> None:
    """The application numbers its messages; the client reads by polling, then by WebSocket, and sees each once."""
    application, seen = client.application, b""
    application.on_message = lambda _data: None
    numbers = iter(range(1_000))

    def push() -> None:
        client.push(f"{next(numbers)};")

    push()
    seen += client.poll()
    push()
    socket = client.probe()
    push()
    client.post(b"4a\x1e4b")
    socket.feed(PROBE)
    push()
    seen += client.poll().replace(b"6", b"", 1)
    client.post(b"4c")
    push()
    socket.feed(text(b"5") + text(b"4d"))
    push()
    socket.feed(text(b"4e"))
    written = socket.take().removeprefix(PONG)
    numbered = seen.replace(b"\x1e", b"") + written
    expected = b"".join(b"4%d;" % number for number in range(6))
    assert bytes(byte for byte in numbered if byte >= 0x20 and byte < 0x80) == expected
    assert application.messages == ["a", "b", "c", "d", "e"]
