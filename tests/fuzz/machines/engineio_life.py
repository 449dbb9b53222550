"""One Engine.IO life against a model of it: any packets, probes, endings and times, in any order.

The model knows nothing of the table: it says what a client was promised. Timers fire late by up to a quarter of the
ping timeout, as they do on a loaded machine.
"""

from math import inf
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.engineio.packets import Close, Message, Noop, Open, Packet, Ping, Pong, Upgrade
from protocol.engineio.session import (
    Action,
    CloseCause,
    Closed,
    ProbeRejected,
    Send,
    Session,
    SessionSettings,
    State,
    Transport,
    Upgraded,
)
from protocol.errors import PeerError, UsageError, ViolationCode

SETTINGS: Final = SessionSettings(ping_interval=4_000, ping_timeout=2_000, upgrade_timeout=3_000, close_timeout=5_000)
INTERVAL_S, TIMEOUT_S, UPGRADE_S, CLOSE_S = 4.0, 2.0, 3.0, 5.0
LATEST_S: Final = TIMEOUT_S / 4
NOTHING: Final[tuple[Packet, ...]] = (Open("s", (), 1, 1, 1), Upgrade(), Noop())
TRANSPORTS: Final = st.sampled_from([Transport.POLLING, Transport.POLLING, Transport.WEBSOCKET])
CAUSES: Final = st.sampled_from([CloseCause.FORCED_BY_SERVER, CloseCause.SHUTDOWN, CloseCause.PARSE_ERROR])
LATENESS: Final = st.sampled_from([0.0, 0.0, 0.01, LATEST_S])


class OneLife(RuleBasedStateMachine):
    """A session and its model.

    Attributes:
        heard: when the peer last said what puts a ping timeout off: a pong, or one message for each ping.
        asked: when the ping was sent that is not answered yet; None: there is none.
    """

    @initialize(transport=TRANSPORTS)
    def first_life(self, transport: Transport) -> None:
        self.begin(transport)

    def begin(self, transport: Transport) -> None:
        self.now = 1_000.0
        self.session = Session(SETTINGS, "sid", transport, self.now)
        self.state = State.WEBSOCKET if transport is Transport.WEBSOCKET else State.POLLING
        self.cause: CloseCause | None = None
        self.probe_until = self.close_until = inf
        self.asked: float | None = None
        self.spoke = False
        self.heard = self.now

    @property
    def is_open(self) -> bool:
        return self.state not in (State.CLOSING, State.CLOSED)

    @property
    def is_probing(self) -> bool:
        return self.state in (State.PROBE_OPEN, State.PROBED)

    def end(self, cause: CloseCause, state: State = State.CLOSED) -> None:
        self.state = state
        self.cause = self.cause or cause
        self.asked = None
        self.probe_until = inf
        self.close_until = self.now + CLOSE_S if state is State.CLOSING else inf

    @rule(data=st.sampled_from(["", "hello", b"", b"\x00"]))
    def message(self, data: str | bytes) -> None:
        if not self.is_open:
            self.refused(Message(data))
            return
        assert self.session.receive_packet(Message(data), self.now) == Message(data)
        if self.asked is not None:
            self.spoke = True

    @rule()
    def a_pong(self) -> None:
        self.pong()

    def pong(self) -> None:
        if not self.is_open:
            self.refused(Pong())
            return
        assert self.session.receive_packet(Pong(), self.now) is None
        if self.asked is not None:
            self.asked, self.spoke, self.heard = None, False, self.now

    @rule(packet=st.sampled_from(NOTHING))
    def packet_without_meaning(self, packet: Packet) -> None:
        if not self.is_open:
            self.refused(packet)
        else:
            assert self.session.receive_packet(packet, self.now) is None

    @rule()
    def another_socket_comes(self) -> None:
        assert self.session.can_probe == (self.state is State.POLLING)
        if self.session.can_probe:
            self.open_probe()
        else:
            with pytest.raises(UsageError):
                self.session.open_probe(self.now)

    def open_probe(self) -> None:
        self.session.open_probe(self.now)
        self.state, self.probe_until = State.PROBE_OPEN, self.now + UPGRADE_S

    @rule(until_ping=st.booleans())
    @precondition(lambda self: self.state is State.POLLING)
    def an_upgrade(self, *, until_ping: bool) -> None:
        """A whole one, perhaps while a ping is not answered yet."""
        if until_ping:
            self.time_passes(max(0.0, self.session.next_deadline() - self.now), 0.0)
        if self.session.can_probe:
            self.open_probe()
            self.on_the_probe(Ping(probe=True))
            self.on_the_probe(Upgrade())
            self.time_passes(INTERVAL_S, 0.0)

    @rule(packet=st.sampled_from([Ping(probe=True), Upgrade(), Message("x"), Ping(), Close()]))
    @precondition(lambda self: self.is_probing)
    def something_on_the_probe(self, packet: Packet) -> None:
        self.on_the_probe(packet)

    def on_the_probe(self, packet: Packet) -> None:
        answer = self.session.receive_probe(packet)
        if packet == Ping(probe=True):
            assert answer == Send(Pong(probe=True))
            self.state = State.PROBED
        elif packet == Upgrade():
            assert isinstance(answer, Upgraded)
            self.state, self.probe_until = State.WEBSOCKET, inf
            if self.asked is not None:  # the ping may be lost with the transport: the next one comes as planned
                self.heard, self.asked, self.spoke = self.asked, None, False
        else:
            self.probe_failed(answer)

    @rule()
    @precondition(lambda self: self.is_probing)
    def the_probe_drops(self) -> None:
        self.probe_failed(self.session.fail_probe())

    @rule(how=st.sampled_from(["close", "finish", "close packet", "ping"]), cause=CAUSES, dice=st.integers(1, 3))
    def it_ends(self, how: str, cause: CloseCause, dice: int) -> None:
        if dice > 1:  # seldom: what is long is worth more
            return
        match how:
            case "close":
                self.close(cause)
            case "finish":
                ended = self.session.finish(cause)
                self.end(cause)
                assert ended == Closed(self.cause or cause)
            case _ if not self.is_open:
                self.refused(Close())
            case "close packet":
                assert self.session.receive_packet(Close(), self.now) == Closed(CloseCause.PEER_CLOSED)
                self.end(CloseCause.PEER_CLOSED)
            case _:
                with pytest.raises(PeerError) as caught:
                    self.session.receive_packet(Ping(probe=cause is CloseCause.SHUTDOWN), self.now)
                assert caught.value.code is ViolationCode.PING_FROM_CLIENT
                self.close(CloseCause.PARSE_ERROR)

    def close(self, cause: CloseCause) -> None:
        before = self.state
        self.session.close(cause, self.now)
        if before is State.WEBSOCKET:
            self.end(cause)
        elif self.is_open:
            self.end(cause, State.CLOSING)

    @rule(transport=TRANSPORTS)
    @precondition(lambda self: not self.is_open)
    def another_life(self, transport: Transport) -> None:
        self.begin(transport)

    @rule(pongs=st.lists(st.booleans(), min_size=1, max_size=4), late=LATENESS)
    @precondition(lambda self: self.is_open)
    def intervals_pass(self, pongs: list[bool], late: float) -> None:
        """Whole intervals, at whose ends the peer answers its ping, or does not."""
        for answers in pongs:
            self.time_passes(INTERVAL_S, late)
            if answers and self.is_open:
                self.pong()

    @rule(seconds=st.sampled_from([0.001, 0.5, 1.0, 2.0, 2.1, 4.0, 7.0]), late=LATENESS)
    def some_time_passes(self, seconds: float, late: float) -> None:
        self.time_passes(seconds, late)

    def time_passes(self, seconds: float, late: float) -> None:
        until = self.now + seconds
        while (due := self.session.next_deadline()) <= until:
            self.now = max(self.now, due + late)
            for action in self.session.handle_deadline(self.now):
                self.told(action, late)
        self.now = max(self.now, until)

    def told(self, action: Action, late: float) -> None:
        match action:
            case Send(packet):
                assert packet == Ping()
                assert self.is_open
                assert self.asked is None, "a second ping before the first is answered"
                assert self.now >= self.heard + INTERVAL_S - 1e-6
                self.asked, self.spoke = self.now - late, False
            case Closed(CloseCause.PING_TIMEOUT):
                assert self.asked is not None
                assert self.now - self.asked >= TIMEOUT_S * (2 if self.spoke else 1) - 1e-6
                self.end(CloseCause.PING_TIMEOUT)
            case Closed(cause):
                assert self.state is State.CLOSING
                assert self.now >= self.close_until - 1e-6
                self.end(CloseCause.FORCED)
                assert cause is self.cause
            case ProbeRejected():
                assert self.now >= self.probe_until - 1e-6
                self.probe_failed(action)
            case Upgraded():
                raise AssertionError("upgraded by the passing of time")

    def probe_failed(self, answer: object) -> None:
        assert isinstance(answer, ProbeRejected)
        assert self.is_probing
        self.state, self.probe_until = State.POLLING, inf

    def refused(self, packet: Packet) -> None:
        with pytest.raises(UsageError):
            self.session.receive_packet(packet, self.now)

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        assert self.session.state is self.state
        assert self.session.is_open == self.is_open
        assert self.session.cause == self.cause
        assert self.session.ends_polls == (self.state is State.PROBED)

    @invariant()
    def it_waits_for_what_comes_next_and_for_nothing_after_the_end(self) -> None:
        due = self.session.next_deadline()
        if self.state is State.CLOSED:
            assert due == inf
        elif self.state is State.CLOSING:
            assert due == self.close_until
        else:
            longest = INTERVAL_S + TIMEOUT_S if self.asked is None else 2 * TIMEOUT_S
            assert due <= min(self.probe_until, self.now + longest + LATEST_S)
