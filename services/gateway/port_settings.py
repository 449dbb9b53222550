"""What bounds clients at the port, read from the environment. Only `app.py` holds these; parts receive values."""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from services.gateway.addresses import Network, parse_networks
from shared.settings import NotNegative, Positive, setting

CONNECTIONS_BEHIND_PROXIES: Final = 50
ACCEPTS_BEHIND_PROXIES: Final = 20

Attachments = Annotated[int, msgspec.Meta(ge=0, le=10)]
"""Stock clients refuse more themselves."""

Depth = Annotated[int, msgspec.Meta(ge=1, le=64)]
Head = Annotated[int, msgspec.Meta(ge=1_024, le=1_048_576)]


@dataclass(frozen=True, slots=True)
class PortSettings:
    """Whose address counts, and the bounds on connections, requests, messages and what is in them."""

    trusted_proxies: tuple[str, ...] = setting(
        (), "networks (`10.0.0.0/8,fd00::/8`) of the proxies whose `X-Forwarded-For` is believed; never an identity"
    )
    proxy_protocol: bool = setting(
        default=False,
        meaning="each TCP connection begins with a PROXY header (version 1 or 2) and comes from `TRUSTED_PROXIES`",
    )
    max_connections_per_ip: NotNegative | None = setting(
        None,
        "clients of one address (IPv6: one /64) at a gateway; above, handshakes get 429; 0: no limit",
        shown_default=f"0, or {CONNECTIONS_BEHIND_PROXIES} where `TRUSTED_PROXIES` is set",
    )
    max_accepts_per_ip: NotNegative | None = setting(
        None,
        "handshakes of one address at a gateway; above, they get 429; 0: no limit",
        "1/s",
        shown_default=f"0, or {ACCEPTS_BEHIND_PROXIES} where `TRUSTED_PROXIES` is set",
    )
    max_half_open: NotNegative = setting(
        10_000, "TCP connections without a whole request yet; above, the longest wait ends; 0: no limit"
    )
    max_connection_age_seconds: NotNegative = setting(
        86_400, "life of one connection, a tenth more or less; the client comes back and recovers; 0: no limit", "s"
    )
    max_head_bytes: Head = setting(16_384, "largest request head, and a longer one gets 431", "bytes")
    max_fragments: Positive = setting(64, "WebSocket frames of one message")
    message_timeout_ms: Positive = setting(10_000, "for all fragments of one message", "ms")
    max_messages_per_second: Positive = setting(
        20, "Engine.IO messages of one client, of any kind, on either transport", "1/s"
    )
    max_messages_burst: Positive = setting(
        200, "messages at once; above, one `Rate limit exceeded`, and at twice as many the connection ends"
    )
    max_bytes_before_connect: Positive = setting(
        8_192, "all messages of a client that has joined no namespace", "bytes"
    )
    max_namespaces: Positive = setting(2, "namespaces of one client, and three refused ones end its connection")
    max_pending_acks: Positive = setting(64, "events to one client whose acks are awaited, for 10 s each")
    max_attachments: Attachments = setting(10, "binary parts of one packet, within 5 s")
    max_nesting: Depth = setting(6, "arrays and objects inside each other, in one argument")
    max_array_items: Positive = setting(512, "elements of one array")
    max_object_keys: Positive = setting(64, "keys of one object")
    max_elements: Positive = setting(4_096, "elements of one packet, all arrays and objects together")

    def problems(self) -> list[str]:
        """What cannot work, by variable."""
        try:
            networks = self.proxy_networks()
        except ValueError as error:
            return [f"TRUSTED_PROXIES: {error}"]
        if self.proxy_protocol and not networks:
            return ["PROXY_PROTOCOL: needs TRUSTED_PROXIES, or no connection is let in"]
        return []

    def proxy_networks(self) -> tuple[Network, ...]:
        """`TRUSTED_PROXIES`, read.

        Raises:
            ValueError: an item is no network.
        """
        return parse_networks(self.trusted_proxies)

    @property
    def connections_per_address(self) -> int:
        """The effective `MAX_CONNECTIONS_PER_IP`: behind a proxy that is not named all clients share one address."""
        if self.max_connections_per_ip is not None:
            return self.max_connections_per_ip
        return CONNECTIONS_BEHIND_PROXIES if self.trusted_proxies else 0

    @property
    def accepts_per_address(self) -> int:
        """The effective `MAX_ACCEPTS_PER_IP`."""
        if self.max_accepts_per_ip is not None:
            return self.max_accepts_per_ip
        return ACCEPTS_BEHIND_PROXIES if self.trusted_proxies else 0
