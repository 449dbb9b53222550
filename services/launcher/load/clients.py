"""Light clients: each an `asyncio.Protocol` that connects, subscribes, answers heartbeats and counts what arrives.

Fed by a server; feeds the `Tally` of a `worker`. Frames are scanned, not parsed: only clients that are sampled look
into them, for the time that a price took and for gaps in `seq`. That keeps one client far cheaper than what serves it.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, cast

from services.launcher.load import wire
from services.launcher.load.histogram import Histogram
from services.launcher.load.scenario import SYMBOL_PREFIX
from shared.names.events import ClientEvent

_SYMBOL: Final = SYMBOL_PREFIX.encode()
_HEAD_END: Final = b"\r\n\r\n"
_MOST_AT_ONCE: Final = 50
"""Symbols in one request, as gateways take them by default."""


class Tally:
    """What all clients of one worker have seen. Numbers but `served` only grow; `take` empties the histograms."""

    def __init__(self) -> None:
        self.served = 0
        self.refused = 0
        self.failed = 0
        self.lost = 0
        self.rejected = 0
        self.unreadable = 0
        self.frames = 0
        self.received_bytes = 0
        self.updates = 0
        self.pairs = 0
        self.sampled = 0
        self.represented = 0
        self.gaps = 0
        self.latency, self.connecting, self.answers = Histogram(), Histogram(), Histogram()

    def take(self) -> dict[str, Any]:
        """Everything as JSON can carry it; the histograms begin anew."""
        plain = {
            name: value.to_plain() if isinstance(value, Histogram) else value for name, value in vars(self).items()
        }
        self.latency, self.connecting, self.answers = Histogram(), Histogram(), Histogram()
        return plain


class Ending(Enum):
    """How a connection ended."""

    REFUSED = "refused"
    FAILED = "failed"
    LOST = "lost"
    DROPPED = "dropped"


class _Stage(Enum):
    """How far a connection has come."""

    UPGRADE = 0
    ENGINE = 1
    NAMESPACE = 2
    SUBSCRIBE = 3
    SERVED = 4


class LoadClient(asyncio.Protocol):
    """One connection.

    Args:
        symbols: to subscribe to, with `options`; none: it stays idle.
        options: of the subscription.
        packed: speak the msgpack parser's format.
        sampled: look into what arrives.
        tally: where it counts.
        clock: seconds since the epoch, as the publisher's.
    """

    def __init__(
        self,
        symbols: list[str],
        options: dict[str, Any],
        tally: Tally,
        clock: Callable[[], float],
        *,
        packed: bool,
        sampled: bool,
    ) -> None:
        self.symbols = symbols
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._options = options
        self._tally = tally
        self._clock = clock
        self._packed = packed
        self._batched = options.get("deliver") == "batch"  # what else comes is another sequence
        self._seqs: dict[str, int] | None = {} if sampled else None
        self._stage = _Stage.UPGRADE
        self._rest = b""
        self._dropped = False
        self._refused = False
        self._ack_id = 0
        self._asked: dict[int, float] = {}
        self._now = 0.0

    @property
    def served(self) -> bool:
        """Whether it is connected, and subscribed if it wanted to be."""
        return self._stage is _Stage.SERVED and not self.ended.done()

    # `asyncio.Protocol`

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = cast("asyncio.Transport", transport)
        self._began = self._clock()
        host, port = transport.get_extra_info("peername")[:2]
        self._transport.write(wire.UPGRADE % f"{host}:{port}".encode())

    def data_received(self, data: bytes) -> None:
        """Scan whole frames, keep what is left of the last."""
        self._now = self._clock()
        self._tally.received_bytes += len(data)
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if self._stage is _Stage.UPGRADE:
            data = self._read_head(data)
        position, end = 0, len(data)
        while end - position >= 2:  # noqa: PLR2004 - the shortest frame
            start, length = position + 2, data[position + 1]
            if length > 125:  # noqa: PLR2004 - RFC 6455 section 5.2
                wide = 2 if length == 126 else 8  # noqa: PLR2004 - the same
                start += wide
                if start > end:
                    break
                length = int.from_bytes(data[start - wide : start])
            stop = start + length
            if stop > end:
                break
            self._frame(data, position, start, stop)
            position = stop
        self._rest = data[position:]

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - why does not matter here
        """Say how it ended."""
        was_served = self._stage is _Stage.SERVED
        if was_served and not self._dropped:
            self._tally.served -= 1
        if self._dropped:
            ending = Ending.DROPPED
        elif self._refused:
            ending = Ending.REFUSED
        else:
            ending = Ending.LOST if was_served else Ending.FAILED
        if not self.ended.done():
            self.ended.set_result(ending)

    # What the worker has it do

    def drop(self) -> None:
        """End at once, as a machine does that loses its network."""
        if self.served and not self._dropped:
            self._tally.served -= 1
        self._dropped = True
        self._transport.abort()

    def stall(self) -> None:
        """Stop reading, for good."""
        if self.served:
            self._transport.pause_reading()

    def swap(self, left: str, joined: str) -> None:
        """Leave one symbol for another."""
        self.symbols[self.symbols.index(left)] = joined
        self._ask(ClientEvent.UNSUBSCRIBE_PRICE, [[left]])
        self._ask(ClientEvent.SUBSCRIBE_PRICE, [[joined], self._options])
        if self._seqs is not None:
            self._seqs.pop(joined, None)

    # Frames

    def _frame(self, data: bytes, position: int, start: int, stop: int) -> None:
        tally = self._tally
        tally.frames += 1
        near = min(start + wire.HEAD, stop)
        if data.find(wire.UPDATE, start, near) >= 0:
            tally.updates += 1
            batched = False
        elif data.find(wire.BATCH, start, near) >= 0:
            tally.pairs += data.count(_SYMBOL, start, stop)
            batched = True
        else:
            self._control(data[position], data[start:stop])
            return
        if self._seqs is not None and self._batched is batched and self._stage is _Stage.SERVED:
            self._sample(data[start:stop], self._seqs)

    def _sample(self, payload: bytes, seqs: dict[str, int]) -> None:
        tally = self._tally
        try:
            prices = wire.prices_of(payload, packed=self._packed)
        except ValueError:
            tally.unreadable += 1
            return
        for symbol, value, seq, n, restated in prices:
            last = seqs.get(symbol)
            if seq:
                seqs[symbol] = seq
            if restated:
                continue
            tally.sampled += 1
            tally.represented += n
            tally.latency.add(self._now - value)
            if last is not None and seq and seq != last + n:
                tally.gaps += 1

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == wire.PING:
            self._transport.write(wire.pong(payload))
        elif opcode == wire.CLOSE:
            self._transport.close()
        elif payload == wire.ENGINE_PING:
            self._transport.write(wire.ENGINE_PONG)
        elif self._stage is _Stage.SERVED:
            self._answered(payload)
        else:
            self._advance(payload)

    def _answered(self, payload: bytes) -> None:
        if self._asked and wire.acked(payload, packed=self._packed):
            asked = self._asked.pop(wire.ack_id_of(payload, packed=self._packed), None)
            if asked is not None:
                self._tally.answers.add(self._now - asked)
            if wire.is_refusal(payload, packed=self._packed):
                self._tally.rejected += 1

    # Becoming served

    def _read_head(self, data: bytes) -> bytes:
        """What follows the answer to the upgrade; nothing before it is complete, or where it is a refusal."""
        head, found, rest = data.partition(_HEAD_END)
        if not found:
            self._rest = data
            return b""
        if not head.startswith(wire.SWITCHED):
            self._refused = True
            self._transport.abort()
            return b""
        self._stage = _Stage.ENGINE
        return rest

    def _advance(self, payload: bytes) -> None:
        if self._stage is _Stage.ENGINE and payload.startswith(wire.ENGINE_OPEN):
            self._stage = _Stage.NAMESPACE
            self._transport.write(wire.connect(packed=self._packed))
        elif self._stage is _Stage.NAMESPACE and wire.is_connected(payload, packed=self._packed):
            self._stage = _Stage.SUBSCRIBE
            for first in range(0, len(self.symbols), _MOST_AT_ONCE):
                self._ask(ClientEvent.SUBSCRIBE_PRICE, [self.symbols[first : first + _MOST_AT_ONCE], self._options])
            self._settle()
        elif self._stage is _Stage.SUBSCRIBE:
            self._answered(payload)
            self._settle()

    def _settle(self) -> None:
        """Every subscription is answered: from now on it counts."""
        if self._asked:
            return
        self._stage = _Stage.SERVED
        self._tally.served += 1
        self._tally.connecting.add(self._now - self._began)

    def _ask(self, event: ClientEvent, arguments: list[Any]) -> None:
        self._ack_id += 1
        self._asked[self._ack_id] = self._clock()
        self._transport.write(wire.event(event, arguments, self._ack_id, packed=self._packed))
