"""What services tell each other through Redis: frozen, versioned, checked when read.

Prices cross as decimal text in canonical form (no exponent, the upstream's own digits), times as integer milliseconds
since the epoch. Everything is MessagePack by position, except `ServiceReport` and `ClusterMetrics`, which people read.

Whoever may write to Redis is trusted no further than that: a reader refuses what is too large before it looks into it,
and every number, text and decimal that a field could not have held, so that what it has accepted it can work with.
"""

from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeVar

import msgspec

T = TypeVar("T")

VERSION: Final = 1
"""Of every message below. A reader refuses another one."""

MAX_BUS_MESSAGE: Final = 8_388_608
"""Bytes of a publication, a session or a chart; a larger one is refused unread."""

MAX_BUS_ITEM: Final = 65_536
"""Bytes of one price, candle, trade or report."""

Whole = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""Whatever is added to it, it fits 64 bits."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Sums of them can be told to anybody."""

Figure = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Name = Annotated[str, msgspec.Meta(max_length=128)]
Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
"""Whether its characters are a symbol's is for `shared.symbols` to say, where one is new."""

DecimalText = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,128}(\.[0-9]{1,128})?\Z", max_length=256)]
EntryId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}-[0-9]{1,20}\Z")]

Side = Literal["buy", "sell"]
"""Of the taker, as the upstream says it."""

FeedState = Literal["live", "stale", "halted"]
"""Of a symbol: heard of lately, not heard of for `PRICE_STALE_MS`, or halted as its upstream said."""


class Price(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last price of one symbol and where it stands in the symbol's sequence.

    Attributes:
        price: canonical decimal text.
        ts: event time, ms.
        seq: counts the symbol's accepted source ticks; never goes back inside an epoch.
        n: source ticks folded into this update since the one published before it.
        bid, ask, amount: canonical decimal text, or None where the upstream gave none.
        side: taker side of the trade that made the price, if one did.
        venue: where it traded, if the upstream says.
        state: whether the symbol's feed is alive; a change of it alone keeps `seq` and moves `since`.
        since: ms, when `state` began; never goes back.
    """

    price: DecimalText
    ts: Whole
    seq: Whole
    n: Whole = 1
    bid: DecimalText | None = None
    ask: DecimalText | None = None
    amount: DecimalText | None = None
    side: Side | None = None
    venue: Name | None = None
    state: FeedState = "live"
    since: Whole = 0


class PriceBatch(msgspec.Struct, frozen=True, array_like=True):
    """One publication of one shard. A reader decodes only the prices that it needs.

    Attributes:
        version: `VERSION`.
        epoch: names the history that the `seq`s belong to.
        published: ms, the publisher's clock.
        prices: symbol -> encoded `Price`.
    """

    version: int
    epoch: Name
    published: Whole
    prices: dict[str, msgspec.Raw]


class Candle(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One candle. In Redis the state that price-ingest needs to revise it may follow the fields.

    Attributes:
        start: ms, inclusive; the end follows from the interval.
        open, high, low, close, volume: canonical decimal text.
        trades: how many are folded in.
        closed: whether its time is over. A late trade revises it: the same, still closed, with a higher `rev`.
        rev: rises with every change of any candle of the symbol; it begins with the clock, so that it rises also when
            Redis lost its data.
    """

    start: Whole
    open: DecimalText
    high: DecimalText
    low: DecimalText
    close: DecimalText
    volume: DecimalText
    trades: Whole
    closed: bool
    rev: Whole


class Chart(msgspec.Struct, frozen=True, array_like=True):
    """The candles of one symbol: those that are not closed (snapshot), or those that changed (publication).

    Candles without a trade are never stored or published: a reader that wants the gaps filled makes them.

    Attributes:
        lag: ms by which the symbol's event time is behind the clock of price-ingest (years in a replay); a candle is
            over when its end and the grace have passed on a clock that is so much slow.
        candles: interval -> in order of start.
    """

    lag: Whole
    candles: dict[str, list[Candle]]


class ChartBatch(msgspec.Struct, frozen=True, array_like=True):
    """One publication of one shard, as `PriceBatch`: symbol -> encoded `Chart`."""

    version: int
    epoch: Name
    published: Whole
    charts: dict[str, msgspec.Raw]


class Trade(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One accepted trade as the log keeps it.

    Attributes:
        id: the upstream's trade id, unique per venue and symbol.
        symbol: the upstream's symbol.
        amount, price: canonical decimal text.
        side: taker side, if the upstream says.
        ts: event time, ms.
        venue: where it traded, if the upstream says.
    """

    id: Name
    symbol: Symbol
    amount: DecimalText
    price: DecimalText
    side: Side | None
    ts: Whole
    venue: Name | None = None


class SavedSession(msgspec.Struct, frozen=True, array_like=True):
    """What a client that comes back to any gateway is restored from. Written and read by gateways.

    Attributes:
        version: `VERSION`.
        sid: its Socket.IO id.
        user: `sub` of its token, None without one.
        user_since: id in the user's log behind which its notifications begin.
        prices: symbol -> (whether in batches, interval in ms).
        trades: symbol -> id in the symbol's log behind which its trades begin.
        charts: symbol and interval of each.
        metrics: whether it is in the admin room.
        pace: how slow it was, as a step of the gateway's.
        closes: ms, when it was last disconnected for that.
    """

    version: int
    sid: str
    user: str | None = None
    user_since: EntryId = "0-0"
    prices: dict[Symbol, tuple[bool, Count]] = {}
    trades: dict[Symbol, EntryId] = {}
    charts: list[tuple[Symbol, str]] = []
    metrics: bool = False
    pace: Count = 0
    closes: list[Whole] = []


class ServiceReport(msgspec.Struct, frozen=True):
    """What one running service says of itself every two seconds.

    Attributes:
        service: `gateway`, `price-ingest`, `trade-notifier` or `metrics`.
        instance: unique per process.
        version: of Tickwire.
        at: ms, when it was written.
        started: ms.
        ready: what `/readyz` answers.
        ops_port: where `/livez`, `/readyz`, `/metrics` answer.
        memory: resident bytes.
        cpu: cores in use since the report before, 1.0 = one core.
        figures: the service's own numbers, by metric name.
        events: events received from clients, by name (gateway only).
        address: host:port that clients connect to (gateway only).
        pid: of the process, on its own machine.
    """

    service: Name
    instance: Name
    version: Name
    at: Whole
    started: Whole
    ready: bool
    ops_port: Count
    memory: Count
    cpu: Figure
    figures: dict[Name, Figure] = {}
    events: dict[Name, Count] = {}
    address: Name = ""
    pid: Count = 0


class ClusterMetrics(msgspec.Struct, frozen=True):
    """The `metrics` event's payload.

    Attributes:
        connections, rooms: sums over gateways.
        memory: bytes, sum over services.
        uptime: seconds since the oldest living service started.
        cpu: cores in use, sum over services.
        events: events received from clients, by name, sum over gateways.
        gateways: `{gateway, connections, rooms, memory, uptime, cpu, ready}` of each.
        services: `{service, instance, ready, memory, cpu, uptime}` of each.
    """

    connections: Whole
    memory: Whole
    uptime: float
    cpu: float
    rooms: Whole
    events: dict[Name, Whole]
    gateways: list[dict[Name, Name | Whole | float | bool]]
    services: list[dict[Name, Name | Whole | float | bool]]


encode = msgspec.msgpack.Encoder().encode
"""Any message that crosses as MessagePack -> bytes."""

DecodeError = msgspec.DecodeError
"""What each decoder below raises for bytes that are not its message (`ValidationError` is one too)."""


def _checked(
    decode: Callable[[bytes | msgspec.Raw], T], limit: int = MAX_BUS_ITEM
) -> Callable[[bytes | msgspec.Raw], T]:
    """One error for all: msgspec passes on Python's own for a text that is not UTF-8 and for deep nesting.

    What is beyond `limit` bytes is not looked into; a part of a message (`Raw`) was within its limit.
    """

    def decode_or_refuse(data: bytes | msgspec.Raw) -> T:
        if type(data) is bytes and len(data) > limit:
            raise DecodeError(f"{len(data)} bytes, more than {limit}")
        try:
            return decode(data)
        except (UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(type(error).__name__) from error

    return decode_or_refuse


decode_price = _checked(msgspec.msgpack.Decoder(Price).decode)
decode_price_batch = _checked(msgspec.msgpack.Decoder(PriceBatch).decode, MAX_BUS_MESSAGE)
decode_candle = _checked(msgspec.msgpack.Decoder(Candle).decode)
decode_chart = _checked(msgspec.msgpack.Decoder(Chart).decode, MAX_BUS_MESSAGE)
decode_chart_batch = _checked(msgspec.msgpack.Decoder(ChartBatch).decode, MAX_BUS_MESSAGE)
decode_trade = _checked(msgspec.msgpack.Decoder(Trade).decode)
decode_session = _checked(msgspec.msgpack.Decoder(SavedSession).decode, MAX_BUS_MESSAGE)
encode_json = msgspec.json.Encoder().encode
decode_report = _checked(msgspec.json.Decoder(ServiceReport).decode)
decode_cluster_metrics = _checked(msgspec.json.Decoder(ClusterMetrics).decode, MAX_BUS_MESSAGE)


def decoder_of(kind: type[T], limit: int = MAX_BUS_ITEM) -> Callable[[bytes | msgspec.Raw], T]:
    """A decoder of what only one service writes and reads, with the same error and limits."""
    return _checked(msgspec.msgpack.Decoder(kind).decode, limit)
