"""Builds a gateway out of its parts, starts and stops it, and says how it is doing."""

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Final

from protocol.engineio.session import SessionSettings
from protocol.socketio.connection import ConnectionSettings
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.parser import Limits, Parsers
from services.gateway.arrivals import Arrivals, Greeting
from services.gateway.batches import batch_writers
from services.gateway.catalogue import Catalogue
from services.gateway.catch_up import CatchUp
from services.gateway.chart_answers import ChartAnswers
from services.gateway.chart_fanout import ChartFanout
from services.gateway.chart_feed import ChartFeed, ChartRules
from services.gateway.chart_requests import ChartRequests
from services.gateway.client import Client
from services.gateway.connection import Application, EngineConnection
from services.gateway.delayed_prices import DelayedPrices
from services.gateway.delayed_subscriber import DelayedSubscriber
from services.gateway.delayed_trades import DelayedTrades
from services.gateway.encoding import Encoder
from services.gateway.fanout import Fanout
from services.gateway.handlers import Handlers
from services.gateway.hub import Hub
from services.gateway.limits import EventRates
from services.gateway.log_fanout import LogFanout
from services.gateway.market import Change, Market
from services.gateway.metrics_feed import MetricsFeed
from services.gateway.outbox import Flusher, Outbox
from services.gateway.pacing import Pacer
from services.gateway.payloads import Payloads
from services.gateway.phases import phases_of
from services.gateway.price_feed import PriceFeed
from services.gateway.recovery import Recovery
from services.gateway.server import Mount, Server, ServerSettings
from services.gateway.sessions import Sessions
from services.gateway.settings import GatewaySettings
from services.gateway.tokens import Tokens
from services.gateway.trade_feed import TradeFeed
from services.gateway.users import UserLimits, Users
from services.gateway.vitals import Feeds, Vitals
from services.gateway.websocket import WebSocketLimits
from services.gateway.windows import Windows
from shared.bus.retrying import keep_trying
from shared.identity import AuthSettings, KeySource, TokenVerifier
from shared.lifecycle import Runtime
from shared.log import get_logger
from shared.revocations import Revocations

log = get_logger(__name__)

SOCKET_IO_PATH: Final = "/socket.io/"


class GatewayApp:
    """One gateway."""

    def __init__(self, runtime: Runtime, settings: GatewaySettings, auth: AuthSettings) -> None:
        self._runtime = runtime
        self._settings = settings
        everything = settings.price_batch_audience == "everyone"
        parsers = _parsers(settings)
        encoder = Encoder(parsers)
        payloads = Payloads(settings.decimals)
        hub = Hub()
        market = Market(everything=everything)
        flusher = Flusher(asyncio.get_running_loop(), settings.max_buffered_bytes)
        self._fanout = Fanout(hub, encoder, payloads, flusher)
        log_fanout = self._make_log_fanout(hub, encoder, payloads, flusher)
        self._windows = self._make_windows(market, encoder, payloads, flusher)
        self._vitals = Vitals(runtime.telemetry)
        self._prices = self._make_price_feed(market, everything=everything)
        self._trades = TradeFeed(runtime.bus, runtime.instance, runtime.clock, log_fanout, runtime.common.trade_shards)
        self._metrics = MetricsFeed(runtime.bus, self._fanout)
        chart_fanout = ChartFanout(hub, encoder, payloads, flusher, self._fanout.delivered)
        answers = ChartAnswers(encoder, payloads)
        self._catalogue = Catalogue(runtime.bus, settings.symbols)
        self._chart_requests = ChartRequests(
            chart_fanout, answers, flusher, self._catalogue, settings.max_subscriptions
        )
        self._charts = self._make_chart_feed(chart_fanout)
        self._chart_requests.read_from(self._charts)
        subscriber = self._make_subscriber(hub, market, encoder, payloads, flusher)
        self._delayed_trades = self._make_delayed_trades(hub, log_fanout)
        catch_up = CatchUp(market, self._fanout, chart_fanout, flusher, log_fanout.window, runtime.clock)
        self._users = self._make_users()
        catch_up.market_of = self._delayed_prices.market_of
        self._sessions = self._make_sessions(lambda outbox: handlers.drained(outbox), log_fanout)  # noqa: PLW0108 - made below
        recovery = Recovery(runtime.bus, self._sessions, self._trades, log_fanout, flusher, runtime.tasks.spawn)
        pacer = Pacer(asyncio.get_running_loop(), subscriber, encoder, self._fanout.delivered, settings.price_batch_ms)
        self._keys = KeySource(auth)
        self._revocations = Revocations(runtime.bus, runtime.clock, runtime.telemetry)
        self._tokens = Tokens(
            TokenVerifier(auth, self._keys),
            self._revocations.refuses,
            runtime.clock,
            settings.auth_grace_ms / 1000,
            settings.max_delay_seconds,
        )
        arrivals = self._make_arrivals(hub, subscriber, pacer, recovery)
        handlers = self._make_handlers(hub, subscriber, catch_up, pacer, arrivals)
        socket_settings = ConnectionSettings(parsers=parsers, connect_timeout=settings.connect_timeout_ms / 1000)
        self._server = self._make_server(
            lambda connection: Client(connection, socket_settings, encoder, flusher, handlers)
        )
        feeds = Feeds(self._prices, self._charts, self._metrics)
        self._vitals.watch(self._server, hub, handlers, self._fanout, flusher, feeds)
        self._vitals.watch_tokens(self._tokens)
        self._vitals.watch_log(log_fanout, self._trades, self._sessions, recovery)
        self._vitals.watch_delayed(self._delayed_prices, self._delayed_trades)
        self._address = ""

    async def start(self) -> None:
        """Read the last minutes of the logs, then let clients in."""
        tasks = self._runtime.tasks
        await keep_trying("trade-feed-start", self._trades.start)
        await self._catalogue.start()
        await self._revocations.start()
        await self._keys.start()
        tasks.spawn("price-feed", self._prices.run())
        self._runtime.health.add_check("prices", self._prices.check)
        self._runtime.health.add_check("keys", self._keys.check)
        tasks.spawn("keys", self._keys.run())
        tasks.spawn("revocations", self._revocations.run(lambda _revoked: self._tokens.end_revoked()))
        tasks.spawn("trade-feed", self._trades.run())
        tasks.spawn("catalogue", self._catalogue.run())
        tasks.spawn("delayed-prices", self._delayed_prices.run())
        tasks.spawn("delayed-trades", self._delayed_trades.run())
        tasks.spawn("sessions", self._sessions.run())
        tasks.spawn("users", self._users.run())
        tasks.spawn("metrics-feed", self._metrics.run())
        tasks.spawn("chart-feed", self._charts.run())
        tasks.spawn("chart-requests", self._chart_requests.run())
        self._windows.start()
        settings = self._settings
        port = await self._server.start(settings.gateway_host, settings.gateway_port)
        self._address = f"{settings.gateway_host}:{port}"
        log.info("listening", address=self._address, path=SOCKET_IO_PATH)

    async def stop(self) -> None:
        """Let clients go."""
        self._windows.stop()
        await self._server.stop()
        await self._trades.leave()

    def fill_report(self, report: dict[str, Any]) -> None:
        """Add the gateway's figures."""
        self._vitals.fill_report(report)
        report["address"] = self._address

    def _make_price_feed(self, market: Market, *, everything: bool) -> PriceFeed:
        runtime = self._runtime
        return PriceFeed(
            runtime.bus,
            runtime.clock,
            market,
            self._deliver,
            shards=runtime.common.price_shards,
            everything=everything,
            observe_age=self._vitals.observe_age,
        )

    def _make_subscriber(
        self, hub: Hub, market: Market, encoder: Encoder, payloads: Payloads, flusher: Flusher
    ) -> DelayedSubscriber:
        settings, clock = self._settings, self._runtime.clock
        self._delayed_prices = DelayedPrices(
            hub,
            market,
            self._prices,
            self._fanout,
            flusher,
            clock,
            lambda: batch_writers(encoder, payloads),
            longest_s=settings.max_delay_seconds,
            max_bytes=settings.delayed_prices_bytes,
        )
        return DelayedSubscriber(
            hub,
            market,
            self._prices,
            self._fanout,
            self._windows,
            settings.price_batch_audience,
            clock,
            delayed=self._delayed_prices,
        )

    def _make_delayed_trades(self, hub: Hub, log_fanout: LogFanout) -> DelayedTrades:
        runtime, delivered = self._runtime, self._fanout.delivered
        return DelayedTrades(runtime.bus, runtime.clock, hub, log_fanout, self._trades, delivered)

    def _make_chart_feed(self, fanout: ChartFanout) -> ChartFeed:
        settings, common = self._settings, self._runtime.common
        return ChartFeed(
            self._runtime.bus,
            self._runtime.clock,
            fanout,
            self._chart_requests.ready,
            shards=common.price_shards,
            rules=ChartRules(settings.max_charts, settings.candle_fill_gaps, common.candle_grace_ms),
        )

    def _make_windows(self, market: Market, encoder: Encoder, payloads: Payloads, flusher: Flusher) -> Windows:
        batch_ms = self._settings.price_batch_ms
        writers = batch_writers(encoder, payloads)
        clock = self._runtime.clock
        return Windows(batch_ms, market, self._fanout, writers, flusher, clock, phases=phases_of(batch_ms))

    def _make_log_fanout(self, hub: Hub, encoder: Encoder, payloads: Payloads, flusher: Flusher) -> LogFanout:
        return LogFanout(
            hub,
            encoder,
            payloads,
            flusher,
            self._fanout.delivered,
            window_bytes=self._settings.log_window_bytes,
            shards=self._runtime.common.trade_shards,
        )

    def _make_sessions(self, resume: Callable[[Outbox], None], log_fanout: LogFanout) -> Sessions:
        return Sessions(
            self._runtime.bus,
            self._runtime.instance,
            self._settings.recovery_seconds,
            resume=resume,
            beat=lambda session: log_fanout.beat(session.outbox, self._trades.cursor),
        )

    def _make_users(self) -> Users:
        settings = self._settings
        limits = UserLimits(
            settings.max_connections_per_user, settings.rate_limit_user, settings.max_subscriptions_per_user
        )
        users = Users(asyncio.get_running_loop(), self._runtime.bus, self._runtime.instance, limits)
        self._vitals.watch_users(users)
        return users

    def _make_arrivals(self, hub: Hub, subscriber: DelayedSubscriber, pacer: Pacer, recovery: Recovery) -> Arrivals:
        return Arrivals(
            greeting=Greeting(self._runtime.instance, version("tickwire")),
            clock=self._runtime.clock,
            hub=hub,
            subscriber=subscriber,
            delayed_trades=self._delayed_trades,
            pacer=pacer,
            charts=self._chart_requests,
            feed=self._trades,
            sessions=self._sessions,
            recovery=recovery,
            tokens=self._tokens,
            auth_mode=self._settings.auth_mode,
            users=self._users,
        )

    def _make_handlers(
        self, hub: Hub, subscriber: DelayedSubscriber, catch_up: CatchUp, pacer: Pacer, arrivals: Arrivals
    ) -> Handlers:
        settings = self._settings
        return Handlers(
            hub=hub,
            windows=self._windows,
            subscriber=subscriber,
            charts=self._chart_requests,
            catch_up=catch_up,
            pacer=pacer,
            arrivals=arrivals,
            tokens=self._tokens,
            catalogue=self._catalogue,
            rates=EventRates(settings.rate_limit_default, settings.rate_limit_burst, settings.event_rates()),
            max_subscriptions=settings.max_subscriptions,
            max_symbols=settings.max_symbols_per_request,
            users=self._users,
        )

    def _make_server(self, make: Callable[[EngineConnection], Application]) -> Server:
        settings = self._settings
        mount = Mount(_session_settings(settings), _websocket_limits(settings), make)
        return Server(
            asyncio.get_running_loop(),
            _server_settings(settings),
            {SOCKET_IO_PATH: mount},
            on_refused=self._vitals.count_refusal,
            on_ended=self._vitals.count_ending,
        )

    def _deliver(self, changes: Sequence[Change]) -> None:
        for symbol, price, base in changes:
            self._fanout.price(symbol, price, base)
            self._windows.note(symbol, base)


def _parsers(settings: GatewaySettings) -> Parsers:
    limits = Limits(max_payload=settings.max_payload_bytes)
    return Parsers(JsonParser(limits), MsgpackParser(limits))


def _session_settings(settings: GatewaySettings) -> SessionSettings:
    return SessionSettings(
        ping_interval=settings.ping_interval_ms,
        ping_timeout=settings.ping_timeout_ms,
        max_payload=settings.max_payload_bytes,
        upgrades=True,
    )


def _websocket_limits(settings: GatewaySettings) -> WebSocketLimits:
    return WebSocketLimits(
        max_message=settings.max_payload_bytes,
        frame_rate=settings.max_frames_per_second,
        frame_burst=4 * settings.max_frames_per_second,
        write_timeout=settings.write_timeout_ms / 1000,
        deflate=settings.permessage_deflate,
    )


def _server_settings(settings: GatewaySettings) -> ServerSettings:
    return ServerSettings(
        allowed_origins=frozenset(settings.allowed_origins),
        max_connections=settings.max_connections,
        max_accepts=settings.max_accepts_per_second,
        head_timeout=settings.handshake_timeout_ms / 1000,
        cookie=settings.sticky_cookie,
    )
