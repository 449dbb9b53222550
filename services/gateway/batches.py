"""Writes `price:batch` by joining bytes: each symbol's part once, each client's frame without encoding anything.

A frame is `["price:batch", [[symbol, price], ...], {ts, seqs, ns}]`, three parallel arrays, and a fourth, `states`,
where not all are `live`. A symbol's pair, `seq` and state are written when its price changes, its `n` once for all who
share a base; a client's frame is then three joins between ready-made surroundings, all in C. Fed and used by
`windows.py`.
"""

from collections.abc import Iterable
from functools import lru_cache
from sys import intern
from typing import Final, get_args

from protocol.socketio.parser import Hole, Parser
from services.gateway.encoding import Encoder, around
from services.gateway.frames import frame_written
from services.gateway.market import UNKNOWN, Change
from services.gateway.payloads import Payloads
from shared.messages import FeedState, Price
from shared.names.events import ServerEvent

MOST_KEPT: Final = 10_000
"""Symbols whose pairs are kept. A market with more still works: then all are written anew."""

MOST_NUMBERS: Final = 4_096
MOST_LENGTHS: Final = 512

Row = tuple[bytes, bytes, bytes, bytes]
"""One symbol's parts of a batch: pair, `seq`, `n`, state."""


class BatchWriter:
    """The batches of one parser."""

    def __init__(self, parser: Parser, payloads: Payloads) -> None:
        self._payloads = payloads
        self._write = parser.encode_unchecked
        self._join = parser.separator.join
        self._parser = parser
        self._is_text = parser.is_text
        self._state = lru_cache(len(get_args(FeedState)))(self._write)
        self._kept: dict[str, tuple[Price, bytes, bytes, bytes]] = {}
        self.number = lru_cache(MOST_NUMBERS)(self._write_number)
        self._surroundings = lru_cache(MOST_LENGTHS)(self._write_surroundings)

    def row(self, symbol: str, price: Price, base: int) -> Row:
        """The parts of a price that builds on `seq` `base`; where that is unknown, or of an epoch gone by, `n` is 0."""
        kept = self._kept.get(symbol)
        if kept is None or kept[0] is not price:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            pair = self._write(self._payloads.price_pair(symbol, price))
            kept = self._kept[symbol] = price, pair, self._write(price.seq), self._state(price.state)
        _, pair, seq, state = kept
        return pair, seq, self.number(price.seq - base if UNKNOWN < base < price.seq else 0), state

    def rows(self, changes: Iterable[Change]) -> dict[str, Row]:
        """The parts of each change, by symbol: interned as in `Group`, so that a look-up compares no text."""
        return {intern(change.symbol): self.row(*change) for change in changes}

    def frame(self, rows: list[Row], ts: bytes) -> bytes:
        """One batch; `ts` as `number` writes it."""
        pairs, seqs, ns, states = zip(*rows, strict=False)  # strict would ask for each row's length
        join = self._join
        if states.count(self._state("live")) == len(states):
            head, before_ts, before_seqs, before_ns, tail = self._surroundings(len(rows), stated=False)
        else:
            head, before_ts, before_seqs, before_ns, before_states, tail = self._surroundings(len(rows), stated=True)
            tail = before_states + join(states) + tail
        payload = b"".join((head, join(pairs), before_ts, ts, before_seqs, join(seqs), before_ns, join(ns), tail))
        return frame_written(payload, is_text=self._is_text)

    def _write_number(self, number: int) -> bytes:
        return self._write(number)

    def _write_surroundings(self, length: int, *, stated: bool) -> tuple[bytes, ...]:
        array = Hole(length)
        extras = {"ts": Hole(), "seqs": array, "ns": array} | ({"states": array} if stated else {})
        return around(self._parser, ServerEvent.PRICE_BATCH, (array, extras))


def batch_writers(encoder: Encoder, payloads: Payloads) -> list[BatchWriter]:
    """One for each parser, by the index that outboxes carry."""
    return [BatchWriter(parser, payloads) for parser in encoder.parsers]
