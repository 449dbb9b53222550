"""The settings of a gateway as the parts that keep to them want them. Used by `app.py`."""

from math import inf
from typing import Final

from protocol.engineio.session import SessionSettings
from protocol.socketio.connection import ConnectionSettings
from protocol.socketio.json_parser import JsonParser
from protocol.socketio.msgpack_parser import MsgpackParser
from protocol.socketio.parser import Limits, Parsers
from services.gateway.addresses import TrustedProxies
from services.gateway.doorway import DoorwayLimits
from services.gateway.limits import WebSocketLimits
from services.gateway.open_files import raise_limit, sockets_for
from services.gateway.port_settings import PortSettings
from services.gateway.server import ServerSettings
from services.gateway.settings import GatewaySettings
from shared.log import get_logger

log = get_logger(__name__)

FRAME_BURST_S: Final = 10
"""Seconds' worth of frames that may come at once: a client that subscribes one by one sends hundreds, and one that goes
on is to see the warning about its messages first."""


def parsers(settings: GatewaySettings, port: PortSettings) -> Parsers:
    """Both parsers, and how much they take."""
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


def socket_settings(settings: GatewaySettings, port: PortSettings, parsers: Parsers) -> ConnectionSettings:
    """How long a client may take, and what it may have open."""
    return ConnectionSettings(
        parsers=parsers,
        max_namespaces=port.max_namespaces,
        max_pending_acks=port.max_pending_acks,
        max_before_join=port.max_bytes_before_connect,
        connect_timeout=settings.connect_timeout_s,
    )


def session_settings(settings: GatewaySettings) -> SessionSettings:
    """The heartbeat, as clients are told."""
    return SessionSettings(
        ping_interval=settings.ping_interval_ms,
        ping_timeout=settings.ping_timeout_ms,
        max_payload=settings.max_payload_bytes,
        upgrades=True,
    )


def websocket_limits(settings: GatewaySettings, port: PortSettings) -> WebSocketLimits:
    """What a WebSocket may send."""
    return WebSocketLimits(
        max_message=settings.max_payload_bytes,
        frame_rate=settings.max_frames_per_second,
        frame_burst=FRAME_BURST_S * settings.max_frames_per_second,
        write_timeout=settings.write_timeout_ms / 1000,
        deflate=settings.permessage_deflate,
        max_fragments=port.max_fragments,
        message_timeout=port.message_timeout_ms / 1000,
    )


def server_settings(settings: GatewaySettings, port: PortSettings) -> ServerSettings:
    """How handshakes are judged."""
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


def connection_limit(settings: ServerSettings) -> int:
    """Clients that a gateway takes, by its own limit or by the system's on open files; 0: any number."""
    return min(filter(None, (settings.max_connections, settings.doorway.max_sockets)), default=0)


def _sockets(wanted: int) -> int:
    """TCP connections that there are file descriptors for; too few for `MAX_CONNECTIONS` is worth a line."""
    files = raise_limit()
    sockets = sockets_for(files)
    if sockets and wanted > sockets:
        hint = "raise the limit of open files (ulimit -n, LimitNOFILE) or lower MAX_CONNECTIONS"
        log.warning(
            "connections_limited_by_files", open_files=files, connections=sockets, connections_wanted=wanted, hint=hint
        )
    return sockets
