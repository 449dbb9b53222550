"""Builds a gateway out of its parts, starts and stops it, and says how it is doing."""

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Final

from services.gateway.admission import Fullness
from services.gateway.arrivals import Arrivals, Greeting
from services.gateway.batches import BatchWriter, batch_writers
from services.gateway.bounds import (
    connection_limit,
    parsers,
    server_settings,
    session_settings,
    socket_settings,
    websocket_limits,
)
from services.gateway.catalogue import Catalogue
from services.gateway.catch_up import CatchUp
from services.gateway.chart_answers import ChartAnswers
from services.gateway.chart_fanout import ChartFanout
from services.gateway.chart_feed import ChartFeed, ChartRules
from services.gateway.chart_requests import ChartRequests
from services.gateway.client import Client, Intake
from services.gateway.connection import Application, EngineConnection
from services.gateway.debug.local import LocalFacts, Parts
from services.gateway.debug.path import PATH as DEBUG_PATH
from services.gateway.debug.path import DebugPath
from services.gateway.debug.stored import StoredFacts
from services.gateway.delayed_prices import DelayedPrices
from services.gateway.delayed_subscriber import DelayedSubscriber
from services.gateway.delayed_trades import DelayedTrades
from services.gateway.drain import Drain
from services.gateway.encoding import Encoder
from services.gateway.fanout import Fanout
from services.gateway.farewell import Farewell
from services.gateway.handlers import Handlers
from services.gateway.hub import Hub
from services.gateway.limits import EventRates, MessageLimits
from services.gateway.log_fanout import LogFanout
from services.gateway.market import Change, Market
from services.gateway.metrics_feed import MetricsFeed
from services.gateway.outbox import Flusher
from services.gateway.pacing import Pacer
from services.gateway.payloads import Payloads
from services.gateway.phases import phases_of
from services.gateway.port_settings import PortSettings
from services.gateway.price_feed import PriceFeed
from services.gateway.recovery import Recovery
from services.gateway.server import Mount, Server
from services.gateway.sessions import Sessions
from services.gateway.settings import GatewaySettings
from services.gateway.shedding import Shedding
from services.gateway.tokens import Tokens
from services.gateway.trade_feed import TradeFeed
from services.gateway.users import UserLimits, Users
from services.gateway.vitals import Feeds, Vitals
from services.gateway.windows import Windows
from shared.bus.retrying import keep_trying
from shared.identity import AuthSettings, KeySource, TokenVerifier
from shared.lifecycle import Runtime
from shared.log import get_logger
from shared.revocations import Revocations

log = get_logger(__name__)

SOCKET_IO_PATH: Final = "/socket.io/"

AFTER_DRAIN_S: Final = 10.0
"""For goodbyes that are still on their way when the clients have been let go, and for leaving Redis."""

DEFAULT_PORT: Final = PortSettings()


class GatewayApp:
    """One gateway."""

    def __init__(
        self, runtime: Runtime, settings: GatewaySettings, auth: AuthSettings, port: PortSettings = DEFAULT_PORT
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._port = port
        self._vitals = Vitals(runtime.telemetry)
        self._make_output()
        self._make_market()
        self._make_log()
        self._catalogue = Catalogue(runtime.bus, settings.symbols)
        self._make_charts()
        self._metrics = MetricsFeed(runtime.bus, self._fanout)
        self._make_identities(auth)
        self._handlers = self._make_handlers(self._make_arrivals())
        self._server = self._make_server(self._make_clients())
        self._make_partings()
        self.stop_deadline_s = settings.drain_seconds + AFTER_DRAIN_S
        self._watch()
        runtime.health.add_page(DEBUG_PATH, self._make_debug_path().answer)
        self._address = ""

    async def start(self) -> None:
        """Read the last minutes of the logs, then let clients in."""
        tasks = self._runtime.tasks
        await keep_trying("trade-feed-start", self._trades.start)
        await self._catalogue.start()
        await self._revocations.start()
        tasks.spawn("price-feed", self._prices.run())
        self._runtime.health.add_check("prices", self._prices.check)
        self._runtime.health.add_check("keys", self._keys.check)
        self._runtime.health.add_check("connections", self._fullness.check)
        tasks.spawn("keys", self._fetch_keys())
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
        tasks.spawn("shedding", self._shedding.run())
        self._windows.start()
        settings = self._settings
        port = await self._server.start(settings.gateway_host, settings.gateway_port)
        self._address = f"{settings.gateway_host}:{port}"
        log.info("listening", address=self._address, path=SOCKET_IO_PATH)

    async def _fetch_keys(self) -> None:
        """Clients come in meanwhile; those with a token are asked to come back, and readiness says why."""
        await self._keys.start()
        await self._keys.run()

    async def drain(self) -> None:
        """Let clients go one by one, while everything goes on."""
        self._shedding.stop()
        await self._drain.run()

    async def stop(self) -> None:
        """Let all clients go that are left."""
        self._windows.stop()
        await self._server.stop()
        await self._trades.leave()

    def fill_report(self, report: dict[str, Any]) -> None:
        """Add the gateway's figures."""
        self._vitals.fill_report(report)
        report["address"] = self._address

    def _make_output(self) -> None:
        """What everything that reaches clients goes through."""
        settings = self._settings
        self._parsers = parsers(settings, self._port)
        self._hub = Hub()
        self._encoder = Encoder(self._parsers)
        self._payloads = Payloads(settings.decimals)
        self._flusher = Flusher(
            asyncio.get_running_loop(),
            settings.max_buffered_bytes,
            self._vitals.observe_flush,
            self._runtime.clock.monotonic,
        )
        self._fanout = Fanout(self._hub, self._encoder, self._payloads, self._flusher)

    def _make_market(self) -> None:
        """Prices: the feed, the windows, and who gets them, live or late."""
        runtime, settings = self._runtime, self._settings
        everything, batch_ms = settings.price_batch_audience == "everyone", settings.price_batch_ms
        self._market = Market(everything=everything)

        def writers() -> Sequence[BatchWriter]:
            return batch_writers(self._encoder, self._payloads)

        self._windows = Windows(
            batch_ms,
            self._market,
            self._fanout,
            writers(),
            self._flusher,
            runtime.clock,
            phases=phases_of(batch_ms),
        )
        self._prices = PriceFeed(
            runtime.bus,
            runtime.clock,
            self._market,
            self._deliver,
            shards=runtime.common.price_shards,
            everything=everything,
            observe_age=self._vitals.observe_age,
        )
        self._delayed_prices = DelayedPrices(
            self._hub,
            self._market,
            self._prices,
            self._fanout,
            self._flusher,
            runtime.clock,
            writers,
            longest_s=settings.max_delay_seconds,
            max_bytes=settings.delayed_prices_bytes,
        )
        self._subscriber = self._make_subscriber()
        loop, delivered = asyncio.get_running_loop(), self._fanout.delivered
        self._pacer = Pacer(loop, self._subscriber, self._encoder, delivered, batch_ms)

    def _make_subscriber(self) -> DelayedSubscriber:
        return DelayedSubscriber(
            self._hub,
            self._market,
            self._prices,
            self._fanout,
            self._windows,
            self._settings.price_batch_audience,
            self._runtime.clock,
            delayed=self._delayed_prices,
        )

    def _make_log(self) -> None:
        """Trades: the feeds, what is kept of them, and who comes back to them."""
        runtime, settings = self._runtime, self._settings
        bus, clock, delivered = runtime.bus, runtime.clock, self._fanout.delivered
        self._log = LogFanout(
            self._hub,
            self._encoder,
            self._payloads,
            self._flusher,
            delivered,
            window_bytes=settings.log_window_bytes,
            shards=runtime.common.trade_shards,
        )
        self._trades = TradeFeed(bus, runtime.instance, clock, self._log, runtime.common.trade_shards)
        self._trades.observe_age = self._vitals.observe_log_age
        self._delayed_trades = DelayedTrades(bus, clock, self._hub, self._log, self._trades, delivered)
        self._sessions = Sessions(
            bus,
            runtime.instance,
            settings.recovery_seconds,
            resume=lambda outbox: self._handlers.drained(outbox),  # noqa: PLW0108 - made later
            beat=lambda session: self._log.beat(session.outbox, self._trades.cursor),
        )
        self._recovery = Recovery(bus, self._sessions, self._trades, self._log, self._flusher, runtime.tasks.spawn)

    def _make_charts(self) -> None:
        runtime, settings, common = self._runtime, self._settings, self._runtime.common
        self._chart_fanout = ChartFanout(
            self._hub, self._encoder, self._payloads, self._flusher, self._fanout.delivered
        )
        answers = ChartAnswers(self._encoder, self._payloads)
        self._chart_requests = ChartRequests(
            self._chart_fanout, answers, self._flusher, self._catalogue, settings.max_subscriptions
        )
        self._charts = ChartFeed(
            runtime.bus,
            runtime.clock,
            self._chart_fanout,
            self._chart_requests.ready,
            shards=common.price_shards,
            rules=ChartRules(settings.max_charts, settings.candle_fill_gaps, common.candle_grace_ms),
        )
        self._chart_requests.read_from(self._charts)

    def _make_identities(self, auth: AuthSettings) -> None:
        """Who clients are, what that allows them, and for how long."""
        runtime, settings = self._runtime, self._settings
        self._keys = KeySource(auth)
        self._revocations = Revocations(runtime.bus, runtime.clock, runtime.telemetry)
        self._tokens = Tokens(
            TokenVerifier(auth, self._keys),
            self._revocations.refuses,
            runtime.clock,
            settings.auth_grace_ms / 1000,
            settings.max_delay_seconds,
        )
        limits = UserLimits(
            settings.max_connections_per_user,
            settings.rate_limit_user,
            settings.max_subscriptions_per_user,
            settings.user_limit_grace_ms / 1000,
        )
        self._users = Users(asyncio.get_running_loop(), runtime.bus, runtime.instance, limits)

    def _make_arrivals(self) -> Arrivals:
        return Arrivals(
            greeting=Greeting(self._runtime.instance, version("tickwire")),
            clock=self._runtime.clock,
            hub=self._hub,
            subscriber=self._subscriber,
            delayed_trades=self._delayed_trades,
            pacer=self._pacer,
            charts=self._chart_requests,
            feed=self._trades,
            sessions=self._sessions,
            recovery=self._recovery,
            tokens=self._tokens,
            auth_mode=self._settings.auth_mode,
            users=self._users,
        )

    def _make_handlers(self, arrivals: Arrivals) -> Handlers:
        settings = self._settings
        catch_up = CatchUp(
            self._market, self._fanout, self._chart_fanout, self._flusher, self._log.window, self._runtime.clock
        )
        catch_up.market_of = self._delayed_prices.market_of
        return Handlers(
            hub=self._hub,
            windows=self._windows,
            subscriber=self._subscriber,
            charts=self._chart_requests,
            catch_up=catch_up,
            pacer=self._pacer,
            arrivals=arrivals,
            tokens=self._tokens,
            catalogue=self._catalogue,
            rates=EventRates(settings.rate_limit_default, settings.rate_limit_burst, settings.event_rates()),
            max_subscriptions=settings.max_subscriptions,
            max_symbols=settings.max_symbols_per_request,
            users=self._users,
        )

    def _make_clients(self) -> Callable[[EngineConnection], Application]:
        settings = socket_settings(self._settings, self._port, self._parsers)
        intake = Intake(MessageLimits(self._port.max_messages_per_second, self._port.max_messages_burst))
        self._vitals.watch_intake(intake)
        encoder, flusher, handlers = self._encoder, self._flusher, self._handlers
        return lambda connection: Client(connection, settings, encoder, flusher, handlers, intake)

    def _make_server(self, make: Callable[[EngineConnection], Application]) -> Server:
        mount = Mount(session_settings(self._settings), websocket_limits(self._settings, self._port), make)
        settings = server_settings(self._settings, self._port)
        limit = connection_limit(settings)
        self._vitals.note_limit(limit)
        self._fullness = Fullness(limit, lambda: len(self._server.connections))
        return Server(
            asyncio.get_running_loop(),
            settings,
            {SOCKET_IO_PATH: mount},
            on_refused=self._vitals.count_refusal,
            on_ended=self._vitals.count_ending,
            on_pong=self._vitals.observe_delivery,
        )

    def _make_debug_path(self) -> DebugPath:
        runtime, common = self._runtime, self._runtime.common
        parts = Parts(
            self._server,
            self._market,
            self._prices,
            self._trades,
            self._log.window,
            self._charts,
            self._subscriber,
            self._delayed_prices,
            self._windows,
            runtime.clock,
            asyncio.get_running_loop().time,
            self._settings.ping_interval_ms / 1000,
        )
        stored = StoredFacts(runtime.bus, runtime.clock, common.price_shards, common.trade_shards)
        return DebugPath(runtime.instance, stored, LocalFacts(parts))

    def _make_partings(self) -> None:
        """How clients are let go, all of them or some."""
        settings, runtime = self._settings, self._runtime
        farewell = Farewell(self._encoder, self._fanout.delivered)
        accepts, began = settings.max_accepts_per_second, self._vitals.note_draining
        self._drain = Drain(self._server, farewell, settings.drain_seconds, accepts, began)
        self._shedding = Shedding(
            runtime.bus,
            runtime.instance,
            runtime.clock,
            self._server,
            self._sessions,
            farewell,
            percent=settings.rebalance_percent,
            after_s=settings.rebalance_after_seconds,
        )

    def _watch(self) -> None:
        """Have everything that is counted looked at."""
        feeds = Feeds(self._prices, self._charts, self._metrics)
        vitals = self._vitals
        vitals.watch(self._server, self._hub, self._handlers, self._fanout, self._flusher, feeds)
        vitals.watch_tokens(self._tokens)
        vitals.watch_users(self._users)
        vitals.watch_log(self._log, self._trades, self._sessions, self._recovery)
        vitals.watch_delayed(self._delayed_prices, self._delayed_trades)

    def _deliver(self, changes: Sequence[Change]) -> None:
        for symbol, price, base in changes:
            self._fanout.price(symbol, price, base)
            self._windows.note(symbol, base)
