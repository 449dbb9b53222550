"""Events as finished frames, made once for each parser that somebody uses.

`Encoded` is what the fan-out hands around: it becomes bytes at the first member of a parser, and stays those bytes.
"""

from collections.abc import Sequence
from typing import Final

from protocol.socketio.packets import Event, Value
from protocol.socketio.parser import Parser, Parsers
from services.gateway.frames import frame_message, frame_messages
from shared.names.events import ServerEvent


class Encoder:
    """Both parsers, by the index that outboxes carry."""

    __slots__ = ("parsers",)

    def __init__(self, parsers: Parsers) -> None:
        self.parsers: Final[tuple[Parser, ...]] = (parsers.json, parsers.msgpack)

    def index_of(self, parser: Parser) -> int:
        """The index of a client's parser."""
        return self.parsers.index(parser)

    def event(self, name: ServerEvent, *args: Value) -> "Encoded":
        """An event for many clients."""
        return Encoded(self.parsers, Event(name.value, args))

    def batch(self, parser: int, pairs: Sequence[bytes], extras: Value) -> bytes:
        """A `price:batch` frame spliced from pairs that `pair` has written."""
        writer = self.parsers[parser]
        args = (writer.encode_array(pairs), writer.encode_value(extras))
        return frame_message(writer.encode_spliced(ServerEvent.PRICE_BATCH.value, args))

    def pair(self, parser: int, pair: Value) -> bytes:
        """One element of a batch, for `batch`."""
        return self.parsers[parser].encode_value(pair)


class Encoded:
    """One event, and its frames as far as they were needed."""

    __slots__ = ("_event", "_frames", "_parsers")

    def __init__(self, parsers: tuple[Parser, ...], event: Event) -> None:
        self._parsers = parsers
        self._event: Event | None = event  # dropped with the last frame: a window of trades keeps many of these
        self._frames: list[bytes | None] = [None] * len(parsers)

    def frame(self, parser: int) -> bytes:
        """The frame for one parser."""
        frame = self._frames[parser]
        if frame is None:
            assert self._event is not None
            frame = self._frames[parser] = frame_messages(self._parsers[parser].encode(self._event))
            if None not in self._frames:
                self._event = None
        return frame
