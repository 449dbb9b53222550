"""One client's namespaces from its first message to its last."""

import sys
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode
from protocol.socketio.connection import (
    TRANSITIONS,
    AckReceived,
    AckTimedOut,
    AckUnknown,
    Connection,
    ConnectionSettings,
    ConnectRequested,
    EventReceived,
    NamespaceLeft,
    State,
)
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.membership import Step
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.packets import Ack, Connect, ConnectError, Disconnect, Event, Packet, Value
from protocol.socketio.parser import Limits, MessageData, Parser, Parsers
from tests.support.decoding import decode_all

PARSERS = Parsers(JsonParser(Limits()), MsgpackParser(Limits()))
SETTINGS = ConnectionSettings(parsers=PARSERS)
START = 1_000.0
PLACE = '{"_placeholder":true,"num":0}'

each_parser = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)


class Peer:
    """A client with a connection of its own: writes packets to it with a parser and reads what comes back."""

    def __init__(self, parser: Parser = PARSERS.json, shared: ConnectionSettings = SETTINGS) -> None:
        self.parser = parser
        self.connection = Connection(shared, START)

    def say(self, packet: Packet, now: float = START) -> object:
        happening: object = None
        for message in self.parser.encode(packet):
            assert happening is None
            happening = self.connection.receive_message(message, now)
        return happening

    def read(self, messages: tuple[MessageData, ...]) -> Packet:
        return decode_all(self.parser, messages)

    def join(self, namespace: str = "/", pid: str | None = None) -> "Peer":
        self.say(Connect(namespace))
        self.connection.accept(namespace, "s1", pid)
        return self

    def violate(self, packet: Packet) -> ViolationCode:
        with pytest.raises(PeerError) as caught:
            self.say(packet)
        return caught.value.code


def misuse(call: Callable[[], object]) -> MisuseCode:
    with pytest.raises(UsageError) as caught:
        call()
    return caught.value.code


# --- the table


def peer_in(state: State) -> Peer:
    peer = Peer().join("/other")
    if state is not State.ABSENT:
        peer.say(Connect("/"))
    if state is State.CONNECTED:
        peer.connection.accept("/", "s1")
        peer.say(Event("x", (), "/", 3))
    assert peer.connection.state("/") is state
    return peer


STEPS: dict[Step, Callable[[Peer], object]] = {
    Step.CONNECT: lambda peer: peer.say(Connect()),
    Step.EVENT: lambda peer: peer.say(Event("x")),
    Step.ACK: lambda peer: peer.say(Ack(0)),
    Step.LEAVE: lambda peer: peer.say(Disconnect()),
    Step.CONNECT_ERROR: lambda peer: peer.say(ConnectError("no")),
    Step.ACCEPT: lambda peer: peer.connection.accept("/", "s1"),
    Step.REFUSE: lambda peer: peer.connection.refuse("/", "no"),
    Step.SEND: lambda peer: peer.connection.send_event("/", "x"),
    Step.ANSWER: lambda peer: peer.connection.send_ack("/", 3),
    Step.KICK: lambda peer: peer.connection.disconnect("/"),
}
PEER_STEPS = {Step.CONNECT, Step.EVENT, Step.ACK, Step.LEAVE, Step.CONNECT_ERROR}


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("state", State)
def test_every_step_in_every_state_does_what_the_table_says(state: State, step: Step) -> None:
    peer = peer_in(state)
    target = TRANSITIONS[state].get(step)
    if target is not None:
        STEPS[step](peer)
        assert peer.connection.state("/") is target
    else:
        with pytest.raises(PeerError if step in PEER_STEPS else UsageError):
            STEPS[step](peer)
        assert peer.connection.state("/") is state
    assert peer.connection.state("/other") is State.CONNECTED


# --- joining


@each_parser
def test_a_client_asks_to_join_and_is_accepted(parser: Parser) -> None:
    peer = Peer(parser)
    assert peer.say(Connect("/", {"token": "t"})) == ConnectRequested("/", {"token": "t"})
    assert peer.connection.parser is parser
    assert peer.connection.state("/") is State.CONNECTING
    assert peer.read(peer.connection.accept("/", "s1")) == Connect("/", {"sid": "s1"})
    assert peer.connection.namespaces == ("/",)


def test_the_parser_is_unknown_until_the_client_speaks() -> None:
    assert Connection(SETTINGS, START).parser is None


@each_parser
def test_a_client_without_auth_gets_an_empty_object(parser: Parser) -> None:
    assert Peer(parser).say(Connect()) == ConnectRequested("/", {})


@each_parser
def test_a_refused_client_is_told_why_and_may_ask_again(parser: Parser) -> None:
    peer = Peer(parser)
    peer.say(Connect("/x"))
    reply = peer.connection.refuse("/x", "Invalid namespace")
    assert peer.read(reply) == ConnectError({"message": "Invalid namespace"}, "/x")
    peer.say(Connect("/x"))
    reply = peer.connection.refuse("/x", "Not authorized", {"code": "E_AUTH"})
    assert peer.read(reply) == ConnectError({"message": "Not authorized", "data": {"code": "E_AUTH"}}, "/x")
    assert peer.connection.state("/x") is State.ABSENT
    assert peer.say(Connect("/")) == ConnectRequested("/", {})


def test_a_refusal_that_cannot_be_written_leaves_the_client_waiting() -> None:
    peer = Peer()
    peer.say(Connect())
    assert misuse(lambda: peer.connection.refuse("/", "no", b"x")) is MisuseCode.BINARY_NOT_ALLOWED
    assert peer.connection.state("/") is State.CONNECTING


def test_namespaces_are_bounded_whether_joined_or_asked_for() -> None:
    peer = Peer().join("/")
    peer.say(Connect("/custom"))
    assert peer.violate(Connect("/third")) is ViolationCode.TOO_MANY_NAMESPACES
    peer.connection.refuse("/custom", "no")
    peer.say(Connect("/third"))
    assert peer.connection.state("/third") is State.CONNECTING


def test_a_client_that_keeps_being_refused_is_ended() -> None:
    peer = Peer()
    for n in range(3):
        peer.say(Connect(f"/{n}"))
        peer.connection.refuse(f"/{n}", "no")
    assert peer.violate(Connect("/")) is ViolationCode.TOO_MANY_REFUSALS


@pytest.mark.parametrize("first", ["", "1", '2["x"]', "{}", b"", b"\x90", b"\x93\x01\x02\x03"])
def test_a_first_message_of_neither_parser_is_refused(first: MessageData) -> None:
    with pytest.raises(PeerError) as caught:
        Connection(SETTINGS, START).receive_message(first, START)
    assert caught.value.code is ViolationCode.UNKNOWN_PARSER


def test_the_parser_of_the_first_message_stays() -> None:
    text = Peer(PARSERS.json).join()
    with pytest.raises(PeerError) as caught:
        text.connection.receive_message(PARSERS.msgpack.encode(Event("x"))[0], START)
    assert caught.value.code is ViolationCode.WRONG_FRAME_KIND
    binary = Peer(PARSERS.msgpack).join()
    with pytest.raises(PeerError) as caught:
        binary.connection.receive_message('2["x"]', START)
    assert caught.value.code is ViolationCode.WRONG_FRAME_KIND


# --- events and acks


@each_parser
def test_events_arrive_typed(parser: Parser) -> None:
    peer = Peer(parser).join("/custom")
    happening = peer.say(Event("x", (1, [b"b"]), "/custom", 7))
    assert happening == EventReceived("/custom", "x", (1, [b"b"]), 7)
    assert peer.say(Event("x", (), "/custom")) == EventReceived("/custom", "x", (), None)


@each_parser
def test_events_are_sent_to_the_namespace(parser: Parser) -> None:
    peer = Peer(parser).join("/custom")
    assert peer.read(peer.connection.send_event("/custom", "x", 1, b"b")) == Event("x", (1, b"b"), "/custom")


@each_parser
def test_an_event_with_an_id_is_answered_once(parser: Parser) -> None:
    peer = Peer(parser).join()
    peer.say(Event("x", (), "/", 0))
    assert misuse(lambda: peer.connection.send_ack("/", 1)) is MisuseCode.UNKNOWN_ACK_ID
    assert peer.read(peer.connection.send_ack("/", 0, {"ok": True})) == Ack(0, ({"ok": True},))
    assert misuse(lambda: peer.connection.send_ack("/", 0)) is MisuseCode.UNKNOWN_ACK_ID


@each_parser
def test_an_answer_of_fragments_is_one_answer(parser: Parser) -> None:
    peer = Peer(parser).join()
    peer.say(Event("x", (), "/", 0))
    fragment = parser.encode_value({"ok": True})
    assert misuse(lambda: peer.connection.send_spliced_ack("/", 1, fragment)) is MisuseCode.UNKNOWN_ACK_ID
    assert peer.read(peer.connection.send_spliced_ack("/", 0, fragment)) == Ack(0, ({"ok": True},))
    assert misuse(lambda: peer.connection.send_ack("/", 0)) is MisuseCode.UNKNOWN_ACK_ID


def test_an_answer_that_cannot_be_written_may_be_given_again() -> None:
    peer = Peer().join()
    peer.say(Event("x", (), "/", 0))
    assert misuse(lambda: peer.connection.send_ack("/", 0, float("nan"))) is MisuseCode.NUMBER_OUT_OF_RANGE
    peer.connection.send_ack("/", 0)


def test_an_id_that_is_not_answered_yet_cannot_be_used_again() -> None:
    peer = Peer().join()
    peer.say(Event("x", (), "/", 0))
    assert peer.violate(Event("x", (), "/", 0)) is ViolationCode.DUPLICATE_ACK_ID


def test_events_that_are_not_answered_yet_are_bounded() -> None:
    peer = Peer(shared=ConnectionSettings(parsers=PARSERS, max_unanswered=2)).join()
    peer.say(Event("x", (), "/", 0))
    peer.say(Event("x", (), "/", 1))
    assert peer.violate(Event("x", (), "/", 2)) is ViolationCode.TOO_MANY_UNANSWERED


@each_parser
def test_a_question_brings_its_token_back(parser: Parser) -> None:
    peer = Peer(parser).join()
    assert peer.read(peer.connection.ask("/", "q", 1, token="first", now=START)) == Event("q", (1,), "/", 0)
    assert peer.read(peer.connection.ask("/", "q", token=None, now=START)) == Event("q", (), "/", 1)
    assert peer.connection.pending_tokens("/") == ("first", None)
    assert peer.say(Ack(1, ("b",))) == AckReceived("/", None, ("b",))
    assert peer.say(Ack(0, (b"a",))) == AckReceived("/", "first", (b"a",))
    assert peer.connection.pending_tokens("/") == ()


@pytest.mark.parametrize("ack_id", [0, 5, 2**53 - 1])
def test_an_answer_to_nothing_is_reported_and_harmless(ack_id: int) -> None:
    peer = Peer().join()
    assert peer.say(Ack(ack_id)) == AckUnknown("/", ack_id)


def test_an_answer_counts_in_its_own_namespace_only() -> None:
    peer = Peer().join("/").join("/custom")
    peer.connection.ask("/", "q", token="t", now=START)
    assert peer.say(Ack(0, (), "/custom")) == AckUnknown("/custom", 0)
    assert peer.say(Ack(0)) == AckReceived("/", "t", ())


def test_questions_are_bounded_and_one_that_was_refused_leaves_nothing() -> None:
    peer = Peer(shared=ConnectionSettings(parsers=PARSERS, max_pending_acks=1)).join()
    assert misuse(lambda: peer.connection.ask("/", "connect", token="x", now=START)) is MisuseCode.RESERVED_EVENT
    peer.connection.ask("/", "q", token="t", now=START)
    code = misuse(lambda: peer.connection.ask("/", "q", token="u", now=START))
    assert code is MisuseCode.TOO_MANY_PENDING_ACKS
    assert peer.connection.pending_tokens("/") == ("t",)


def test_questions_time_out() -> None:
    peer = Peer().join("/").join("/custom")
    peer.connection.ask("/", "q", token="a", now=START)
    peer.connection.ask("/custom", "q", token="b", now=START + 1)
    assert peer.connection.next_deadline() == START + 10
    assert peer.connection.handle_deadline(START + 9.9) == ()
    assert peer.connection.handle_deadline(START + 10) == (AckTimedOut("/", "a"),)
    assert peer.connection.next_deadline() == START + 11
    assert peer.connection.handle_deadline(START + 11) == (AckTimedOut("/custom", "b"),)
    assert peer.connection.next_deadline() == inf
    assert peer.say(Ack(0)) == AckUnknown("/", 0)


# --- recovery


def test_with_a_pid_the_offset_is_the_last_argument() -> None:
    peer = Peer()
    peer.say(Connect())
    assert peer.read(peer.connection.accept("/", "s1", "p1")) == Connect("/", {"sid": "s1", "pid": "p1"})
    assert peer.read(peer.connection.send_event("/", "x", 1, offset="1-0")) == Event("x", (1, "1-0"))


def test_without_a_pid_no_offset_is_sent() -> None:
    peer = Peer().join()
    assert peer.read(peer.connection.send_event("/", "x", "s", offset="1-0")) == Event("x", ("s",))


@pytest.mark.parametrize("args", [("text",), (1, "text"), ()])
def test_with_a_pid_an_event_must_not_end_in_a_string(args: tuple[Value, ...]) -> None:
    peer = Peer().join("/", pid="p1")
    code = misuse(lambda: peer.connection.send_event("/", "x", *args))
    assert code is MisuseCode.STRING_LAST_WITHOUT_OFFSET


def test_with_a_pid_what_cannot_be_taken_for_an_offset_is_sent() -> None:
    peer = Peer().join("/", pid="p1")
    peer.say(Event("x", (), "/", 0))
    assert peer.read(peer.connection.send_event("/", "x", "s", None)) == Event("x", ("s", None))
    assert peer.read(peer.connection.send_event("/", "x", b"s")) == Event("x", (b"s",))
    assert peer.read(peer.connection.ask("/", "x", "s", token=0, now=START)) == Event("x", ("s",), "/", 0)
    assert peer.read(peer.connection.send_ack("/", 0, "s")) == Ack(0, ("s",))


# --- attachments


def test_a_packet_with_attachments_happens_when_the_last_has_come() -> None:
    peer = Peer().join()
    assert peer.connection.receive_message(f'51-3["x",{PLACE}]', START) is None
    assert peer.connection.receive_message(b"b", START + 1) == EventReceived("/", "x", (b"b",), 3)
    assert peer.connection.next_deadline() == inf


def test_text_while_attachments_are_awaited_is_refused() -> None:
    peer = Peer().join()
    peer.connection.receive_message(f'51-["x",{PLACE}]', START)
    assert peer.violate(Event("y")) is ViolationCode.ATTACHMENT_EXPECTED


@pytest.mark.parametrize("text", [f'51-["x",{PLACE}]', f"61-0[{PLACE}]", f'51-/other,["x",{PLACE}]'])
def test_attachments_are_kept_only_for_who_has_joined(text: str) -> None:
    peer = Peer()
    peer.say(Connect())
    with pytest.raises(PeerError) as caught:
        peer.connection.receive_message(text, START)
    assert caught.value.code is ViolationCode.NOT_CONNECTED
    with pytest.raises(PeerError) as caught:
        peer.connection.receive_message(b"b", START)
    assert caught.value.code is ViolationCode.WRONG_FRAME_KIND


def test_attachments_that_do_not_come_end_the_connection() -> None:
    peer = Peer().join()
    peer.connection.receive_message(f'52-["x",{PLACE},{PLACE.replace("0", "1")}]', START)
    assert peer.connection.next_deadline() == START + 5
    peer.connection.receive_message(b"one", START + 4)
    assert peer.connection.handle_deadline(START + 4.9) == ()
    with pytest.raises(PeerError) as caught:
        peer.connection.handle_deadline(START + 5)
    assert caught.value.code is ViolationCode.ATTACHMENT_TIMEOUT


def test_accepting_another_namespace_does_not_stop_the_clock_of_attachments() -> None:
    peer = Peer().join("/")
    peer.say(Connect("/custom"))
    peer.connection.receive_message(f'51-["x",{PLACE}]', START)
    peer.connection.accept("/custom", "s2")
    assert peer.connection.next_deadline() == START + 5


# --- the connect timeout


def test_a_client_that_joins_nothing_is_ended() -> None:
    peer = Peer()
    assert peer.connection.next_deadline() == START + 45
    peer.say(Connect("/x"))
    peer.connection.refuse("/x", "no")
    assert peer.connection.next_deadline() == START + 45
    with pytest.raises(PeerError) as caught:
        peer.connection.handle_deadline(START + 45)
    assert caught.value.code is ViolationCode.CONNECT_TIMEOUT


def test_the_connect_timeout_does_not_come_back_when_the_last_namespace_is_left() -> None:
    peer = Peer().join()
    peer.say(Disconnect())
    assert peer.connection.next_deadline() == inf
    assert peer.connection.handle_deadline(START + 1_000) == ()


# --- leaving


@each_parser
def test_a_client_leaves_cleanly_and_may_come_back(parser: Parser) -> None:
    peer = Peer(parser).join()
    peer.connection.ask("/", "q", token="t", now=START)
    peer.say(Event("x", (), "/", 0))
    assert peer.say(Disconnect()) == NamespaceLeft("/", ("t",))
    assert peer.connection.namespaces == ()
    assert peer.connection.next_deadline() == inf
    assert peer.violate(Event("x")) is ViolationCode.NOT_CONNECTED
    peer.join()
    assert peer.say(Ack(0)) == AckUnknown("/", 0)
    assert misuse(lambda: peer.connection.send_ack("/", 0)) is MisuseCode.UNKNOWN_ACK_ID


@each_parser
def test_a_client_put_out_is_told_and_its_acks_are_dropped(parser: Parser) -> None:
    peer = Peer(parser).join("/").join("/custom")
    peer.connection.ask("/", "q", token="t", now=START)
    assert peer.read(peer.connection.disconnect("/")) == Disconnect("/")
    assert peer.connection.namespaces == ("/custom",)
    assert peer.connection.pending_tokens("/") == ()
    assert peer.connection.next_deadline() == inf
    assert peer.violate(Event("x")) is ViolationCode.NOT_CONNECTED


def test_closing_tells_what_was_joined_and_frees_everything() -> None:
    peer = Peer().join("/")
    peer.connection.ask("/", "q", token="t", now=START)
    peer.connection.receive_message(f'51-["x",{PLACE}]', START)
    assert peer.connection.close() == (NamespaceLeft("/", ("t",)),)
    assert peer.connection.close() == ()
    assert peer.connection.next_deadline() == inf
    assert peer.connection.namespaces == ()
    assert peer.connection._pending is None
    assert misuse(lambda: peer.connection.send_event("/", "x")) is MisuseCode.WRONG_STATE


def test_a_namespace_that_was_only_asked_for_is_not_told_of_at_the_end() -> None:
    peer = Peer()
    peer.say(Connect())
    assert peer.connection.close() == ()


# --- size and chance


def size_of(*objects: object) -> int:
    return sum(map(sys.getsizeof, objects))


def test_an_idle_client_costs_a_few_hundred_bytes() -> None:
    peer = Peer().join()
    peer.say(Event("x", (), "/", 0))
    peer.connection.send_ack("/", 0)
    peer.connection.ask("/", "q", token="t", now=START)
    peer.say(Ack(0))
    (member,) = peer.connection._memberships
    assert not hasattr(peer.connection, "__dict__")
    assert (member.pending_acks, member.unanswered, peer.connection._pending) == (None, None, None)
    assert size_of(peer.connection, member, peer.connection._memberships) < 320


SMALL = ConnectionSettings(parsers=PARSERS, max_pending_acks=3, max_unanswered=3)
NAMESPACES = st.sampled_from(["/", "/a", "/b"])
IDS = st.integers(0, 5)
PEER_PACKETS: st.SearchStrategy[Packet] = st.one_of(
    st.builds(Connect, NAMESPACES),
    st.builds(Disconnect, NAMESPACES),
    st.builds(Event, st.just("x"), st.just((1, b"b")) | st.just(()), NAMESPACES, st.none() | IDS),
    st.builds(Ack, IDS, st.just((b"b",)) | st.just(()), NAMESPACES),
    st.just(ConnectError("no")),
)
OURS = st.sampled_from(["accept", "accept pid", "refuse", "send", "ask", "answer", "kick", "wait"])
ACTIONS = st.lists(st.tuples(st.none() | OURS, PEER_PACKETS, NAMESPACES, IDS, st.booleans()), max_size=40)


def act(connection: Connection, action: str, namespace: str, number: int, now: float) -> None:
    match action:
        case "accept":
            connection.accept(namespace, "s1")
        case "accept pid":
            connection.accept(namespace, "s1", "p1")
        case "refuse":
            connection.refuse(namespace, "no")
        case "send":
            connection.send_event(namespace, "x", number, offset=None if number % 2 else "1-0")
        case "ask":
            connection.ask(namespace, "q", token=number, now=now)
        case "answer":
            connection.send_ack(namespace, number, b"b")
        case "kick":
            connection.disconnect(namespace)
        case _:
            connection.handle_deadline(now)


@each_parser
@settings(deadline=None, max_examples=200, derandomize=True)
@given(actions=ACTIONS)
def test_whatever_happens_everything_stays_bounded_and_is_freed(
    parser: Parser,
    actions: list[tuple[str | None, Packet, str, int, bool]],
) -> None:
    connection = Connection(SMALL, START)
    now = START
    for action, packet, namespace, number, cut in actions:
        now += number / 4
        before = [(member.namespace, member.state) for member in connection._memberships]
        try:
            if action is None:
                messages = parser.encode(packet)
                for message in messages[:-1] if cut and len(messages) > 1 else messages:
                    connection.receive_message(message, now)
            else:
                act(connection, action, namespace, number, now)
        except PeerError:
            assert action in (None, "wait")
            assert [(member.namespace, member.state) for member in connection._memberships] == before
        except UsageError:
            assert action not in (None, "wait")
            assert [(member.namespace, member.state) for member in connection._memberships] == before
        members = connection._memberships
        assert len({member.namespace for member in members}) == len(members) <= 2
        assert all(member.state is not State.ABSENT for member in members)
        assert all(len(member.pending_acks or ()) <= 3 and len(member.unanswered or ()) <= 3 for member in members)
        assert all(member.pending_acks is None or member.pending_acks for member in members)
        assert all(member.unanswered is None or member.unanswered for member in members)
    connection.close()
    assert (connection._memberships, connection._pending, connection.next_deadline()) == ((), None, inf)


# --- before a namespace is joined


@each_parser
def test_before_a_namespace_is_joined_only_so_much_may_be_said(parser: Parser) -> None:
    shared = ConnectionSettings(parsers=PARSERS, max_before_join=400)
    peer = Peer(parser, shared)
    peer.say(Connect("/a", {"token": "x" * 200}))
    peer.connection.refuse("/a", "no")
    with pytest.raises(PeerError) as caught:
        peer.say(Connect("/", {"token": "x" * 200}))
    assert (caught.value.code, caught.value.limit) == (ViolationCode.TOO_MUCH_BEFORE_JOIN, 400)
    assert caught.value.actual is not None
    assert 400 < caught.value.actual < 500


@each_parser
def test_after_that_the_size_of_a_message_is_all_that_counts(parser: Parser) -> None:
    peer = Peer(parser, ConnectionSettings(parsers=PARSERS, max_before_join=100)).join()
    for _ in range(10):
        assert isinstance(peer.say(Event("x", ("y" * 1000,))), EventReceived)
