"""Prices at a slower pace: `price:batch`, and updates for clients that asked for a lower rate.

A window collects which symbols changed and on which `seq` the first change built; at its end every member gets the
newest price of its own symbols that changed. Windows are few (a ladder of intervals, batch or update), whatever clients
ask for, so each update costs the same however many clients there are.
"""

import asyncio
from typing import Final

from services.gateway.encoding import Encoded, Encoder
from services.gateway.fanout import Fanout, owe
from services.gateway.hub import PARSERS, Room
from services.gateway.market import UNKNOWN, Market
from services.gateway.outbox import Flusher, Outbox
from services.gateway.payloads import Payload, Payloads, batch_extras
from shared.clock import Clock
from shared.messages import Price
from shared.names.events import ServerEvent

LADDER: Final = (1, 2, 5, 10, 20, 50, 100)
"""Intervals, in multiples of the batch window."""


class Window:
    """Members of one interval and one way of delivery.

    Attributes:
        ticks: its length in batch windows.
        as_batch: one `price:batch` instead of a `price:update` for each symbol.
        members: whose turn it is, with the symbols that each wants.
        changed: symbol -> `seq` that the window's first change built on.
    """

    __slots__ = ("as_batch", "changed", "members", "ticks")

    def __init__(self, ticks: int, *, as_batch: bool) -> None:
        self.ticks = ticks
        self.as_batch = as_batch
        self.members: dict[Outbox, set[str]] = {}
        self.changed: dict[str, int] = {}

    def add(self, member: Outbox, symbol: str) -> None:
        """Want a symbol; harmless when wanted already."""
        self.members.setdefault(member, set()).add(symbol)

    def remove(self, member: Outbox, symbol: str) -> None:
        """Want it no more; harmless when not wanted."""
        symbols = self.members.get(member)
        if symbols is not None:
            symbols.discard(symbol)
            if not symbols:
                del self.members[member]


class Windows:
    """All windows and their one timer.

    Attributes:
        everyone: gets every change of the market as one shared batch.
    """

    def __init__(
        self,
        batch_ms: int,
        market: Market,
        fanout: Fanout,
        encoder: Encoder,
        payloads: Payloads,
        flusher: Flusher,
        clock: Clock,
    ) -> None:
        self.batch_ms = batch_ms
        self.everyone = Room("")
        self._market = market
        self._fanout = fanout
        self._encoder = encoder
        self._payloads = payloads
        self._flusher = flusher
        self._clock = clock
        self._windows: dict[tuple[int, bool], Window] = {}
        self._changed_for_everyone: dict[str, int] = {}
        self._owing: set[Outbox] = set()
        self._tick_number = 0
        self._timer: asyncio.TimerHandle | None = None

    def granted(self, max_hz: float) -> int:
        """The shortest interval offered that keeps to `max_hz`, in ms; the longest when none does."""
        for ticks in LADDER:
            if ticks * self.batch_ms * max_hz >= 1000:  # noqa: PLR2004 - ms in a second
                return ticks * self.batch_ms
        return LADDER[-1] * self.batch_ms

    def window(self, interval_ms: int, *, as_batch: bool) -> Window:
        """The window of a granted interval."""
        key = interval_ms // self.batch_ms, as_batch
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(key[0], as_batch=as_batch)
        return window

    def note(self, symbol: str, base: int) -> None:
        """A price changed."""
        self._changed_for_everyone.setdefault(symbol, base)
        for window in self._windows.values():
            if window.members:
                window.changed.setdefault(symbol, base)

    def owe_market(self, member: Outbox) -> None:
        """A member of `everyone` missed a batch: it gets the whole market as soon as its socket takes it."""
        member.owes_market = True
        self._owing.add(member)

    def start(self) -> None:
        """Begin to tick."""
        loop = asyncio.get_running_loop()
        self._schedule(loop, loop.time() + self.batch_ms / 1000)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()

    def tick(self) -> None:
        """One batch window has passed."""
        self._tick_number += 1
        changed, self._changed_for_everyone = self._changed_for_everyone, {}
        if changed and len(self.everyone):
            self._batch_to_everyone(changed)
        if self._owing:
            self._market_to_owing()
        for window in self._windows.values():
            if self._tick_number % window.ticks or not window.changed:
                continue
            changed, window.changed = window.changed, {}
            if window.as_batch:
                self._batch_to_members(window, changed)
            else:
                self._updates_to_members(window, changed)

    def _schedule(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        def fire() -> None:
            self.tick()
            # From the scheduled time, so that the pace does not drift; from now, when the loop stood still.
            self._schedule(loop, max(at, loop.time() - self.batch_ms / 1000) + self.batch_ms / 1000)

        self._timer = loop.call_at(at, fire)

    def _newest(self, changed: dict[str, int]) -> dict[str, tuple[Price, int]]:
        return {symbol: (price, base) for symbol, base in changed.items() if (price := self._market.find(symbol))}

    def _batch_to_everyone(self, changed: dict[str, int]) -> None:
        newest = self._newest(changed)
        if not newest:
            return
        symbols = list(newest)
        extras = self._extras(symbols, newest)
        touched: list[Outbox] = []
        for parser, members in enumerate(self.everyone.members):
            if not members:
                continue
            pairs = [self._encoder.pair(parser, self._payloads.price_pair(s, newest[s][0])) for s in symbols]
            frame = self._encoder.batch(parser, pairs, extras)
            for member in members:
                if member.behind:
                    self.owe_market(member)
                if member.owes_market:
                    continue
                if not member.queue:
                    touched.append(member)
                member.queue.append(frame)
            self._fanout.delivered[ServerEvent.PRICE_BATCH] += len(members)
        self._flusher.touch_all(touched)

    def _market_to_owing(self) -> None:
        """Instead of batches that would not build on what a member got: everything anew."""
        event: Encoded | None = None
        for member in list(self._owing):
            if member.owes_market and member.behind:
                continue
            self._owing.discard(member)
            if member.owes_market:
                member.owes_market = False
                event = event or self._whole_market()
                member.send(event.frame(member.parser))

    def _whole_market(self) -> Encoded:
        items = list(self._market.items())
        pairs = [self._payloads.price_pair(symbol, price) for symbol, price in items]
        seqs, states = [price.seq for _, price in items], [price.state for _, price in items]
        extras = batch_extras(self._clock.now_ms(), seqs, [0] * len(items), states, snapshot=True)
        return self._encoder.event(ServerEvent.PRICE_BATCH, pairs, extras)

    def _batch_to_members(self, window: Window, changed: dict[str, int]) -> None:
        newest = self._newest(changed)
        pairs: tuple[dict[str, bytes], ...] = tuple({} for _ in range(PARSERS))
        names = newest.keys()
        touched: list[Outbox] = []
        for member, wanted in window.members.items():
            symbols = [symbol for symbol in wanted if symbol in names]
            if not symbols:
                continue
            if member.behind:
                self._owe_batch(member, symbols, newest)
                continue
            made = pairs[member.parser]
            for symbol in symbols:
                if symbol not in made:
                    pair = self._payloads.price_pair(symbol, newest[symbol][0])
                    made[symbol] = self._encoder.pair(member.parser, pair)
            extras = self._extras(symbols, newest, member.owed_batches)
            frame = self._encoder.batch(member.parser, [made[symbol] for symbol in symbols], extras)
            if not member.queue:
                touched.append(member)
            member.queue.append(frame)
            self._fanout.delivered[ServerEvent.PRICE_BATCH] += 1
        self._flusher.touch_all(touched)

    def _updates_to_members(self, window: Window, changed: dict[str, int]) -> None:
        rooms: dict[tuple[str, int], Room] = {}
        newest = self._newest(changed)
        names = newest.keys()
        for member, wanted in window.members.items():
            own = None if member.behind else member.owed_prices
            for symbol in wanted & names:
                base = _base(own, symbol, newest[symbol][1])
                room = rooms.setdefault((symbol, base), Room(symbol))
                room.members[member.parser].add(member)
        for (symbol, base), room in rooms.items():
            self._fanout.price_to(room, symbol, newest[symbol][0], base)

    def _extras(
        self, symbols: list[str], newest: dict[str, tuple[Price, int]], own: dict[str, int] | None = None
    ) -> Payload:
        seqs, ns = [], []
        states = [newest[symbol][0].state for symbol in symbols]
        for symbol in symbols:
            price, shared = newest[symbol]
            base = _base(own, symbol, shared)
            seqs.append(price.seq)
            ns.append(price.seq - base if UNKNOWN < base < price.seq else 0)
        return batch_extras(self._clock.now_ms(), seqs, ns, states)

    def _owe_batch(self, member: Outbox, symbols: list[str], newest: dict[str, tuple[Price, int]]) -> None:
        if member.owed_batches is None:
            member.owed_batches = {}
        for symbol in symbols:
            owe(member.owed_batches, symbol, newest[symbol][1])


def _base(own: dict[str, int] | None, symbol: str, shared: int) -> int:
    """What a member's next price builds on: its own, once, where that is not the window's."""
    return own.pop(symbol, shared) if own else shared
