"""The checks on everything that a peer sends, shared by the two parsers, between decoding and the typed packet.

A parser decodes bytes into plain objects; an `Inspection` walks them once, in place, against the `Limits`;
`build_packet` types them. Whatever comes out can be written again by both parsers. Only `PeerError` is raised.
"""

from math import isfinite
from typing import Final, assert_never, cast

from protocol.errors import PeerError, ViolationCode
from protocol.socketio.packets import (
    RESERVED_EVENTS,
    Ack,
    Connect,
    ConnectError,
    Disconnect,
    Event,
    EventName,
    Packet,
    Value,
)
from protocol.socketio.parser import Limits, PacketType, Slot

MAX_ACK_ID: Final = 2**53 - 1
"""Beyond it JavaScript cannot count."""

MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**64 - 1
"""What msgpack can carry as an integer."""

PLACEHOLDER: Final = "_placeholder"
"""An object with this key set to true stands for a binary attachment in JSON (3.1), and so is never data."""

_PLACEHOLDER_KEYS: Final = frozenset({PLACEHOLDER, "num"})


class Absent:
    """What msgpack clients send for JavaScript's `undefined`, and what is missing: a key without value (4)."""

    __slots__ = ()


ABSENT: Final = Absent()


class Inspection:
    """One walk over the values of one packet.

    It counts elements over the whole packet, turns a nested `ABSENT` into what JSON makes of `undefined` (null in an
    array, no key in an object) and collects where attachments belong.

    Args:
        limits: of the parser.
        attachments: how many attachments the packet announced; each must have exactly one placeholder.
        allow_binary: whether bytes may occur among the values.
    """

    __slots__ = ("_allow_binary", "_binaries", "_elements", "_limits", "_slots")

    def __init__(self, limits: Limits, *, attachments: int = 0, allow_binary: bool = True) -> None:
        self._limits = limits
        self._allow_binary = allow_binary
        self._binaries = 0
        self._elements = 0
        self._slots: list[Slot | None] = [None] * attachments

    def check_array(self, value: object) -> list[Value]:
        """Check the arguments of an event or ack.

        Raises:
            PeerError: it is no array, or something in it breaks a limit.
        """
        if not isinstance(value, list):
            raise PeerError(ViolationCode.BAD_DATA)
        self._visit_array(value, 0)
        return cast("list[Value]", value)

    def check_object(self, value: object) -> dict[str, Value]:
        """Check an auth or error object.

        Raises:
            PeerError: it is no object, or something in it breaks a limit.
        """
        if not isinstance(value, dict):
            raise PeerError(ViolationCode.BAD_DATA)
        self._visit_value(value, 1)
        return cast("dict[str, Value]", value)

    def check_text(self, value: str) -> str:
        """Check a string that stands alone.

        Raises:
            PeerError: it is too long.
        """
        self._visit_value(value, 0)
        return value

    def slots(self) -> tuple[Slot, ...]:
        """Return where each attachment belongs, by number, after the walk.

        Raises:
            PeerError: there is an attachment that no placeholder stands for.
        """
        slots = tuple(slot for slot in self._slots if slot is not None)
        if len(slots) != len(self._slots):
            raise PeerError(ViolationCode.BAD_PLACEHOLDER)
        return slots

    def _visit_value(self, value: object, depth: int) -> None:
        """Check a value; `depth` is its own if it is a container."""
        match value:
            case str():
                self._check_length(len(value))
            case bool() | None:
                pass
            case int():
                if not MIN_INT <= value <= MAX_INT:
                    raise PeerError(ViolationCode.NUMBER_OUT_OF_RANGE)
            case float():
                if not isfinite(value):
                    raise PeerError(ViolationCode.NUMBER_OUT_OF_RANGE)
            case dict():
                self._enter(len(value), self._limits.max_map, depth)
                self._visit_object(value, depth)
            case list():
                self._visit_array(value, depth)
            case bytes():
                self._count_binary(value)
            case _:
                raise PeerError(ViolationCode.UNSUPPORTED_VALUE)

    def _visit_array(self, items: list[object], depth: int) -> None:
        self._enter(len(items), self._limits.max_array, depth)
        for index, item in enumerate(items):
            if isinstance(item, str):  # first, because lists of symbols are what clients send
                self._check_length(len(item))
            elif item is ABSENT:
                items[index] = None
            elif isinstance(item, dict) and item.get(PLACEHOLDER) is True:
                self._place(item, (cast("list[Value]", items), index))
            else:
                self._visit_value(item, depth + 1)

    def _visit_object(self, items: dict[object, object], depth: int) -> None:
        if items.get(PLACEHOLDER) is True:  # where no attachment can be: an auth object
            raise PeerError(ViolationCode.BAD_PLACEHOLDER)
        absent = []
        for key, item in items.items():
            if not isinstance(key, str):
                raise PeerError(ViolationCode.UNSUPPORTED_VALUE)
            self._check_length(len(key))
            if item is ABSENT:
                absent.append(key)
            elif isinstance(item, dict) and item.get(PLACEHOLDER) is True:
                self._place(item, (cast("dict[str, Value]", items), key))
            else:
                self._visit_value(item, depth + 1)
        for key in absent:
            del items[key]

    def _enter(self, length: int, limit: int, depth: int) -> None:
        limits = self._limits
        if depth > limits.max_depth:
            raise PeerError(ViolationCode.TOO_DEEP, limit=limits.max_depth)
        self._elements += length
        if length > limit:
            raise PeerError(ViolationCode.TOO_MANY_ELEMENTS, limit=limit, actual=length)
        if self._elements > limits.max_elements:
            raise PeerError(ViolationCode.TOO_MANY_ELEMENTS, limit=limits.max_elements, actual=self._elements)

    def _check_length(self, length: int) -> None:
        if length > self._limits.max_string:
            raise PeerError(ViolationCode.STRING_TOO_LONG, limit=self._limits.max_string, actual=length)

    def _count_binary(self, value: bytes) -> None:
        if not self._allow_binary:
            raise PeerError(ViolationCode.UNSUPPORTED_VALUE)
        self._check_length(len(value))
        self._binaries += 1
        if self._binaries > self._limits.max_attachments:
            raise PeerError(ViolationCode.TOO_MANY_ATTACHMENTS, limit=self._limits.max_attachments)

    def _place(self, placeholder: dict[object, object], slot: Slot) -> None:
        """Note where an attachment belongs; its number is an int in range, and every number comes once (T3)."""
        num = placeholder.get("num")
        if not isinstance(num, int) or isinstance(num, bool) or placeholder.keys() != _PLACEHOLDER_KEYS:
            raise PeerError(ViolationCode.BAD_PLACEHOLDER)
        if not 0 <= num < len(self._slots) or self._slots[num] is not None:
            raise PeerError(ViolationCode.BAD_PLACEHOLDER)
        self._slots[num] = slot


def check_namespace(namespace: str, limits: Limits) -> str:
    """Check that a namespace can be written by both parsers.

    Raises:
        PeerError: it does not start with a slash, holds a comma, is too long or no Unicode.
    """
    if namespace == "/":
        return namespace
    if not namespace.startswith("/") or "," in namespace or len(namespace) > limits.max_namespace:
        raise PeerError(ViolationCode.BAD_NAMESPACE, limit=limits.max_namespace, actual=len(namespace))
    try:
        namespace.encode()
    except UnicodeEncodeError:
        raise PeerError(ViolationCode.BAD_NAMESPACE) from None
    return namespace


def check_event_name(data: list[Value]) -> EventName:
    """Check the first element of an event's data: a number, or a string that is not reserved (3.1).

    Raises:
        PeerError: it is something else, or there is none.
    """
    name = data[0] if data else None
    if not isinstance(name, (str, int, float)) or isinstance(name, bool):
        raise PeerError(ViolationCode.BAD_EVENT_NAME)
    if name in RESERVED_EVENTS:
        raise PeerError(ViolationCode.RESERVED_EVENT)
    return name


def build_packet(kind: PacketType, namespace: str, ack_id: int | None, data: object, limits: Limits) -> Packet:
    """Type a decoded packet without pending attachments.

    Args:
        kind: its type.
        namespace: checked.
        ack_id: checked; ignored where it has no meaning.
        data: as decoded, `ABSENT` if there was none. Owned by the packet afterwards.
        limits: of the parser.

    Raises:
        PeerError: the data do not have the shape that belongs to the type, or break a limit.
    """
    match kind:
        case PacketType.CONNECT:
            if data is ABSENT:
                return Connect(namespace)
            return Connect(namespace, Inspection(limits, allow_binary=False).check_object(data))
        case PacketType.DISCONNECT:
            if data is not ABSENT:
                raise PeerError(ViolationCode.BAD_DATA)
            return Disconnect(namespace)
        case PacketType.EVENT | PacketType.ACK:
            return build_message(kind, namespace, ack_id, Inspection(limits).check_array(data))
        case PacketType.CONNECT_ERROR:
            inspection = Inspection(limits, allow_binary=False)
            if isinstance(data, str):
                return ConnectError(inspection.check_text(data), namespace)
            return ConnectError(inspection.check_object(data), namespace)
        case _:
            assert_never(kind)


def build_message(kind: PacketType, namespace: str, ack_id: int | None, data: list[Value]) -> Event | Ack:
    """Type an event or ack whose data have been inspected and hold their attachments.

    Raises:
        PeerError: the event has no proper name, or the ack no id.
    """
    if kind is PacketType.EVENT:
        return Event(check_event_name(data), tuple(data[1:]), namespace, ack_id)
    if ack_id is None:
        raise PeerError(ViolationCode.BAD_ACK_ID)
    return Ack(ack_id, tuple(data), namespace)
