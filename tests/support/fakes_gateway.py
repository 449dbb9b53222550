"""What the gateway's unit tests stand on: a loop moved by hand, scripted carriers, and a whole gateway without I/O."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from typing import Any, Final, Literal, cast

import jwt
import msgspec

from protocol.engineio.session import SessionSettings, Transport
from protocol.socketio.connection import ConnectionSettings
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.packets import Ack, Connect, Event, Packet, Value
from protocol.socketio.parser import Limits, MessageData, Parsers, Pending
from services.gateway.arrivals import Arrivals, Greeting
from services.gateway.batches import batch_writers
from services.gateway.catalogue import Catalogue
from services.gateway.catch_up import CatchUp
from services.gateway.chart_answers import ChartAnswers
from services.gateway.chart_fanout import ChartFanout
from services.gateway.chart_feed import ChartFeed
from services.gateway.chart_requests import ChartRequests
from services.gateway.charts import Series
from services.gateway.client import Client
from services.gateway.connection import EngineConnection, Host
from services.gateway.deadlines import Deadlines
from services.gateway.delayed_history import STEP_S
from services.gateway.delayed_prices import PHASES, DelayedPrices
from services.gateway.delayed_subscriber import DelayedSubscriber
from services.gateway.delayed_trades import DelayedTrades
from services.gateway.encoding import Encoder
from services.gateway.fanout import Fanout
from services.gateway.frames import frame_messages
from services.gateway.handlers import Handlers
from services.gateway.hub import Hub
from services.gateway.limits import EventRates
from services.gateway.log_fanout import LogFanout
from services.gateway.market import Change, Market
from services.gateway.outbox import Flusher, Outbox
from services.gateway.pacing import Pacer
from services.gateway.payloads import Payloads
from services.gateway.price_feed import PriceFeed
from services.gateway.recovery import Claim, Gap, Missed, Recovery, Restored
from services.gateway.sessions import Session, Sessions
from services.gateway.subscriptions import Audience, Subscriptions
from services.gateway.tokens import Tokens
from services.gateway.trade_feed import TradeFeed
from services.gateway.users import UserLimits, Users
from services.gateway.windows import Windows
from shared.bus.entries import StreamEntry
from shared.bus.redis_bus import RedisBus
from shared.identity import AuthSettings, TokenVerifier
from shared.messages import Candle, Chart, Price, SavedSession, Trade, encode
from shared.names.close_reasons import CloseReason
from tests.support.manual_clock import ManualClock
from tests.support.manual_loop import ManualLoop

NOW_MS: Final = 1_800_000_000_000
SECRET: Final = "a secret of at least thirty-two bytes"
PARSERS: Final = Parsers(JsonParser(Limits()), MsgpackParser(Limits()))
GRACE_S: Final = 25
MAX_DELAY_S: Final = 900
SHARDS: Final = 2
"""Logs of trades, and of users."""

ParserName = Literal["json", "msgpack"]


@dataclass(eq=False)
class FakeLink:
    """A `Link` that keeps what it is given; `full_after` writes it is no more writable."""

    writable: bool = True
    full_after: float = inf
    written: list[bytes] = field(default_factory=list)
    endings: list[CloseReason] = field(default_factory=list)

    def write(self, frames: bytes) -> None:
        self.written.append(frames)
        self.full_after -= 1
        if self.full_after <= 0:
            self.writable = False

    def end(self, reason: CloseReason) -> None:
        self.endings.append(reason)


@dataclass(eq=False)
class FakeCarrier:
    """A `Carrier` that keeps what it is given."""

    writable: bool = True
    deadline: float = inf
    written: list[bytes] = field(default_factory=list)
    closed: list[CloseReason] = field(default_factory=list)
    deadlines_handled: list[float] = field(default_factory=list)
    waiting: bytes = b""
    releases: int = 0

    def write(self, frames: bytes) -> None:
        self.written.append(frames)

    def release(self) -> None:
        self.releases += 1

    def take_waiting(self) -> bytes:
        waiting, self.waiting = self.waiting, b""
        return waiting

    def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)

    def next_deadline(self) -> float:
        return self.deadline

    def handle_deadline(self, now: float) -> None:
        self.deadlines_handled.append(now)
        if now >= self.deadline:
            self.deadline = inf


def read_frames(data: bytes) -> Iterator[MessageData]:
    """The payloads of unmasked frames: text as str."""
    while data:
        first, length, start = data[0], data[1], 2
        if length == 126:
            length, start = int.from_bytes(data[2:4]), 4
        elif length == 127:
            length, start = int.from_bytes(data[2:10]), 10
        payload, data = data[start : start + length], data[start + length :]
        yield payload.decode() if first & 0x0F == 1 else payload


def read_packets(data: bytes, parser: int) -> list[Packet]:
    """The Socket.IO packets in written frames; Engine.IO's own packets are left out."""
    packets: list[Packet] = []
    pending: Pending | None = None
    for frame in read_frames(data):
        if isinstance(frame, str) and not frame.startswith("4"):
            continue
        decoded = PARSERS[parser].decode(frame[1:] if isinstance(frame, str) else frame, pending)
        pending = decoded if isinstance(decoded, Pending) else None
        if not isinstance(decoded, Pending):
            packets.append(decoded)
    return packets


def read_events(data: bytes, parser: int = 0) -> list[tuple[Any, ...]]:
    """The events in written frames as (name, *args)."""
    return [(packet.name, *packet.args) for packet in read_packets(data, parser) if isinstance(packet, Event)]


class MarketFeed:
    """`PriceFeed` as far as clients see it, without Redis."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.live = True

    def watch(self, symbol: str) -> None:
        self.market.watch(symbol)

    def unwatch(self, symbol: str) -> None:
        self.market.unwatch(symbol)

    def is_live(self, _symbol: str) -> bool:
        return self.live


class ChartSource:
    """`ChartFeed` as far as requests see it, without Redis: the test makes charts ready."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.charts: dict[tuple[str, str], Series] = {}
        self.watchers: dict[Series, int] = {}

    def __len__(self) -> int:
        return len(self.charts)

    def watch(self, symbol: str, interval: str) -> Series | None:
        series = self.charts.get((symbol, interval))
        if series is None:
            if len(self.charts) == self.most:
                return None
            series = self.charts[symbol, interval] = Series(symbol, interval, fill=False, grace_ms=500)
        self.watchers[series] = self.watchers.get(series, 0) + 1
        return series

    def unwatch(self, series: Series) -> None:
        self.watchers[series] -= 1


class KeptSessions:
    """`Sessions` as far as clients see it, without Redis: what is saved is saved at once.

    Attributes:
        saved: by pid, what Redis would have.
        held: what clients were asked not to hear before they were saved.
        ended: sessions whose clients left, and whether for good.
    """

    def __init__(self, drained: Callable[[Outbox], None]) -> None:
        self._drained = drained
        self.saved: dict[str, SavedSession] = {}
        self.held: list[Session] = []
        self.ended: list[tuple[Session, bool]] = []

    def begin(self, sid: str, subscriptions: Subscriptions) -> Session:
        return Session(f"pid of {sid}", sid, "owner", subscriptions)

    def resume(self, pid: str, sid: str, owner: str, subscriptions: Subscriptions) -> Session:
        return Session(pid, sid, owner, subscriptions)

    def hold(self, session: Session) -> None:
        self.held.append(session)
        session.outbox.hold()

    def save(self, session: Session) -> None:
        if not session.is_open:
            return
        self.saved[session.pid] = session.record()
        if session.outbox.release():
            self._drained(session.outbox)

    def end(self, session: Session, *, for_good: bool) -> None:
        self.ended.append((session, for_good))

    def forget(self, session: Session) -> None:
        self.end(session, for_good=True)
        session.is_open = False
        if session.outbox.release():
            self._drained(session.outbox)


class Recoveries:
    """`Recovery` as far as clients see it: the test says what comes of each.

    Attributes:
        begun: what clients brought, whom to tell the outcome, and whom that nothing is missing.
        outboxes_drained: those that take more.
    """

    def __init__(self) -> None:
        self.begun: list[tuple[Claim, Callable[[Restored | Gap], None], Callable[[Missed], None]]] = []
        self.outboxes_drained: list[Outbox] = []

    def begin(self, claim: Claim, enter: Callable[[Restored | Gap], None], join: Callable[[Missed], None]) -> None:
        self.begun.append((claim, enter, join))

    def drained(self, outbox: Outbox) -> None:
        self.outboxes_drained.append(outbox)


class GatewayParts:
    """A gateway as `app.py` builds it, on a manual loop and without feeds or sockets."""

    def __init__(  # noqa: PLR0913 - what the tests vary
        self,
        audience: Audience = "off",
        *,
        auth_mode: Literal["optional", "required"] = "optional",
        decimals: Literal["number", "string"] = "number",
        max_queued_bytes: int = 100_000,
        window_bytes: int = 1_000_000,
        rates: Mapping[str, float] | None = None,
        rate: float = 1_000,
        max_subscriptions: int = 200,
        max_charts: int = 100,
        phases: int = 1,
        symbols: Sequence[str] = (),
    ) -> None:
        self.loop = ManualLoop()
        self.clock = ManualClock(NOW_MS / 1000)
        self.endings: list[CloseReason] = []
        self.encoder = Encoder(PARSERS)
        self.payloads = Payloads(decimals)
        self.hub = Hub()
        self.market = Market(everything=audience == "everyone")
        self.flusher = Flusher(self.loop.as_loop, max_queued_bytes)
        self.fanout = Fanout(self.hub, self.encoder, self.payloads, self.flusher)
        self._make_log(window_bytes)
        writers = batch_writers(self.encoder, self.payloads)
        self.windows = Windows(100, self.market, self.fanout, writers, self.flusher, self.clock, phases=phases)
        self.catalogue = Catalogue(cast("RedisBus", None), symbols)
        self._make_charts(max_subscriptions, max_charts)
        self.catch_up = CatchUp(
            self.market, self.fanout, self.chart_fanout, self.flusher, self.log_fanout.window, self.clock
        )
        self.feed = MarketFeed(self.market)
        self._make_delayed(audience)
        self.pacer = Pacer(self.loop.as_loop, self.subscriber, self.encoder, self.fanout.delivered, 100)
        self._make_identities()
        self.arrivals = self._make_arrivals(auth_mode)
        self.handlers = self._make_handlers(EventRates(rate, rate, rates or {}), max_subscriptions)
        deadlines = Deadlines(self.loop.as_loop)
        self.host = Host(self.loop.as_loop, deadlines, SessionSettings(), lambda _, why: self.endings.append(why))

    def _make_identities(self) -> None:
        self.revoked: set[str] = set()
        verifier = TokenVerifier(AuthSettings(jwt_secret=SECRET))
        self.tokens = Tokens(verifier, lambda who: who.user_id in self.revoked, self.clock, GRACE_S, MAX_DELAY_S)
        self.users = Users(self.loop.as_loop, cast("RedisBus", None), "gateway-1", UserLimits(0, 0, 0))

    def _make_log(self, window_bytes: int) -> None:
        self.log_fanout = LogFanout(
            self.hub,
            self.encoder,
            self.payloads,
            self.flusher,
            self.fanout.delivered,
            window_bytes=window_bytes,
            shards=SHARDS,
        )
        self.log_feed = TradeFeed(cast("RedisBus", None), "gateway-1", self.clock, self.log_fanout, SHARDS)
        self.sessions = KeptSessions(lambda outbox: self.handlers.drained(outbox))  # noqa: PLW0108 - made below
        self.recovery = Recoveries()
        self._entries = count(1)

    def _make_delayed(self, audience: Audience) -> None:
        feed = cast("PriceFeed", self.feed)
        self.delayed_prices = DelayedPrices(
            self.hub,
            self.market,
            feed,
            self.fanout,
            self.flusher,
            self.clock,
            lambda: batch_writers(self.encoder, self.payloads),
            longest_s=MAX_DELAY_S,
            max_bytes=1_000_000,
        )
        self.delayed_trades = DelayedTrades(
            cast("RedisBus", None), self.clock, self.hub, self.log_fanout, self.log_feed, self.fanout.delivered
        )
        self.subscriber = DelayedSubscriber(
            self.hub,
            self.market,
            feed,
            self.fanout,
            self.windows,
            audience,
            self.clock,
            delayed=self.delayed_prices,
        )
        self.catch_up.market_of = self.delayed_prices.market_of

    def _make_charts(self, max_subscriptions: int, max_charts: int) -> None:
        self.chart_fanout = ChartFanout(self.hub, self.encoder, self.payloads, self.flusher, self.fanout.delivered)
        answers = ChartAnswers(self.encoder, self.payloads)
        self.charts = ChartRequests(self.chart_fanout, answers, self.flusher, self.catalogue, max_subscriptions)
        self.chart_source = ChartSource(max_charts)
        self.charts.read_from(cast("ChartFeed", self.chart_source))

    def _make_arrivals(self, auth_mode: Literal["optional", "required"]) -> Arrivals:
        return Arrivals(
            greeting=Greeting("gateway-1", "1.2.3"),
            clock=self.clock,
            hub=self.hub,
            subscriber=self.subscriber,
            delayed_trades=self.delayed_trades,
            pacer=self.pacer,
            charts=self.charts,
            feed=self.log_feed,
            sessions=cast("Sessions", self.sessions),
            recovery=cast("Recovery", self.recovery),
            tokens=self.tokens,
            auth_mode=auth_mode,
            users=self.users,
        )

    def _make_handlers(self, rates: EventRates, max_subscriptions: int) -> Handlers:
        return Handlers(
            hub=self.hub,
            windows=self.windows,
            subscriber=self.subscriber,
            charts=self.charts,
            catch_up=self.catch_up,
            pacer=self.pacer,
            arrivals=self.arrivals,
            tokens=self.tokens,
            catalogue=self.catalogue,
            rates=rates,
            max_subscriptions=max_subscriptions,
            max_symbols=5,
            users=self.users,
        )

    def outbox(self, parser: int = 0) -> tuple[Outbox, FakeLink]:
        """An outbox with nothing behind it."""
        link = FakeLink()
        return Outbox(link, self.flusher, parser), link

    def pass_steps(self, steps: int) -> None:
        """Let time pass for what is kept back: so many steps of its sampling."""
        for _ in range(steps * PHASES):
            self.clock.seconds += STEP_S / PHASES
            self.delayed_prices.turn()
            self.loop.turn()

    def publish(self, symbol: str, seq: int, price: str = "") -> None:
        """A price arrives, as from the price feed."""
        self.deliver(self.market.apply(self.encoded(symbol, make_price(seq, price))))

    def encoded(self, symbol: str, price: Price) -> dict[str, msgspec.Raw]:
        """A price as a publication has it."""
        return {symbol: msgspec.Raw(encode(price))}

    def trade(self, symbol: str, trade: Trade) -> None:
        """An entry of a log of trades arrives, as from the trade feed."""
        self._log(self.log_feed.trades_log(symbol), {b"s": symbol.encode(), b"d": encode(trade)})

    def notification(self, user_id: str, trade: Trade) -> None:
        """An entry of a log of users arrives."""
        self._log(self.log_feed.user_log(user_id), {b"u": user_id.encode(), b"d": encode(trade)})

    def _log(self, number: int, fields: dict[bytes, bytes]) -> None:
        self.log_feed._take(number, StreamEntry(f"{NOW_MS}-{next(self._entries)}", fields))

    def deliver(self, changes: Sequence[Change]) -> None:
        """What `app.py` does with changes."""
        for symbol, price, base in changes:
            self.fanout.price(symbol, price, base)
            self.windows.note(symbol, base)

    def load_chart(self, symbol: str, interval: str, *candles: Candle) -> Series:
        """All of a chart is read: the last of the candles may be unclosed."""
        series = self.chart_source.charts[symbol, interval]
        closed = [candle for candle in candles if candle.closed]
        forming = [candle for candle in candles if not candle.closed]
        bars = series.load(Chart(0, {interval: forming}), closed, self.clock.now_ms())
        self.chart_fanout.send(series, bars)
        self.charts.ready(series)
        self.loop.turn()
        return series

    def publish_chart(self, symbol: str, interval: str, *candles: Candle) -> None:
        """Candles arrive, as from the chart feed."""
        series = self.chart_source.charts[symbol, interval]
        self.chart_fanout.send(series, series.apply(Chart(0, {interval: list(candles)})))

    def drain(self, outbox: Outbox) -> None:
        """The client's socket takes more again."""
        assert isinstance(outbox.link, FakeLink)
        outbox.link.writable = True
        self.handlers.drained(outbox)


class Peer:
    """A Socket.IO client on a scripted carrier: says packets, reads what the gateway wrote.

    Attributes:
        cursors: those that came with events, in order.
    """

    def __init__(self, gateway: GatewayParts, parser: ParserName = "json", *, is_from_python: bool = False) -> None:
        self.gateway = gateway
        self.parser = 0 if parser == "json" else 1
        self.carrier = FakeCarrier()
        self.cursors: list[str] = []
        self.connection = EngineConnection(
            gateway.host, self.carrier, "secret-sid", Transport.WEBSOCKET, is_from_python=is_from_python
        )
        settings = ConnectionSettings(parsers=PARSERS)
        self.client = Client(self.connection, settings, gateway.encoder, gateway.flusher, gateway.handlers)
        self.connection.open(self.client)
        self.carrier.written.clear()
        self._ack_id = 0

    @property
    def outbox(self) -> Outbox:
        return self.client.outbox

    def say(self, packet: Packet) -> None:
        """Send one packet and let the gateway finish its turn."""
        for data in PARSERS[self.parser].encode(packet):
            self.connection.receive_frame("4" + data if isinstance(data, str) else data)
        self.gateway.loop.turn()

    def join(self, **auth: Value) -> list[Packet]:
        """CONNECT; returns what came back."""
        self.say(Connect(data=auth))
        return self.packets()

    def tell(self, event: str, *args: Value) -> list[tuple[Any, ...]]:
        """Send an event without ack; returns the events that came back."""
        self.say(Event(event, args))
        return self.events()

    def ask(self, event: str, *args: Value) -> Any:
        """Send an event with ack; returns the ack's object. Events that came with it stay unread."""
        self._ack_id += 1
        self.say(Event(event, args, ack_id=self._ack_id))
        for index, frames in enumerate(self.carrier.written):
            kept: list[Packet] = []
            for packet in read_packets(frames, self.parser):
                if isinstance(packet, Ack) and packet.ack_id == self._ack_id:
                    (answer,) = packet.args
                else:
                    kept.append(packet)
            self.carrier.written[index] = b"".join(map(self._frame, kept))
        return answer

    def packets(self) -> list[Packet]:
        """Everything unread; cursors are taken off their events and kept in `cursors`."""
        written, self.carrier.written = b"".join(self.carrier.written), []
        return [self._without_cursor(packet) for packet in read_packets(written, self.parser)]

    def events(self) -> list[tuple[Any, ...]]:
        """Unread events as (name, *args); other packets are dropped."""
        return [(packet.name, *packet.args) for packet in self.packets() if isinstance(packet, Event)]

    def stall(self) -> None:
        """The socket is full from the next write on."""
        self.carrier.writable = False

    def drain(self) -> None:
        """It takes more again."""
        self.carrier.writable = True
        self.connection.drained()
        self.gateway.loop.turn()

    def _without_cursor(self, packet: Packet) -> Packet:
        if not isinstance(packet, Event) or not packet.args or not isinstance(packet.args[-1], str):
            return packet
        self.cursors.append(packet.args[-1])
        return replace(packet, args=packet.args[:-1])

    def _frame(self, packet: Packet) -> bytes:
        return frame_messages(PARSERS[self.parser].encode(packet))


def make_price(seq: int, price: str = "") -> Price:
    """The price number `seq` of a symbol."""
    return Price(price or f"{seq}.10", NOW_MS + seq, seq)


def make_candle(start: int, rev: int, close: str = "1.50", *, closed: bool = True, trades: int = 3) -> Candle:
    """A candle that begins at `start` ms."""
    return Candle(start, "1.00", "2.50", "0.50", close, "10.00", trades, closed, rev)


def make_trade(number: int, symbol: str = "BTC-USDT") -> Trade:
    """The trade number `number` of a symbol."""
    return Trade(str(number), symbol, "0.50", "64000.10", "buy", NOW_MS + number)


def make_token(user_id: str = "alice", role: str | None = None, lifetime_s: int = 3600, **claims: Any) -> str:
    """A token that the gateway's verifier accepts."""
    issued = NOW_MS // 1000
    payload = {"sub": user_id, "role": role, "iat": issued, "exp": issued + lifetime_s, **claims}
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, SECRET)
