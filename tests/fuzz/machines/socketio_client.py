"""One client's Socket.IO connection against a model of it, in either parser, with everything in any order.

The peer's packets go through the peer's own parser, so what is judged is the connection: who may say what when, which
answers are outstanding, and that nothing a client does makes it keep more than its bounds.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode
from protocol.socketio.connection import Connection, ConnectionSettings
from protocol.socketio.happenings import (
    AckReceived,
    AckTimedOut,
    AckUnknown,
    ConnectRequested,
    EventReceived,
    Happening,
    NamespaceLeft,
)
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.membership import State
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.packets import Ack, Connect, ConnectError, Disconnect, Event, Packet, Value
from protocol.socketio.parser import Limits, Parsers

PARSERS: Final = Parsers(JsonParser(Limits()), MsgpackParser(Limits()))
SETTINGS: Final = ConnectionSettings(
    parsers=PARSERS,
    max_namespaces=2,
    max_refusals=2,
    max_pending_acks=3,
    max_unanswered=3,
    connect_timeout=20.0,
    ack_timeout=6.0,
    attachment_timeout=3.0,
)
NAMESPACES: Final = st.sampled_from(["/", "/", "/", "/a", "/b"])
MOSTLY: Final = st.sampled_from([True, True, True, False])
ACK_IDS: Final = st.integers(0, 4)


@dataclass
class Joined:
    """A namespace of the model: `owed` are the ids that we have to answer, `asked` what the peer has to."""

    state: State
    owed: set[int] = field(default_factory=set)
    asked: dict[int, tuple[int, float]] = field(default_factory=dict)
    next_id: int = 0


class OneClient(RuleBasedStateMachine):
    """A connection and its model, over with the first violation; then another one."""

    @initialize(number=st.integers(0, 1), is_joined=MOSTLY)
    def first_client(self, number: int, *, is_joined: bool) -> None:
        self.begin(number, is_joined=is_joined)

    def begin(self, number: int, *, is_joined: bool) -> None:
        self.parser = PARSERS[number]
        self.now = 0.0
        self.connection = Connection(SETTINGS, self.now)
        self.joined: dict[str, Joined] = {}
        self.refusals = 0
        self.tokens = 0
        self.coming: deque[bytes] = deque()
        self.coming_to = ""
        self.timeout_at = SETTINGS.connect_timeout
        self.is_over = False
        self.has_spoken = False
        if is_joined:
            self.connect("/")
            self.accept("/", recovers=False)

    def is_on(self, namespace: str) -> bool:
        return namespace in self.joined and self.joined[namespace].state is State.CONNECTED

    def hear(self, packet: Packet, violation: ViolationCode | None) -> Happening | None:
        """What comes of a packet of the peer, whose messages but the last bring nothing."""
        messages = self.parser.encode(packet)
        if not self.has_spoken and not isinstance(packet, Connect):
            self.break_rule(lambda: self.connection.receive_message(messages[0], self.now), None)
            return None
        self.has_spoken = True
        if violation is not None:
            self.break_rule(lambda: [self.connection.receive_message(data, self.now) for data in messages], violation)
            return None
        for data in messages[:-1]:
            assert self.connection.receive_message(data, self.now) is None
        return self.connection.receive_message(messages[-1], self.now)

    def break_rule(self, step: Callable[[], object], code: ViolationCode | None) -> None:
        """The step must be a violation, and the connection is over with it."""
        with pytest.raises(PeerError) as caught:
            step()
        assert code is None or caught.value.code is code
        left = self.connection.close()
        assert [one.namespace for one in left] == [name for name in self.joined if self.is_on(name)]
        self.is_over = True
        self.joined.clear()
        self.coming.clear()
        self.timeout_at = inf

    def misuse(self, step: Callable[[], object], code: MisuseCode) -> None:
        """The step must be refused as ours, and change nothing (the invariants look)."""
        with pytest.raises(UsageError) as caught:
            step()
        assert caught.value.code is code

    # The peer

    @rule(namespace=NAMESPACES, is_welcome=st.sampled_from([True, True, None, False]))
    @precondition(lambda self: not self.is_over and not self.coming)
    def a_connect(self, namespace: str, *, is_welcome: bool | None) -> None:
        self.connect(namespace)
        if is_welcome is not None and namespace in self.joined:
            self.accept(namespace, recovers=False) if is_welcome else self.refuse(namespace)

    def connect(self, namespace: str) -> None:
        violation = None
        if namespace in self.joined:
            violation = ViolationCode.ALREADY_CONNECTED
        elif len(self.joined) >= SETTINGS.max_namespaces:
            violation = ViolationCode.TOO_MANY_NAMESPACES
        elif self.refusals >= SETTINGS.max_refusals:
            violation = ViolationCode.TOO_MANY_REFUSALS
        happened = self.hear(Connect(namespace, {"token": "t"}), violation)
        if violation is None:
            assert happened == ConnectRequested(namespace, {"token": "t"})
            self.joined[namespace] = Joined(State.CONNECTING)

    @rule(namespace=NAMESPACES, ack_ids=st.lists(st.none() | ACK_IDS, min_size=1, max_size=5), blobs=st.integers(0, 2))
    @precondition(lambda self: not self.is_over and not self.coming)
    def some_events(self, namespace: str, ack_ids: list[int | None], blobs: int) -> None:
        for ack_id in ack_ids:
            if not self.is_over:
                self.event(namespace, ack_id, blobs)

    def event(self, namespace: str, ack_id: int | None, blobs: int) -> None:
        violation = None
        if not self.is_on(namespace):
            violation = ViolationCode.NOT_CONNECTED
        elif ack_id in self.joined[namespace].owed:
            violation = ViolationCode.DUPLICATE_ACK_ID
        elif ack_id is not None and len(self.joined[namespace].owed) >= SETTINGS.max_unanswered:
            violation = ViolationCode.TOO_MANY_UNANSWERED
        args: tuple[Value, ...] = ("x", *[b"blob"] * blobs)
        happened = self.hear(Event("say", args, namespace, ack_id), violation)
        if happened is not None:
            assert happened == EventReceived(namespace, "say", args, ack_id)
            if ack_id is not None:
                self.joined[namespace].owed.add(ack_id)

    @rule(namespace=NAMESPACES, blobs=st.integers(1, 3))
    @precondition(lambda self: not self.is_over and not self.coming and self.has_spoken and self.parser.is_text)
    def event_without_its_attachments_yet(self, namespace: str, blobs: int) -> None:
        text, *rest = self.parser.encode(Event("say", tuple([b"blob"] * blobs), namespace))
        if not self.is_on(namespace):
            self.break_rule(lambda: self.connection.receive_message(text, self.now), ViolationCode.NOT_CONNECTED)
            return
        assert self.connection.receive_message(text, self.now) is None
        self.coming_to = namespace
        self.coming.extend(data for data in rest if isinstance(data, bytes))
        self.timeout_at = self.now + SETTINGS.attachment_timeout

    @rule()
    @precondition(lambda self: self.coming)
    def one_attachment(self) -> None:
        data = self.coming.popleft()
        if not self.coming and not self.is_on(self.coming_to):  # put out meanwhile
            self.break_rule(lambda: self.connection.receive_message(data, self.now), ViolationCode.NOT_CONNECTED)
            return
        happened = self.connection.receive_message(data, self.now)
        assert isinstance(happened, EventReceived) == (not self.coming)
        self.timeout_at = self.timeout_at if self.coming else inf

    @rule()
    @precondition(lambda self: self.coming)
    def text_between_attachments(self) -> None:
        self.break_rule(lambda: self.connection.receive_message('2["x"]', self.now), ViolationCode.ATTACHMENT_EXPECTED)

    @rule(namespace=NAMESPACES, ack_id=ACK_IDS)
    @precondition(lambda self: not self.is_over and not self.coming)
    def answer(self, namespace: str, ack_id: int) -> None:
        is_on = self.is_on(namespace)
        happened = self.hear(Ack(ack_id, ("y",), namespace), None if is_on else ViolationCode.NOT_CONNECTED)
        if happened is not None:
            asked = self.joined[namespace].asked.pop(ack_id, None)
            expected = AckUnknown(namespace, ack_id) if asked is None else AckReceived(namespace, asked[0], ("y",))
            assert happened == expected

    @rule(namespace=NAMESPACES)
    @precondition(lambda self: not self.is_over and not self.coming)
    def leave(self, namespace: str) -> None:
        is_on = self.is_on(namespace)
        happened = self.hear(Disconnect(namespace), None if is_on else ViolationCode.NOT_CONNECTED)
        if happened is not None:
            tokens = tuple(token for token, _ in self.joined.pop(namespace).asked.values())
            assert happened == NamespaceLeft(namespace, tokens)

    @rule(namespace=NAMESPACES)
    @precondition(lambda self: self.has_spoken and not self.is_over and not self.coming)
    def connect_error(self, namespace: str) -> None:
        self.hear(ConnectError({"message": "no"}, namespace), ViolationCode.CONNECT_ERROR_FROM_CLIENT)

    @rule(number=st.integers(0, 1), is_joined=MOSTLY)
    @precondition(lambda self: self.is_over)
    def another_client(self, number: int, *, is_joined: bool) -> None:
        self.begin(number, is_joined=is_joined)

    # We

    @rule(namespace=NAMESPACES, recovers=st.booleans())
    @precondition(lambda self: self.joined)
    def an_accept(self, namespace: str, *, recovers: bool) -> None:
        self.accept(namespace, recovers=recovers)

    @rule(namespace=NAMESPACES)
    @precondition(lambda self: self.joined)
    def a_refusal(self, namespace: str) -> None:
        self.refuse(namespace)

    def accept(self, namespace: str, *, recovers: bool) -> None:
        if namespace not in self.joined or self.joined[namespace].state is not State.CONNECTING:
            self.misuse(lambda: self.connection.accept(namespace, "sid"), MisuseCode.WRONG_STATE)
            return
        self.connection.accept(namespace, "sid", "pid" if recovers else None)
        self.joined[namespace].state = State.CONNECTED
        self.timeout_at = self.timeout_at if self.coming else inf

    def refuse(self, namespace: str) -> None:
        if namespace not in self.joined or self.joined[namespace].state is not State.CONNECTING:
            self.misuse(lambda: self.connection.refuse(namespace, "no"), MisuseCode.WRONG_STATE)
            return
        self.connection.refuse(namespace, "no")
        del self.joined[namespace]
        self.refusals += 1

    @rule(namespace=NAMESPACES, times=st.integers(1, 4))
    @precondition(lambda self: self.joined)
    def some_questions(self, namespace: str, times: int) -> None:
        for _ in range(times):
            self.ask(namespace)

    def ask(self, namespace: str) -> None:
        self.tokens += 1

        def step() -> object:
            return self.connection.ask(namespace, "question", token=self.tokens, now=self.now)

        if not self.is_on(namespace):
            self.misuse(step, MisuseCode.WRONG_STATE)
        elif len(self.joined[namespace].asked) >= SETTINGS.max_pending_acks:
            self.misuse(step, MisuseCode.TOO_MANY_PENDING_ACKS)
        else:
            step()
            here = self.joined[namespace]
            here.asked[here.next_id] = self.tokens, self.now + SETTINGS.ack_timeout
            here.next_id += 1

    @rule(namespace=NAMESPACES, ack_id=ACK_IDS)
    @precondition(lambda self: self.joined)
    def answer_the_peer(self, namespace: str, ack_id: int) -> None:
        def step() -> object:
            return self.connection.send_ack(namespace, ack_id, {"ok": True})

        if not self.is_on(namespace):
            self.misuse(step, MisuseCode.WRONG_STATE)
        elif ack_id not in self.joined[namespace].owed:
            self.misuse(step, MisuseCode.UNKNOWN_ACK_ID)
        else:
            step()
            self.joined[namespace].owed.discard(ack_id)

    @rule(namespace=NAMESPACES)
    @precondition(lambda self: self.joined)
    def put_out(self, namespace: str) -> None:
        if not self.is_on(namespace):
            self.misuse(lambda: self.connection.disconnect(namespace), MisuseCode.WRONG_STATE)
        else:
            self.connection.disconnect(namespace)
            del self.joined[namespace]

    # Time

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5, 6.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.timeout_at:
            code = ViolationCode.ATTACHMENT_TIMEOUT if self.coming else ViolationCode.CONNECT_TIMEOUT
            self.break_rule(lambda: self.connection.handle_deadline(self.now), code)
            return
        expected = []
        for name, here in self.joined.items():
            late = [ack_id for ack_id, (_, due) in here.asked.items() if self.now >= due]
            expected += [AckTimedOut(name, here.asked.pop(ack_id)[0]) for ack_id in late]
        assert list(self.connection.handle_deadline(self.now)) == expected

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        assert list(self.connection.namespaces) == [name for name in self.joined if self.is_on(name)]
        for name in ("/", "/a", "/b"):
            here = self.joined.get(name)
            assert self.connection.state(name) is (here.state if here else State.ABSENT)
            tokens = tuple(token for token, _ in here.asked.values()) if here else ()
            assert self.connection.pending_tokens(name) == tokens

    @invariant()
    def it_waits_for_what_is_due_next(self) -> None:
        dues = [due for here in self.joined.values() for _, due in here.asked.values()]
        assert self.connection.next_deadline() == min([self.timeout_at, *dues])
