"""Whole packets out of a Socket.IO parser, for tests of what comes in several messages."""

from collections.abc import Iterable

from protocol.errors import PeerError
from protocol.socketio.packets import Packet
from protocol.socketio.parser import MessageData, Parser, Pending


def decode_all(parser: Parser, messages: tuple[MessageData, ...]) -> Packet:
    """Feed a whole packet to a parser and return it; the packet must be complete with the last message."""
    decoded: Packet | Pending | None = None
    for message in messages:
        assert decoded is None or isinstance(decoded, Pending)
        decoded = parser.decode(message, decoded)
    assert decoded is not None
    assert not isinstance(decoded, Pending)
    return decoded


def decode_until_refused(parser: Parser, messages: Iterable[MessageData]) -> list[Packet]:
    """Feed messages until one is refused; the packets so far. Any error but a `PeerError` gets out."""
    packets: list[Packet] = []
    pending: Pending | None = None
    for message in messages:
        try:
            decoded = parser.decode(message, pending)
        except PeerError:
            break
        pending = decoded if isinstance(decoded, Pending) else None
        if not isinstance(decoded, Pending):
            packets.append(decoded)
    return packets
