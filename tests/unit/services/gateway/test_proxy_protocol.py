"""The PROXY protocol's headers, byte by byte."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.proxy_protocol import MAX_HEADER, V1_MAX, V2_SIGNATURE, ProxyHeader, ProxyHeaderError, read_header

IPV4 = bytes([203, 0, 113, 9, 192, 0, 2, 1]) + struct.pack("!HH", 4711, 80)
IPV6 = bytes.fromhex("20010db8000000000000000000000001" * 2) + struct.pack("!HH", 4711, 80)


def v2(kind: int, family: int, body: bytes) -> bytes:
    return V2_SIGNATURE + struct.pack("!BBH", kind, family, len(body)) + body


GOOD = [
    (b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n", "203.0.113.9"),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n", "2001:db8::1"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 whatever\r\n", None),
    (v2(0x21, 0x11, IPV4), "203.0.113.9"),
    (v2(0x21, 0x21, IPV6), "2001:db8::1"),
    (v2(0x21, 0x11, IPV4 + b"\x04\x00\x01\x00"), "203.0.113.9"),
    (v2(0x21, 0x00, b"xyz"), None),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, IPV4), None),
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
    b"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 ::1 ::2 1 2\r\n",
    b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 \xb2\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWN" + b"x" * V1_MAX,
    b"PROXY UNKNOWN" + b"x" * V1_MAX + b"\r\n",
    v2(0x11, 0x11, IPV4),
    v2(0x22, 0x11, IPV4),
    v2(0x21, 0x12, IPV4),
    v2(0x21, 0x31, bytes(216)),
    v2(0x21, 0x11, IPV4[:-1]),
    v2(0x21, 0x21, IPV6[:-1]),
    v2(0x21, 0x11, bytes(MAX_HEADER)),
]


@pytest.mark.parametrize(("data", "source"), GOOD)
def test_a_header_names_the_client_and_ends_where_its_bytes_begin(data: bytes, source: str | None) -> None:
    assert read_header(data + b"GET / HTTP/1.1\r\n") == ProxyHeader(source, len(data))


@pytest.mark.parametrize(("data", "source"), GOOD)
def test_a_header_in_pieces_is_waited_for(data: bytes, source: str | None) -> None:
    assert [read_header(data[:size]) for size in range(len(data))] == [None] * len(data)
    assert read_header(data) == ProxyHeader(source, len(data))


@pytest.mark.parametrize("data", BAD)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read_header(data)


@given(st.binary(max_size=200), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE]))
def test_any_bytes_are_a_header_or_not_or_not_yet(data: bytes, beginning: bytes) -> None:
    try:
        header = read_header(beginning + data)
    except ProxyHeaderError:
        return
    assert header is None or 0 < header.size <= MAX_HEADER
