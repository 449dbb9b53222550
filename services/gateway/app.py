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
from services.gateway.batches import batch_writers
from services.gateway.catch_up import CatchUp
from services.gateway.client import Client
from services.gateway.connection import Application, EngineConnection
from services.gateway.encoding import Encoder
from services.gateway.fanout import Fanout
from services.gateway.handlers import Handlers
from services.gateway.hub import Hub
from services.gateway.limits import EventRates
from services.gateway.market import Change, Market
from services.gateway.metrics_feed import MetricsFeed
from services.gateway.outbox import Flusher
from services.gateway.payloads import Payloads
from services.gateway.phases import phases_of
from services.gateway.price_feed import PriceFeed
from services.gateway.server import Mount, Server, ServerSettings
from services.gateway.settings import GatewaySettings
from services.gateway.subscriptions import Subscriber
from services.gateway.trade_feed import TradeFeed
from services.gateway.trade_window import TradeWindow
from services.gateway.vitals import Vitals
from services.gateway.websocket import WebSocketLimits
from services.gateway.windows import Windows
from shared.identity import AuthSettings, TokenVerifier
from shared.lifecycle import Runtime
from shared.log import get_logger

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
        window = TradeWindow(settings.trade_window)
        flusher = Flusher(asyncio.get_running_loop(), settings.max_buffered_bytes)
        self._fanout = Fanout(hub, encoder, payloads, flusher, window)
        writers = batch_writers(encoder, payloads)
        batch_ms = settings.price_batch_ms
        phases = phases_of(batch_ms)
        self._windows = Windows(batch_ms, market, self._fanout, writers, flusher, runtime.clock, phases=phases)
        self._vitals = Vitals(runtime.telemetry)
        self._prices = PriceFeed(
            runtime.bus,
            runtime.clock,
            market,
            self._deliver,
            shards=runtime.common.price_shards,
            everything=everything,
            observe_age=self._vitals.observe_age,
        )
        self._trades = TradeFeed(runtime.bus, self._fanout, shards=runtime.common.trade_shards)
        self._metrics = MetricsFeed(runtime.bus, self._fanout)
        subscriber = Subscriber(
            hub, market, self._prices, self._fanout, self._windows, settings.price_batch_audience, runtime.clock
        )
        handlers = self._make_handlers(
            auth, hub, subscriber, CatchUp(market, self._fanout, flusher, window, runtime.clock)
        )
        socket_settings = ConnectionSettings(parsers=parsers, connect_timeout=settings.connect_timeout_ms / 1000)
        self._server = self._make_server(
            lambda connection: Client(connection, socket_settings, encoder, flusher, handlers)
        )
        self._vitals.watch(self._server, hub, handlers, self._fanout, flusher, self._prices)
        self._address = ""

    async def start(self) -> None:
        """Know where the logs end, then let clients in."""
        tasks = self._runtime.tasks
        await self._trades.start()
        tasks.spawn("price-feed", self._prices.run())
        tasks.spawn("trade-feed", self._trades.run())
        tasks.spawn("metrics-feed", self._metrics.run())
        self._windows.start()
        settings = self._settings
        port = await self._server.start(settings.gateway_host, settings.gateway_port)
        self._address = f"{settings.gateway_host}:{port}"
        log.info("listening", address=self._address, path=SOCKET_IO_PATH)

    async def stop(self) -> None:
        """Let clients go."""
        self._windows.stop()
        await self._server.stop()

    def fill_report(self, report: dict[str, Any]) -> None:
        """Add the gateway's figures."""
        self._vitals.fill_report(report)
        report["address"] = self._address

    def _make_handlers(self, auth: AuthSettings, hub: Hub, subscriber: Subscriber, catch_up: CatchUp) -> Handlers:
        settings = self._settings
        return Handlers(
            gateway=self._runtime.instance,
            version=version("tickwire"),
            clock=self._runtime.clock,
            hub=hub,
            windows=self._windows,
            subscriber=subscriber,
            catch_up=catch_up,
            verifier=TokenVerifier(auth),
            auth_mode=settings.auth_mode,
            rates=EventRates(settings.rate_limit_default, settings.rate_limit_burst, settings.event_rates()),
            max_subscriptions=settings.max_subscriptions,
            max_symbols=settings.max_symbols_per_request,
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
