"""What the two parsers have in common: their interface, their limits and the choice between them.

A parser is stateless and shared by all connections of a process. Engine.IO message data goes in, packets come out, and
the other way round. The one thing that spans several messages, a JSON packet still waiting for its binary
attachments, is a `Pending` value that the caller keeps and hands in again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import NamedTuple, Protocol, TypeAlias

from protocol.errors import PeerError, ViolationCode
from protocol.socketio.packets import ROOT, EventName, Packet, Value

MessageData = str | bytes
"""What one Engine.IO message carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a peer may send, the same for both parsers. Exceeding one raises `PeerError`.

    Attributes:
        max_payload: bytes of one packet, all its attachments included.
        max_attachments: binary parts of one packet, 1 to 10: stock clients refuse more (protocol reference 3.1).
        max_depth: containers inside each other within one argument; a plain argument has depth 0.
        max_elements: values in one packet, all containers together.
        max_array: elements of one array.
        max_map: keys of one object.
        max_string: characters of one string or key, and bytes of one binary part.
        max_namespace: characters of a namespace.
    """

    max_payload: int = 1_000_000
    max_attachments: int = 10
    max_depth: int = 6
    max_elements: int = 4_096
    max_array: int = 512
    max_map: int = 64
    max_string: int = 65_536
    max_namespace: int = 128


@unique
class PacketType(IntEnum):
    """What stands in front of a JSON packet and under `type` in a msgpack one."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4


Slot = tuple[list[Value], int] | tuple[dict[str, Value], str]
"""The place in a decoded packet where one attachment belongs: a container and a position in it."""


@dataclass(slots=True)
class Pending:
    """A packet whose text has arrived and whose binary attachments have not: made and completed by a parser.

    Attributes:
        kind: EVENT or ACK.
        namespace: of the packet, so that the caller can refuse it before any attachment is kept.
        ack_id: of the packet.
        data: of the packet, with a placeholder wherever an attachment belongs.
        slots: where each attachment belongs, by its number.
        size: bytes so far, the text included.
        received: the attachments so far.
    """

    kind: PacketType
    namespace: str
    ack_id: int | None
    data: list[Value]
    slots: tuple[Slot, ...]
    size: int
    received: list[bytes] = field(default_factory=list)


class Hole:
    """A place in an event that `Parser.encode_around` leaves open. No dataclass: encoders write those by themselves.

    Attributes:
        length: None for one fragment; else for the elements of an array of that length.
    """

    __slots__ = ("length",)

    def __init__(self, length: int | None = None) -> None:
        self.length = length


Field: TypeAlias = "Value | Hole"
Surrounding: TypeAlias = "Field | Mapping[str, Field]"
"""An argument of `Parser.encode_around`: a value, a hole, or an object whose fields may be holes."""


class Parser(Protocol):
    """Packets to Engine.IO message data and back."""

    @property
    def name(self) -> str:
        """`json` or `msgpack`: a label for metrics and logs."""

    @property
    def is_text(self) -> bool:
        """Whether an event without bytes in it is a text message."""

    @property
    def separator(self) -> bytes:
        """What stands between the elements of an array."""

    def decode(self, data: MessageData, pending: Pending | None = None) -> Packet | Pending:
        """Read one message.

        Args:
            data: one Engine.IO message.
            pending: what the previous call returned, if that was a `Pending`. It is completed in place.

        Returns:
            A packet, or a `Pending` to hand in together with the next message.

        Raises:
            PeerError: the message breaks a rule or a limit. Close the transport and drop `pending`.
        """

    def encode(self, packet: Packet) -> tuple[MessageData, ...]:
        """Write one packet as the messages to send, in order, with nothing but Engine.IO control packets in between.

        Raises:
            UsageError: the packet holds what the wire cannot carry.
        """

    def encode_value(self, value: Value) -> bytes:
        """Write one argument without bytes in it as a fragment for `encode_array` and `encode_spliced`.

        Raises:
            UsageError: the value holds bytes, or what the wire cannot carry.
        """

    def encode_unchecked(self, value: Value) -> bytes:
        """Write a fragment as `encode_value`, for a value known to be one that can be written: no bytes, all finite."""

    def encode_array(self, fragments: Sequence[bytes]) -> bytes:
        """Write an array whose elements are fragments; the result is a fragment again."""

    def encode_object(self, fields: Sequence[tuple[str, bytes]]) -> bytes:
        """Write an object whose values are fragments, each key once; the result is a fragment again."""

    def encode_spliced(self, name: EventName, args: Sequence[bytes], namespace: str = ROOT) -> MessageData:
        """Write an event without ack id whose arguments are fragments, byte for byte as `encode` would.

        Raises:
            UsageError: the name is reserved, or name or namespace cannot be written.
        """

    def encode_spliced_ack(self, ack_id: int, args: Sequence[bytes], namespace: str = ROOT) -> MessageData:
        """Write an ack whose arguments are fragments, byte for byte as `encode` would.

        Raises:
            UsageError: the id or the namespace cannot be written.
        """

    def encode_around(self, name: EventName, args: Sequence[Surrounding]) -> tuple[bytes, ...]:
        """Write an event of the root namespace with holes in it: the pieces between them, one more than holes.

        With the fragments in the holes, those of an array joined by `separator`, it is byte for byte what `encode`
        would write. So an event that is sent often, with other numbers each time, is written by joining bytes alone.

        Raises:
            UsageError: the name is reserved.
        """


class Parsers(NamedTuple):
    """The two parsers of a process."""

    json: Parser
    msgpack: Parser


_FIXMAP = range(0x80, 0x90)
_MAP16_MAP32 = (0xDE, 0xDF)


def detect_parser(first: MessageData, parsers: Parsers) -> Parser:
    """Tell a client's parser from the first message of its connection (protocol reference 7). Keep the answer.

    A JSON client starts with a CONNECT, `0`; a msgpack client with a map.

    Raises:
        PeerError: it is neither; the client cannot be told why, close the transport.
    """
    match first:
        case str():
            if first.startswith("0"):
                return parsers.json
        case bytes():
            if first and (first[0] in _FIXMAP or first[0] in _MAP16_MAP32):
                return parsers.msgpack
    raise PeerError(ViolationCode.UNKNOWN_PARSER)
