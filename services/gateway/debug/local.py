"""What this gateway knows of a symbol and of one of its clients. Changes nothing; feeds `judgement.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from services.gateway.chart_feed import ChartFeed
from services.gateway.client import Client
from services.gateway.connection import EngineConnection
from services.gateway.cursor import BEGINNING, id_of, ms_of
from services.gateway.debug.facts import Chart, ClientState, Here, Wanted
from services.gateway.delayed_prices import DelayedPrices
from services.gateway.delayed_subscriber import DelayedSubscriber
from services.gateway.log_window import LogWindow
from services.gateway.market import Market
from services.gateway.member import Member
from services.gateway.outbox import NOT_BEHIND
from services.gateway.polling import Polling
from services.gateway.price_feed import PriceFeed
from services.gateway.server import Server
from services.gateway.trade_feed import TradeFeed
from services.gateway.websocket import WebSocket
from services.gateway.windows import Windows
from shared.clock import Clock
from shared.names import events


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a gateway that are looked at."""

    server: Server
    market: Market
    prices: PriceFeed
    trades: TradeFeed
    window: LogWindow
    charts: ChartFeed
    subscriber: DelayedSubscriber
    delayed: DelayedPrices
    windows: Windows
    clock: Clock
    loop_time: Callable[[], float]
    ping_every_s: float


class LocalFacts:
    """Looks at the parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def find(self, sid: str) -> Client | None:
        """The client with this Socket.IO id. Looks at each: whoever debugs can wait for that, memory is dearer."""
        for connection in self._parts.server.connections:
            client = connection.application
            if isinstance(client, Client) and isinstance(client.member, Member) and client.member.sid == sid:
                return client
        return None

    def here(self, symbol: str) -> Here:
        """What there is of a symbol, whoever wants it."""
        parts, now_ms = self._parts, self._parts.clock.now_ms()
        shard = parts.prices.state_of(symbol)
        price = parts.market.find(symbol)
        number = parts.trades.trades_log(symbol)
        newest, floor = parts.window.newest(events.trades_room(symbol)), parts.window.floors[number]
        return Here(
            price_shard=shard.shard,
            subscribed=shard.subscribed,
            live=shard.live,
            deaf_s=shard.silent_s,
            published_age_s=(now_ms - shard.published_ms) / 1000 if shard.published_ms else None,
            watched=parts.market.is_watched(symbol),
            epoch=parts.market.epoch,
            seq=None if price is None else price.seq,
            trade_log=number,
            log_position=id_of(parts.trades.positions[number]),
            last_trade=None if newest is None else id_of(newest.position),
            last_trade_age_s=None if newest is None else (now_ms - ms_of(newest.position)) / 1000,
            trades_kept_s=None if floor == BEGINNING else max(0.0, (now_ms - ms_of(floor)) / 1000),
            charts_live=parts.charts.is_live(symbol),
        )

    def client(self, client: Client) -> ClientState:
        """How one client stands, whatever the symbol."""
        member, connection, outbox = _member(client), client.connection, client.outbox
        subscriptions, pace = member.subscriptions, outbox.pace
        now = self._parts.loop_time()
        behind_since = None if pace is None else pace.behind_since
        unsent, full_since = _unsent(connection)
        return ClientState(
            transport=connection.transport.value,
            age_s=now - connection.opened_at,
            authenticated=member.identity is not None,
            token_expires_in_s=member.identity.expires - self._parts.clock.now_ms() / 1000 if member.identity else None,
            restricted=subscriptions.rights.symbols is not None,
            delay_s=subscriptions.delay_s,
            whole_market=outbox in self._parts.windows.crowd(subscriptions.pace_ms),
            subscriptions=len(subscriptions),
            pace_ms=subscriptions.pace_ms,
            behind_s=now - behind_since if outbox.behind and behind_since is not None else None,
            stalled_s=None if full_since is None else now - full_since,
            unsent_bytes=unsent + sum(map(len, outbox.queue)),
            owed_prices=len((outbox.owed_prices or {}).keys() | (outbox.owed_batches or {}).keys()),
            replaying=outbox.replaying,
            last_pong_s=now - connection.last_pong,
            ping_every_s=self._parts.ping_every_s,
        )

    def wanted(self, client: Client, symbol: str) -> Wanted:
        """What one client has of a symbol."""
        parts, member, outbox = self._parts, _member(client), client.outbox
        subscriptions = member.subscriptions
        delivery = subscriptions.prices().get(symbol)
        price = parts.delayed.market_of(outbox).find(symbol)
        form: Literal["update", "batch"] | None = None
        if delivery is not None:
            form = "batch" if delivery.as_batch else "update"
        rooms = events.trades_room(symbol), events.delayed_trades_room(subscriptions.delay_s, symbol)
        charts = [
            Chart(interval, series.ready, series.rev)
            for (name, interval), series in subscriptions.charts().items()
            if name == symbol
        ]
        return Wanted(
            granted=subscriptions.rights.allows(symbol),
            price=form,
            interval_ms=None if delivery is None else parts.subscriber.granted_ms(subscriptions, delivery),
            seq=None if price is None else price.seq,
            trades=symbol in subscriptions.trades(),
            joined=any(room in outbox.rooms for room in rooms),
            trades_owed_from=self._owed(outbox.log_position, rooms[0]),
            trades_kept=outbox.log_position == NOT_BEHIND or parts.window.holds(outbox.log_position),
            charts=charts,
        )

    def _owed(self, log_position: int, room: str) -> str | None:
        if log_position == NOT_BEHIND:
            return None
        owed = next(self._parts.window.since(log_position, [room]), None)
        return None if owed is None else id_of(owed.position)


def _member(client: Client) -> Member:
    assert isinstance(client.member, Member), "`find` has seen to it"
    return client.member


def _unsent(connection: EngineConnection) -> tuple[int, float | None]:
    carrier = connection.carrier
    if isinstance(carrier, WebSocket | Polling):
        return carrier.unsent_bytes, carrier.full_since
    return 0, None
