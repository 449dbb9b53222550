"""One Engine.IO connection: frames in and out, time, and every way to end, each exactly once."""

from collections.abc import Callable
from math import inf

import pytest

from protocol.engineio.packets import Ping, Pong, Upgrade
from protocol.engineio.session import Send, SessionSettings, Transport, Upgraded
from protocol.errors import PeerError, ViolationCode
from protocol.socketio.parser import MessageData
from services.gateway.connection import EngineConnection, Host
from services.gateway.deadlines import Deadlines
from shared.names import close_reasons
from shared.names.close_reasons import CloseReason
from tests.support.fakes_gateway import FakeCarrier, read_frames
from tests.support.manual_loop import ManualLoop


class Application:
    """Notes what it is told; raises `failure` when it has one."""

    def __init__(self) -> None:
        self.messages: list[MessageData] = []
        self.closings: list[CloseReason] = []
        self.drains = 0
        self.failure: PeerError | None = None
        self.deadline = inf
        self.on_message: Callable[[], None] = lambda: None

    def receive(self, data: MessageData, _now: float) -> None:
        if self.failure is not None:
            raise self.failure
        self.messages.append(data)
        self.on_message()

    def drained(self) -> None:
        self.drains += 1

    def closed(self, reason: CloseReason) -> None:
        self.closings.append(reason)

    def next_deadline(self) -> float:
        return self.deadline

    def handle_deadline(self, now: float) -> None:
        if self.failure is not None and now >= self.deadline:
            raise self.failure
        self.deadline = inf


class Setup:
    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.endings: list[CloseReason] = []
        self.deadlines = Deadlines(self.loop.as_loop)
        settings = SessionSettings(ping_interval=25_000, ping_timeout=20_000, max_payload=16_384, upgrades=False)
        host = Host(self.loop.as_loop, self.deadlines, settings, lambda _connection, why: self.endings.append(why))
        self.carrier = FakeCarrier()
        self.application = Application()
        self.connection = EngineConnection(host, self.carrier, "sid-1", Transport.WEBSOCKET)
        self.connection.open(self.application)

    def written(self) -> list[MessageData]:
        written, self.carrier.written = b"".join(self.carrier.written), []
        return list(read_frames(written))

    def assert_ended_once(self, reason: CloseReason) -> None:
        assert self.endings == self.application.closings == self.carrier.closed == [reason]


@pytest.fixture(name="setup")
def one_connection() -> Setup:
    return Setup()


def test_the_handshake_is_the_first_frame(setup: Setup) -> None:
    assert setup.written() == [
        '0{"sid":"sid-1","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":16384}'
    ]
    assert setup.connection.transport is Transport.WEBSOCKET


def test_messages_go_to_the_application_text_and_binary(setup: Setup) -> None:
    setup.connection.receive_frame("4hello")
    setup.connection.receive_frame(b"\x01")
    assert setup.application.messages == ["hello", b"\x01"]


def test_a_ping_goes_out_at_its_time_and_a_pong_keeps_the_connection(setup: Setup) -> None:
    setup.written()
    for _ in range(3):
        setup.loop.advance(24.9)
        assert setup.written() == []
        setup.loop.advance(0.2)
        assert setup.written() == ["2"]
        setup.connection.receive_frame("3")
    assert setup.endings == []


def test_no_pong_ends_it_when_the_timeout_has_passed(setup: Setup) -> None:
    setup.loop.advance(44.9)
    assert setup.endings == []
    setup.loop.advance(0.2)
    setup.assert_ended_once(close_reasons.PING_TIMEOUT)


def test_a_close_packet_is_the_client_s_leave(setup: Setup) -> None:
    setup.connection.receive_frame("1")
    setup.assert_ended_once(close_reasons.CLIENT_LEFT)


def test_a_lost_carrier_ends_it_and_forgets_its_deadlines(setup: Setup) -> None:
    setup.connection.carrier_lost(close_reasons.PEER_GONE)
    setup.assert_ended_once(close_reasons.PEER_GONE)
    assert setup.connection.due is None
    setup.written()
    setup.loop.advance(1000)
    assert setup.written() == []


EXPECTED = {
    ViolationCode.CONNECT_TIMEOUT: close_reasons.CONNECT_TIMEOUT,
    ViolationCode.PAYLOAD_TOO_LARGE: close_reasons.MESSAGE_TOO_BIG,
}


@pytest.mark.parametrize("code", ViolationCode)
def test_every_broken_rule_ends_it_once_with_its_reason(setup: Setup, code: ViolationCode) -> None:
    setup.application.failure = PeerError(code, limit=1, actual=2)
    for _ in range(2):
        setup.connection.receive_frame("4x")
    setup.assert_ended_once(EXPECTED.get(code, close_reasons.PROTOCOL_ERROR))
    setup.connection.carrier_lost(close_reasons.PEER_GONE)
    setup.assert_ended_once(EXPECTED.get(code, close_reasons.PROTOCOL_ERROR))


@pytest.mark.parametrize("frame", ["", "2", "2probe", "9", "x", "3x", "b!", "0{}"])
def test_every_frame_that_engine_io_does_not_allow_ends_it(setup: Setup, frame: str) -> None:
    setup.connection.receive_frame(frame)
    setup.assert_ended_once(close_reasons.PROTOCOL_ERROR)


@pytest.mark.parametrize("frame", ["3", "5", "6", "3probe"])
def test_frames_without_meaning_are_ignored(setup: Setup, frame: str) -> None:
    setup.connection.receive_frame(frame)
    assert setup.endings == []


def test_the_application_s_deadline_is_met_and_may_end_it(setup: Setup) -> None:
    setup.application.failure = PeerError(ViolationCode.ATTACHMENT_TIMEOUT)
    setup.application.deadline = setup.loop.now + 3
    setup.connection.rearm()
    setup.loop.advance(2.9)
    assert setup.endings == []
    setup.loop.advance(0.2)
    setup.assert_ended_once(close_reasons.PROTOCOL_ERROR)


def test_the_carrier_s_deadline_is_met_even_after_the_end(setup: Setup) -> None:
    setup.connection.end(close_reasons.KICKED)
    setup.carrier.deadline = setup.loop.now + 5
    setup.connection.rearm()
    setup.loop.advance(6)
    assert setup.carrier.deadlines_handled == [1005.0]


def test_after_the_end_nothing_goes_in_or_out(setup: Setup) -> None:
    setup.connection.end(close_reasons.SERVER_STOPPING)
    setup.written()
    setup.connection.write(b"\x81\x01x")
    setup.connection.receive_frame("4late")
    setup.connection.drained()
    setup.connection.end(close_reasons.KICKED)
    assert setup.written() == []
    assert (setup.application.messages, setup.application.drains) == ([], 0)
    setup.assert_ended_once(close_reasons.SERVER_STOPPING)


def test_a_drained_carrier_is_told_to_the_application(setup: Setup) -> None:
    setup.connection.drained()
    assert setup.application.drains == 1
    setup.carrier.writable = False
    assert not setup.connection.writable


def test_an_application_that_ends_it_while_receiving_is_closed_once(setup: Setup) -> None:
    setup.application.on_message = lambda: setup.connection.end(close_reasons.KICKED)
    setup.connection.receive_frame("4x")
    setup.assert_ended_once(close_reasons.KICKED)


# --- another carrier takes over


class Refusable:
    """A `Prober` that notes whether it was refused."""

    def __init__(self) -> None:
        self.rejections = 0

    def reject(self) -> None:
        self.rejections += 1


class Upgrading:
    """A connection that polls, with a WebSocket on its way."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.deadlines = Deadlines(self.loop.as_loop)
        host = Host(self.loop.as_loop, self.deadlines, SessionSettings(), lambda _connection, _why: None)
        self.polling, self.websocket, self.prober = FakeCarrier(), FakeCarrier(), Refusable()
        self.application = Application()
        self.connection = EngineConnection(host, self.polling, "sid-1", Transport.POLLING)
        self.connection.open(self.application)
        self.polling.written.clear()
        self.connection.open_probe(self.prober)


def test_a_switch_sends_first_what_waited_and_then_goes_on_there() -> None:
    setup = Upgrading()
    setup.polling.waiting = b"waited"
    assert setup.connection.receive_probe(Upgrade()) == Upgraded()
    setup.connection.switch(setup.websocket)
    setup.connection.write(b"new")
    assert setup.websocket.written == [b"waited", b"new"]
    assert setup.polling.written == []
    assert setup.application.drains == 1
    assert setup.connection.carrier is setup.websocket
    assert setup.connection.transport is Transport.WEBSOCKET


def test_a_switch_with_nothing_waiting_writes_nothing() -> None:
    setup = Upgrading()
    setup.connection.receive_probe(Upgrade())
    setup.connection.switch(setup.websocket)
    assert setup.websocket.written == []
    setup.connection.end(close_reasons.KICKED)
    assert (setup.polling.closed, setup.websocket.closed) == ([], [close_reasons.KICKED])


def test_a_probe_ends_the_parked_poll_and_its_failure_lets_polling_go_on() -> None:
    setup = Upgrading()

    def state() -> tuple[bool, bool]:
        return setup.connection.ends_polls, setup.connection.can_probe

    assert state() == (False, False)
    assert setup.connection.receive_probe(Ping(probe=True)) == Send(Pong(probe=True))
    assert setup.polling.releases == 1
    assert state() == (True, False)
    setup.connection.fail_probe()
    setup.connection.fail_probe()
    assert setup.prober.rejections == 1
    assert state() == (False, True)


def test_an_upgrade_that_takes_too_long_is_refused_and_the_connection_lives() -> None:
    setup = Upgrading()
    setup.loop.advance(10.1)
    assert setup.prober.rejections == 1
    assert setup.application.closings == []


def test_the_end_refuses_the_upgrade() -> None:
    setup = Upgrading()
    setup.connection.end(close_reasons.KICKED)
    setup.connection.fail_probe()
    assert setup.prober.rejections == 1
    assert setup.application.closings == [close_reasons.KICKED]


def test_a_connection_that_is_old_ends_each_at_a_time_of_its_own() -> None:
    setup = Setup()
    host = Host(
        setup.loop.as_loop,
        setup.deadlines,
        SessionSettings(ping_interval=10**9, ping_timeout=10**9),
        lambda _connection, why: endings.append(why),
        max_age=1_000.0,
    )
    endings: list[CloseReason] = []
    began = setup.loop.now
    connections = [EngineConnection(host, FakeCarrier(), f"sid-{n}", Transport.WEBSOCKET) for n in range(50)]
    for connection in connections:
        connection.open(Application())
    due = [connection.next_deadline() - began for connection in connections]
    assert all(900.0 <= at <= 1_100.0 for at in due)
    assert len(set(due)) > 40
    setup.loop.advance(899.0)
    assert endings == []
    setup.loop.advance(202.0)
    assert endings == [close_reasons.TOO_OLD] * 50
    assert {connection.next_deadline() for connection in connections} == {inf}


class Answering:
    """A connection whose heartbeat is watched."""

    def __init__(self, transport: Transport = Transport.WEBSOCKET) -> None:
        self.loop = ManualLoop()
        self.seen: list[tuple[Transport, float]] = []
        host = Host(
            self.loop.as_loop,
            Deadlines(self.loop.as_loop),
            SessionSettings(),
            lambda _connection, _why: None,
            on_pong=lambda carried, seconds: self.seen.append((carried, seconds)),
        )
        self.connection = EngineConnection(host, FakeCarrier(), "sid-1", transport)
        self.connection.open(Application())


def test_the_way_of_a_ping_and_its_pong_is_told_once_for_each_ping() -> None:
    setup = Answering()
    setup.connection.receive_frame("3")  # nobody asked
    for wait in (0.25, 3.0):
        setup.loop.advance(25.0)
        setup.connection.receive_frame("4a message is no pong")
        setup.loop.advance(wait)
        setup.connection.receive_frame("3")
        setup.connection.receive_frame("3")
    assert [carried for carried, _ in setup.seen] == [Transport.WEBSOCKET] * 2
    assert [seconds for _, seconds in setup.seen] == pytest.approx([0.25, 3.0])


def test_a_pong_that_comes_by_another_transport_than_its_ping_tells_nothing() -> None:
    setup = Answering(Transport.POLLING)
    setup.loop.advance(25.0)
    setup.connection.open_probe(Refusable())
    setup.connection.receive_probe(Upgrade())
    setup.connection.switch(FakeCarrier())
    setup.connection.receive_frame("3")
    assert setup.seen == []
    setup.loop.advance(25.0)
    setup.connection.receive_frame("3")
    assert [carried for carried, _ in setup.seen] == [Transport.WEBSOCKET]
