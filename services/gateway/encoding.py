"""Events as finished frames, made once for each parser that somebody uses.

`Encoded` is what the fan-out hands around: it becomes bytes at the first member of a parser, and stays those bytes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from protocol.socketio.packets import Event, Value
from protocol.socketio.parser import Hole, Parser, Parsers, Surrounding
from services.gateway.frames import MESSAGE_PREFIX, frame_message, frame_messages, frame_written
from shared.names.events import ServerEvent


class Encoder:
    """Both parsers, by the index that outboxes carry."""

    __slots__ = ("_around_price", "parsers")

    def __init__(self, parsers: Parsers) -> None:
        self.parsers: Final[tuple[Parser, ...]] = (parsers.json, parsers.msgpack)
        self._around_price = [around(parser, ServerEvent.PRICE_UPDATE, (Hole(),)) for parser in self.parsers]

    def index_of(self, parser: Parser) -> int:
        """The index of a client's parser."""
        return self.parsers.index(parser)

    def event(self, name: ServerEvent, *args: Value) -> "Encoded":
        """An event for many clients. A text as its last argument would be taken for a cursor (protocol reference 5)."""
        assert not isinstance(args[-1], str)
        return Encoded(partial(self._event, Event(name.value, args)))

    def log_event(self, name: ServerEvent, args: Sequence[Value]) -> "Encoded":
        """An entry of the log; its last argument may be a cursor, as no other event's may (protocol reference 5)."""
        return Encoded(partial(self._event, Event(name.value, tuple(args))))

    def price_update(self, payload: Value) -> "Encoded":
        """A `price:update`, the most frequent of all events: only its payload is written, and not checked again."""
        return Encoded(partial(self._price_update, payload))

    def batch(self, parser: int, pairs: Sequence[bytes], extras: Value) -> bytes:
        """A `price:batch` frame spliced from pairs that `pair` has written."""
        writer = self.parsers[parser]
        args = (writer.encode_array(pairs), writer.encode_value(extras))
        return frame_message(writer.encode_spliced(ServerEvent.PRICE_BATCH.value, args))

    def pair(self, parser: int, pair: Value) -> bytes:
        """One element of a batch, for `batch`."""
        return self.parsers[parser].encode_value(pair)

    def _event(self, event: Event, parser: int) -> bytes:
        return frame_messages(self.parsers[parser].encode(event))

    def _price_update(self, payload: Value, parser: int) -> bytes:
        writer = self.parsers[parser]
        head, tail = self._around_price[parser]
        return frame_written(head + writer.encode_unchecked(payload) + tail, is_text=writer.is_text)


class Encoded:
    """One event, and its frames as far as they were needed.

    Args:
        make: writes the frame for the parser of an index.
    """

    __slots__ = ("_frames", "_make")

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self._make: Callable[[int], bytes] | None = make  # dropped with the last frame: a window of trades keeps many
        self._frames: list[bytes | None] = [None, None]

    def frame(self, parser: int) -> bytes:
        """The frame for one parser."""
        frame = self._frames[parser]
        if frame is None:
            assert self._make is not None
            frame = self._frames[parser] = self._make(parser)
            if None not in self._frames:
                self._make = None
        return frame


def around(parser: Parser, name: ServerEvent, args: Sequence[Surrounding]) -> tuple[bytes, ...]:
    """The pieces of an event between its holes, as they stand in a frame."""
    first, *others = parser.encode_around(name.value, args)
    return (MESSAGE_PREFIX + first if parser.is_text else first, *others)
