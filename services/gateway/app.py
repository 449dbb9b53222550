"""Builds a gateway out of its parts, starts and stops it, and says how it is doing."""

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import version
from math import inf
from typing import Any, Final

from protocol.engineio.session import SessionSettings
from protocol.socketio.connection import ConnectionSettings
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.parser import Limits, Parsers
from services.gateway.addresses import TrustedProxies
from services.gateway.arrivals import Arrivals, Greeting
from services.gateway.batches import batch_writers
from services.gateway.catch_up import CatchUp
from services.gateway.chart_answers import ChartAnswers
from services.gateway.chart_fanout import ChartFanout
from services.gateway.chart_feed import ChartFeed, ChartRules
from services.gateway.chart_requests import ChartRequests
from services.gateway.client import Client, Intake
from services.gateway.connection import Application, EngineConnection
from services.gateway.doorway import DoorwayLimits
from services.gateway.encoding import Encoder
from services.gateway.fanout import Fanout
from services.gateway.handlers import Handlers
from services.gateway.hub import Hub
from services.gateway.limits import EventRates, MessageLimits
from services.gateway.log_fanout import LogFanout
from services.gateway.market import Change, Market
from services.gateway.metrics_feed import MetricsFeed
from services.gateway.open_files import raise_limit, sockets_for
from services.gateway.outbox import Flusher, Outbox
from services.gateway.pacing import Pacer
from services.gateway.payloads import Payloads
from services.gateway.phases import phases_of
from services.gateway.port_settings import PortSettings
from services.gateway.price_feed import PriceFeed
from services.gateway.recovery import Recovery
from services.gateway.server import Mount, Server, ServerSettings
from services.gateway.sessions import Sessions
from services.gateway.settings import GatewaySettings
from services.gateway.subscriptions import Subscriber
from services.gateway.trade_feed import TradeFeed
from services.gateway.vitals import Feeds, Vitals
from services.gateway.websocket import WebSocketLimits
from services.gateway.windows import Windows
from shared.bus.retrying import keep_trying
from shared.identity import AuthSettings, TokenVerifier
from shared.lifecycle import Runtime
from shared.log import get_logger

log = get_logger(__name__)

SOCKET_IO_PATH: Final = "/socket.io/"

FRAME_BURST_S: Final = 10
"""Seconds' worth of frames that may come at once: a client that subscribes one by one sends hundreds, and one that goes
on is to see the warning about its messages first."""

DEFAULT_PORT: Final = PortSettings()


class GatewayApp:
    """One gateway."""

    def __init__(
        self, runtime: Runtime, settings: GatewaySettings, auth: AuthSettings, port: PortSettings = DEFAULT_PORT
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._port = port
        everything = settings.price_batch_audience == "everyone"
        parsers = _parsers(settings, port)
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
        self._chart_requests = ChartRequests(chart_fanout, answers, flusher, settings.max_subscriptions)
        self._charts = self._make_chart_feed(chart_fanout)
        self._chart_requests.read_from(self._charts)
        subscriber = Subscriber(
            hub, market, self._prices, self._fanout, self._windows, settings.price_batch_audience, runtime.clock
        )
        catch_up = CatchUp(market, self._fanout, chart_fanout, flusher, log_fanout.window, runtime.clock)
        self._sessions = self._make_sessions(lambda outbox: handlers.drained(outbox), log_fanout)  # noqa: PLW0108 - made below
        recovery = Recovery(runtime.bus, self._sessions, self._trades, log_fanout, flusher, runtime.tasks.spawn)
        pacer = Pacer(asyncio.get_running_loop(), subscriber, encoder, self._fanout.delivered, settings.price_batch_ms)
        arrivals = self._make_arrivals(auth, hub, subscriber, pacer, recovery)
        handlers = self._make_handlers(hub, subscriber, catch_up, pacer, arrivals)
        self._server = self._make_server(self._make_clients(parsers, encoder, flusher, handlers))
        feeds = Feeds(self._prices, self._charts, self._metrics)
        self._vitals.watch(self._server, hub, handlers, self._fanout, flusher, feeds)
        self._vitals.watch_log(log_fanout, self._trades, self._sessions, recovery)
        self._address = ""

    async def start(self) -> None:
        """Read the last minutes of the logs, then let clients in."""
        tasks = self._runtime.tasks
        await keep_trying("trade-feed-start", self._trades.start)
        tasks.spawn("price-feed", self._prices.run())
        self._runtime.health.add_check("prices", self._prices.check)
        tasks.spawn("trade-feed", self._trades.run())
        tasks.spawn("sessions", self._sessions.run())
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

    def _make_arrivals(
        self, auth: AuthSettings, hub: Hub, subscriber: Subscriber, pacer: Pacer, recovery: Recovery
    ) -> Arrivals:
        return Arrivals(
            greeting=Greeting(self._runtime.instance, version("tickwire")),
            clock=self._runtime.clock,
            hub=hub,
            subscriber=subscriber,
            pacer=pacer,
            charts=self._chart_requests,
            feed=self._trades,
            sessions=self._sessions,
            recovery=recovery,
            verifier=TokenVerifier(auth),
            auth_mode=self._settings.auth_mode,
        )

    def _make_handlers(
        self, hub: Hub, subscriber: Subscriber, catch_up: CatchUp, pacer: Pacer, arrivals: Arrivals
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
            rates=EventRates(settings.rate_limit_default, settings.rate_limit_burst, settings.event_rates()),
            max_subscriptions=settings.max_subscriptions,
            max_symbols=settings.max_symbols_per_request,
        )

    def _make_clients(
        self, parsers: Parsers, encoder: Encoder, flusher: Flusher, handlers: Handlers
    ) -> Callable[[EngineConnection], Application]:
        settings = _socket_settings(self._settings, self._port, parsers)
        intake = Intake(MessageLimits(self._port.max_messages_per_second, self._port.max_messages_burst))
        self._vitals.watch_intake(intake)
        return lambda connection: Client(connection, settings, encoder, flusher, handlers, intake)

    def _make_server(self, make: Callable[[EngineConnection], Application]) -> Server:
        settings = self._settings
        mount = Mount(_session_settings(settings), _websocket_limits(settings, self._port), make)
        return Server(
            asyncio.get_running_loop(),
            _server_settings(settings, self._port),
            {SOCKET_IO_PATH: mount},
            on_refused=self._vitals.count_refusal,
            on_ended=self._vitals.count_ending,
        )

    def _deliver(self, changes: Sequence[Change]) -> None:
        for symbol, price, base in changes:
            self._fanout.price(symbol, price, base)
            self._windows.note(symbol, base)


def _parsers(settings: GatewaySettings, port: PortSettings) -> Parsers:
    limits = Limits(
        max_payload=settings.max_payload_bytes,
        max_attachments=port.max_attachments,
        max_depth=port.max_nesting,
        max_elements=port.max_elements,
        max_array=port.max_array_items,
        max_map=port.max_object_keys,
        max_string=settings.max_payload_bytes,
    )
    return Parsers(JsonParser(limits), MsgpackParser(limits))


def _socket_settings(settings: GatewaySettings, port: PortSettings, parsers: Parsers) -> ConnectionSettings:
    return ConnectionSettings(
        parsers=parsers,
        max_namespaces=port.max_namespaces,
        max_pending_acks=port.max_pending_acks,
        max_before_join=port.max_bytes_before_connect,
        connect_timeout=settings.connect_timeout_s,
    )


def _session_settings(settings: GatewaySettings) -> SessionSettings:
    return SessionSettings(
        ping_interval=settings.ping_interval_ms,
        ping_timeout=settings.ping_timeout_ms,
        max_payload=settings.max_payload_bytes,
        upgrades=True,
    )


def _websocket_limits(settings: GatewaySettings, port: PortSettings) -> WebSocketLimits:
    return WebSocketLimits(
        max_message=settings.max_payload_bytes,
        frame_rate=settings.max_frames_per_second,
        frame_burst=FRAME_BURST_S * settings.max_frames_per_second,
        write_timeout=settings.write_timeout_ms / 1000,
        deflate=settings.permessage_deflate,
        max_fragments=port.max_fragments,
        message_timeout=port.message_timeout_ms / 1000,
    )


def _server_settings(settings: GatewaySettings, port: PortSettings) -> ServerSettings:
    proxies = TrustedProxies(port.proxy_networks())
    return ServerSettings(
        allowed_origins=frozenset(settings.allowed_origins),
        max_connections=settings.max_connections,
        max_accepts=settings.max_accepts_per_second,
        head_timeout=settings.handshake_timeout_ms / 1000,
        cookie=settings.sticky_cookie,
        max_per_address=port.connections_per_address,
        max_accepts_per_address=port.accepts_per_address,
        doorway=DoorwayLimits(
            max_sockets=_sockets(settings.max_connections),
            max_unfinished=port.max_half_open,
            max_per_address=2 * port.connections_per_address,  # a client that polls has two
            proxies=proxies,
            proxy_header=port.proxy_protocol,
        ),
        max_age=port.max_connection_age_seconds or inf,
        max_head=port.max_head_bytes,
    )


def _sockets(wanted: int) -> int:
    """TCP connections that there are file descriptors for; too few for `MAX_CONNECTIONS` is worth a line."""
    files = raise_limit()
    sockets = sockets_for(files)
    if sockets and wanted > sockets:
        hint = "raise the limit of open files (ulimit -n, LimitNOFILE) or lower MAX_CONNECTIONS"
        log.warning("connections_limited_by_files", open_files=files, connections=sockets, wanted=wanted, hint=hint)
    return sockets
