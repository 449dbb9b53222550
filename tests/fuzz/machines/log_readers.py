"""Clients of two gateways that break off and come back anywhere, on a real Valkey: no entry twice, none missing.

The truth is the order in which trades were appended to the logs. Two gateways read them at their own pace, into windows
that hold a handful; clients join, fall behind, lose their connection with what was last written to them, and come back
with the newest cursor that they have seen to either gateway. What a client has got of a symbol is at every moment an
unbroken run of the truth, from where it joined; at the end it reaches the truth's end.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.gateway.cursor import id_of, position_of, read_cursor
from services.gateway.outbox import Outbox
from services.gateway.recovery import Claim, Gap, Missed, Recovery, Restored
from services.gateway.sessions import Sessions
from services.gateway.subscriptions import Subscriptions
from services.gateway.trade_feed import TradeFeed
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.messages import VERSION, SavedSession, encode
from shared.names import events, redis_keys
from tests.support.fakes_gateway import SHARDS, FakeLink, GatewayParts, make_trade, read_events

SYMBOLS: Final = tuple(
    name
    for shard in range(SHARDS)
    for name in [f"{n}-USDT" for n in range(99) if redis_keys.shard_of(f"{n}-USDT", SHARDS) == shard][:2]
)
"""Two of each log."""

SYMBOL: Final = st.sampled_from(SYMBOLS)
COUNTS: Final = st.sampled_from([0, 1, 3, 100])
GATEWAYS: Final = st.integers(0, 1)
CLIENTS: Final = st.integers(0, 1)
WINDOW_BYTES: Final = 6_000
"""About five entries and their frames: who is away for longer is served from Redis."""


class OneSession:
    """`Sessions` as far as a recovery sees it: the record that the next one to come back has."""

    def __init__(self) -> None:
        self.record: SavedSession | None = None

    def next_owner(self) -> str:
        return "owner"

    async def take(self, _pid: str, _owner: str, _user: str | None) -> SavedSession | None:
        return self.record


class Gateway:
    """What of a gateway concerns its logs; it reads when it is told to."""

    def __init__(self, url: str) -> None:
        self.bus = RedisBus(url, "machine")
        self.parts = GatewayParts(window_bytes=WINDOW_BYTES)
        self.feed = TradeFeed(self.bus, "gateway-1", SystemClock(), self.parts.log_fanout, SHARDS)
        self.sessions = OneSession()
        self.coming: list[Coroutine[None, None, None]] = []
        self.recovery = Recovery(
            self.bus,
            cast("Sessions", self.sessions),
            self.feed,
            self.parts.log_fanout,
            self.parts.flusher,
            lambda _, coroutine: self.coming.append(coroutine),
        )

    async def read(self, count: int) -> int:
        """Read at most so many entries of each log."""
        taken = 0
        for group in self.bus.slot_groups(self.feed.logs):
            taken += await self.feed._read(group, count, block_ms=0)
        self.parts.loop.turn()
        return taken

    async def read_all(self) -> None:
        """Read everything."""
        while await self.read(100):
            pass


@dataclass
class Reader:
    """A client of the model.

    Attributes:
        outbox: of its connection; None while it has none.
        joined: symbol -> position behind which its trades begin.
        since: symbol -> how many of the truth were before that.
        got: symbol -> numbers that it has got.
        cursor: the newest that it has seen.
    """

    gateway: Gateway | None = None
    outbox: Outbox | None = None
    joined: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    got: dict[str, list[int]] = field(default_factory=dict)
    cursor: str = ""

    @property
    def link(self) -> FakeLink:
        assert self.outbox is not None
        return cast("FakeLink", self.outbox.link)

    def take(self, *, but: int = 0) -> None:
        """Read what was written, but the last events of it."""
        written = b"".join(self.link.written)
        self.link.written.clear()
        heard = read_events(written, self.outbox.parser if self.outbox else 0)
        for _, payload, cursor in heard[: len(heard) - but] if but else heard:
            self.got[payload["symbol"]].append(int(payload["id"]))
            before, after = (read_cursor(text, 2 * SHARDS) for text in (self.cursor, cursor))
            assert before is not None
            assert after is not None
            assert all(new >= old for new, old in zip(after, before, strict=True)), "a cursor went back"
            self.cursor = cursor


class ClientsComeBack(RuleBasedStateMachine):
    """Two gateways, two clients, four symbols in two logs."""

    url: ClassVar[str]
    """Of a server that may be emptied; set by who runs this."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.wait = cast("Callable[[Coroutine[Any, Any, object]], object]", self.runner.run)
        self.gateways = self.runner.run(self._start())
        self.truth: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self.clients = [Reader(), Reader()]
        self.number = 0
        for number, one in enumerate(self.clients):
            self.arrive(one, number, number)
            self.subscribe(number, SYMBOLS[number])
            self.subscribe(number, SYMBOLS[-1])

    async def _start(self) -> list[Gateway]:
        gateways = [Gateway(self.url), Gateway(self.url)]
        await gateways[0].bus._client.flushall()
        for gateway in gateways:
            await gateway.feed.start()
        return gateways

    @rule(symbols=st.lists(SYMBOL, min_size=1, max_size=8), reads=st.tuples(COUNTS, COUNTS))
    def trades_come(self, symbols: list[str], reads: tuple[int, int]) -> None:
        self.append(symbols, reads)

    def append(self, symbols: list[str], reads: tuple[int, int]) -> None:
        """Trades come; each gateway reads some of each log, or nothing yet."""
        for symbol in symbols:
            self.number += 1
            self.truth[symbol].append(self.number)
            stream = redis_keys.trade_log(redis_keys.shard_of(symbol, SHARDS))
            row: dict[str, str | bytes] = {"s": symbol, "d": encode(make_trade(self.number, symbol))}
            self.wait(self.gateways[0].bus.append(stream, [row], 100_000))
        for gateway, count in zip(self.gateways, reads, strict=True):
            if count:
                self.wait(gateway.read(count))

    @rule(number=CLIENTS, at=GATEWAYS, parser=st.integers(0, 1), lost=st.integers(0, 4))
    def move(self, number: int, at: int, parser: int, lost: int) -> None:
        """A client comes back, here or there, while its old connection may still be open."""
        self.break_off(number, lost)
        self.arrive(self.clients[number], at, parser)

    def arrive(self, one: Reader, at: int, parser: int) -> None:
        self._connect(one, self.gateways[at], parser)
        if one.cursor:
            self._recover(one)
        else:
            one.cursor = self.gateways[at].feed.cursor

    def _connect(self, one: Reader, gateway: Gateway, parser: int) -> None:
        one.gateway = gateway
        one.outbox, _ = gateway.parts.outbox(parser)
        one.outbox.recovers = True
        Subscriptions(one.outbox)

    def _recover(self, one: Reader) -> None:
        gateway, outbox = one.gateway, one.outbox
        assert gateway is not None
        assert outbox is not None
        self.wait(gateway.read_all())  # else the client waits for it, seconds long
        trades = {symbol: id_of(position) for symbol, position in one.joined.items()}
        gateway.sessions.record = SavedSession(VERSION, "sid", trades=trades)
        claim = Claim(outbox, lambda: True, "pid", one.cursor, None)

        def enter(outcome: Restored | Gap) -> None:
            assert isinstance(outcome, Restored), outcome
            outbox.replaying = True
            outbox.send(outcome.frames or b"")
            gateway.parts.loop.turn()

        def join(missed: Missed) -> None:
            outbox.replaying = False
            for room in missed.behind:
                gateway.parts.hub.join(room, outbox)

        gateway.recovery.begin(claim, enter, join)
        self.wait(gateway.coming.pop())
        assert outbox.rooms == {events.trades_room(symbol) for symbol in one.joined}
        one.take()

    @rule(number=CLIENTS, symbol=SYMBOL)
    def one_subscribes(self, number: int, symbol: str) -> None:
        self.subscribe(number, symbol)

    def subscribe(self, number: int, symbol: str) -> None:
        one = self.clients[number]
        if one.outbox is None or one.gateway is None or symbol in one.joined:
            return
        log = one.gateway.feed.trades_log(symbol)
        position = one.gateway.feed.positions[log]
        one.joined[symbol], one.got[symbol] = position, []
        one.since[symbol] = self._read_before(symbol, position)
        one.gateway.feed.join(events.trades_room(symbol), one.outbox)

    def _read_before(self, symbol: str, position: int) -> int:
        """How many of a symbol's entries stand up to a position."""
        stream = redis_keys.trade_log(redis_keys.shard_of(symbol, SHARDS))
        entries = self.runner.run(self.gateways[0].bus.read_back(stream, "+", 100_000))
        return sum(entry.fields[b"s"].decode() == symbol and position_of(entry.id) <= position for entry in entries)

    @rule(number=CLIENTS)
    def one_falls_behind(self, number: int) -> None:
        self.fall_behind(number)

    def fall_behind(self, number: int) -> None:
        one = self.clients[number]
        if one.outbox is not None:
            one.link.writable = False
            one.outbox.fall_behind()

    @rule(number=CLIENTS, symbols=st.lists(SYMBOL, min_size=1, max_size=12))
    def be_behind_for_a_while(self, number: int, symbols: list[str]) -> None:
        self.fall_behind(number)
        self.append(symbols, (100, 100))
        self.drain(number)

    @rule(number=CLIENTS)
    def who_is_behind_drains(self, number: int) -> None:
        self.drain(number)

    def drain(self, number: int) -> None:
        one = self.clients[number]
        if one.outbox is not None and one.gateway is not None:
            one.gateway.parts.drain(one.outbox)
            one.gateway.parts.loop.turn()

    @rule(number=CLIENTS, lost=st.integers(0, 4))
    def one_breaks_off(self, number: int, lost: int) -> None:
        self.break_off(number, lost)

    def break_off(self, number: int, lost: int) -> None:
        """The last that was written has not arrived."""
        one = self.clients[number]
        if one.outbox is None or one.gateway is None:
            return
        one.take(but=lost)
        one.gateway.parts.subscriber.depart(cast("Subscriptions", one.outbox.member))
        one.outbox.drop()
        one.gateway = one.outbox = None

    @invariant()
    def what_was_got_is_an_unbroken_run(self) -> None:
        for one in getattr(self, "clients", []):
            if one.outbox is not None and one.link.endings:  # too far behind: it is told, and comes back
                self.break_off(self.clients.index(one), 0)
            for symbol, got in one.got.items():
                since = one.since[symbol]
                assert got == self.truth[symbol][since : since + len(got)]

    def teardown(self) -> None:
        if not hasattr(self, "clients"):
            return
        try:
            self.all_come_back()
        finally:
            for gateway in self.gateways:
                for coroutine in gateway.coming:
                    coroutine.close()
                self.wait(gateway.bus.close())
            self.runner.close()

    def all_come_back(self) -> None:
        for number, one in enumerate(self.clients):
            self.break_off(number, 0)
            self.arrive(one, number, number)
            for symbol, got in one.got.items():
                assert got == self.truth[symbol][one.since[symbol] :]
