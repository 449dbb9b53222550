"""Whose address a request counts for: headers are believed as far as trusted proxies wrote them."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.addresses import NO_PROXIES, UNCOUNTED, TrustedProxies, parse_address, parse_networks

PROXIES = TrustedProxies(parse_networks(["10.0.0.0/8", "192.0.2.1", "fd00::/8"]))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9", " 10.9.9.9 , 192.0.2.1"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("fd00::1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, <script>, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", ["203.0.113.9,,"], "10.0.0.1"),
        ("10.0.0.1", ["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("fe80::1%eth0", [], "fe80::1"),
    ],
)
def test_the_client_is_the_rightmost_hop_that_is_no_trusted_proxy(peer: str, forwarded: list[str], client: str) -> None:
    assert PROXIES.client_of(peer, forwarded) == ip_address(client)


def test_without_trusted_proxies_no_header_counts() -> None:
    assert NO_PROXIES.client_of("203.0.113.9", ["1.1.1.1"]) == ip_address("203.0.113.9")


@pytest.mark.parametrize("text", ["", " ", "unknown", "1.2.3", "1.2.3.4.5", "300.1.1.1", "a:b", "::g", "1.2.3.4\0"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("10.1.2.3", UNCOUNTED),
        ("", UNCOUNTED),
    ],
)
def test_clients_are_counted_by_address_or_by_their_network_of_ipv6(address: str, key: str) -> None:
    assert PROXIES.key_of(parse_address(address)) == key


@pytest.mark.parametrize("item", ["10.0.0.0/33", "10.0.0.1/8", "proxy", "10.0.0.0-10.0.0.9", "*"])
def test_a_network_that_is_none_is_named(item: str) -> None:
    with pytest.raises(ValueError, match="is no network such as") as caught:
        parse_networks(["10.0.0.0/8", item])
    assert repr(item) in str(caught.value)


@given(st.lists(st.text(max_size=60), max_size=5))
def test_no_header_raises_or_names_a_client_that_a_trusted_proxy_did_not_see(forwarded: list[str]) -> None:
    trusted = TrustedProxies(parse_networks(["10.0.0.1"]))
    assert trusted.client_of("10.0.0.1", [*forwarded, "203.0.113.9"]) == ip_address("203.0.113.9")
    trusted.client_of("10.0.0.1", forwarded)
