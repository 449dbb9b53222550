"""A client between its protocol machine and an application that knows nothing of markets."""

from collections.abc import Mapping

import pytest

from protocol.errors import UsageError
from protocol.socketio.connection import ConnectionSettings
from protocol.socketio.happenings import AckReceived, EventReceived
from protocol.socketio.packets import Ack, Connect, ConnectError, Disconnect, Event, Packet, Value
from services.gateway.client import Client, Intake
from services.gateway.limits import MessageLimits
from services.gateway.outbox import Outbox
from shared.names.close_reasons import (
    CONNECT_TIMEOUT,
    KICKED,
    MESSAGE_FLOOD,
    PEER_GONE,
    PROTOCOL_ERROR,
    CloseReason,
)
from tests.support.fakes_gateway import PARSERS, GatewayParts, Peer


class Echo:
    """An application that answers every event with its arguments, and notes what happened."""

    def __init__(self) -> None:
        self.noted: list[tuple[object, ...]] = []
        self.auth: Mapping[str, Value] = {}

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Value]) -> None:
        self.auth = auth
        if namespace == "/closed":
            client.refuse(namespace, "no", {"why": 1})
        else:
            client.accept(namespace, "sid-1")

    def event(self, client: Client, received: EventReceived) -> None:
        client.acknowledge(received, *received.args)
        client.emit(received.namespace, "echo", *received.args)

    def woken(self, _client: Client) -> None:
        """Nobody asks to be woken."""

    def answered(self, _client: Client, received: AckReceived) -> None:
        self.noted.append(("answered", received.token, *received.args))

    def left(self, _client: Client, namespace: str, ended: CloseReason | None) -> None:
        self.noted.append(("left for good" if ended is None else "left", namespace))

    def drained(self, _outbox: Outbox) -> None:
        self.noted.append(("drained",))


class Setup(Peer):
    def __init__(self, limits: MessageLimits | None = None) -> None:
        self.parts = GatewayParts()
        super().__init__(self.parts)
        self.application = Echo()
        self.intake = Intake(limits)
        self.client = Client(
            self.connection,
            ConnectionSettings(parsers=PARSERS),
            self.parts.encoder,
            self.parts.flusher,
            self.application,
            self.intake,
        )
        self.connection.open(self.client)
        self.carrier.written.clear()


@pytest.fixture(name="setup")
def one_client() -> Setup:
    return Setup()


def test_the_application_decides_who_comes_in(setup: Setup) -> None:
    setup.say(Connect(data={"token": "x"}))
    setup.say(Connect("/closed"))
    assert setup.packets() == [
        Connect(data={"sid": "sid-1"}),
        ConnectError({"message": "no", "data": {"why": 1}}, "/closed"),
    ]


@pytest.mark.parametrize(
    ("event", "answers"),
    [
        (Event("x", (1, b"\x02")), [Event("echo", (1, b"\x02"))]),
        (Event("x", (1,), ack_id=7), [Ack(7, (1,)), Event("echo", (1,))]),
    ],
)
def test_an_ack_is_sent_to_who_asked_for_one(setup: Setup, event: Packet, answers: list[Packet]) -> None:
    setup.join()
    setup.say(event)
    assert setup.packets() == answers


def test_an_answer_brings_back_the_token_once(setup: Setup) -> None:
    setup.join()
    setup.client.ask("/", "how", 1, token="t")
    setup.parts.loop.turn()
    (asked,) = setup.packets()
    assert asked == Event("how", (1,), ack_id=0)
    for _ in range(2):
        setup.say(Ack(0, ("well",)))
    assert setup.application.noted == [("answered", "t", "well")]


def test_leaving_and_being_put_out_are_told(setup: Setup) -> None:
    setup.join()
    setup.say(Disconnect())
    setup.join()
    setup.client.disconnect("/")
    setup.parts.loop.turn()
    assert setup.packets() == [Disconnect()]
    assert setup.application.noted == [("left for good", "/")] * 2
    with pytest.raises(UsageError):
        setup.client.emit("/", "echo")


def test_the_end_of_the_connection_leaves_every_namespace_and_the_outbox(setup: Setup) -> None:
    setup.join()
    setup.say(Connect("/chat"))
    setup.stall()
    setup.say(Event("x"))
    outbox = setup.outbox
    assert [outbox.behind] == [True]
    setup.connection.carrier_lost(PEER_GONE)
    assert setup.application.noted == [("left", "/"), ("left", "/chat")]
    assert [outbox.behind] == [False]
    setup.connection.drained()
    assert ("drained",) not in setup.application.noted


def test_who_never_said_anything_has_nothing_to_leave_or_drain(setup: Setup) -> None:
    setup.connection.drained()
    setup.connection.carrier_lost(PEER_GONE)
    assert setup.application.noted == []


def test_a_drained_socket_is_told(setup: Setup) -> None:
    setup.join()
    setup.drain()
    assert setup.application.noted == [("drained",)]


def test_a_kicked_client_is_told_to_stay_away(setup: Setup) -> None:
    setup.join()
    setup.client.kick()
    assert setup.packets() == [Disconnect()]
    assert setup.parts.endings == [KICKED]


def test_who_joins_no_namespace_in_time_is_ended(setup: Setup) -> None:
    setup.parts.loop.advance(44)
    setup.connection.receive_frame("3")
    assert setup.parts.endings == []
    setup.parts.loop.advance(1.1)
    assert setup.parts.endings == [CONNECT_TIMEOUT]


def test_an_event_before_joining_ends_the_connection(setup: Setup) -> None:
    setup.say(Event("x"))
    assert setup.parts.endings == [PROTOCOL_ERROR]


WARNING = Event("error", ({"code": 101, "message": "Rate limit exceeded"},))


def test_too_many_messages_are_warned_of_once_and_served_and_then_end_the_connection() -> None:
    setup = Setup(MessageLimits(rate=1, burst=3))
    setup.say(Connect())
    for _ in range(5):
        setup.say(Event("x"))
    heard = setup.packets()
    assert heard.count(WARNING) == 1
    assert heard.count(Event("echo")) == 5
    assert setup.carrier.closed == []
    setup.say(Event("x"))
    assert setup.carrier.closed == [MESSAGE_FLOOD]
    assert setup.packets() == []
    assert setup.intake.warnings == 1


def test_a_client_that_calmed_down_is_warned_again() -> None:
    setup = Setup(MessageLimits(rate=1, burst=3))
    setup.say(Connect())
    for _ in range(4):
        setup.say(Event("x"))
    setup.gateway.loop.now += 100
    for _ in range(4):
        setup.say(Event("x"))
    assert setup.packets().count(WARNING) == 2
    assert setup.carrier.closed == []


def test_whatever_a_message_is_it_counts() -> None:
    setup = Setup(MessageLimits(rate=1, burst=3))
    setup.say(Connect())
    for number in range(6):
        setup.say(Ack(number, ()))
    assert setup.carrier.closed == [MESSAGE_FLOOD]
    assert setup.intake.unknown_acks == 5


def test_a_flood_that_comes_in_one_turn_is_told_why_it_ends() -> None:
    setup = Setup(MessageLimits(rate=1, burst=3))
    setup.say(Connect())
    for _ in range(6):
        setup.connection.receive_frame('42["x"]')
    assert setup.packets().count(WARNING) == 1
    assert setup.carrier.closed == [MESSAGE_FLOOD]
