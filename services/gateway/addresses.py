"""Whose address a request counts for: the client's own, also behind proxies that are trusted to name it. Pure.

Fed by `doorway.py` (TCP connections) and `server.py` (handshakes); feeds limits by address, never an identity: a header
is believed only as far as the proxies that `TRUSTED_PROXIES` names wrote it (CVE-2026-71485 is a server that believed
more).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

UNCOUNTED: Final = ""
"""The key of a client that no limit by address applies to: a trusted proxy itself, or no address is known."""

IPV6_PREFIX: Final = 64
"""What one customer of an IPv6 provider holds at least: fewer bits would count one client as many."""


def parse_networks(items: Iterable[str]) -> tuple[Network, ...]:
    """Read CIDRs such as `10.0.0.0/8`; a bare address is a network of one.

    Raises:
        ValueError: with the item that is none.
    """
    networks = []
    for item in items:
        try:
            networks.append(ip_network(item))
        except ValueError as error:
            raise ValueError(f"{item!r} is no network such as 10.0.0.0/8: {error}") from None
    return tuple(networks)


def parse_address(text: str) -> Address | None:
    """Read one hop as proxies write it: an address, with a port or in brackets or neither; None where it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # IPv4 with a port; IPv6 has two colons at least
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies whose word about their clients is taken.

    Attributes:
        networks: where they are; none: no header is believed.
    """

    networks: tuple[Network, ...] = ()

    def trusts(self, address: Address | None) -> bool:
        """Whether this is one of them."""
        return address is not None and any(address in network for network in self.networks)

    def client_of(self, peer: str, forwarded: Sequence[str]) -> Address | None:
        """Find the client behind a TCP peer: the rightmost hop that is no trusted proxy.

        Args:
            peer: address of the TCP connection's other end.
            forwarded: values of all `X-Forwarded-For` headers, in their order.

        Returns:
            The client; the last good hop where one behind it cannot be read; None where the peer has no address.
        """
        client = parse_address(peer)
        hops = ",".join(forwarded).split(",") if forwarded else []
        while hops and self.trusts(client):
            hop = parse_address(hops.pop())
            if hop is None:
                break
            client = hop
        return client

    def key_of(self, address: Address | None) -> str:
        """What a client is counted under: its IPv4 address or the /64 of its IPv6 address."""
        if address is None or self.trusts(address):
            return UNCOUNTED
        if isinstance(address, IPv4Address):
            return str(address)
        return str(IPv6Network((address, IPV6_PREFIX), strict=False))


NO_PROXIES: Final = TrustedProxies()
