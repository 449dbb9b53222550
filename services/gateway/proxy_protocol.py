"""The header that a TCP proxy writes before a client's first byte: the PROXY protocol, versions 1 and 2. Pure.

Fed by `http.py` with the first bytes of a connection from a trusted proxy; feeds limits by address. Read strictly,
after HAProxy's specification (proxy-protocol.txt, sections 2.1 and 2.2), and never more than `MAX_HEADER` bytes.
"""

import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

V1_MAX: Final = 107
V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
V2_FIXED: Final = 16
MAX_HEADER: Final = 1_024
"""Of version 2, whose further fields (TLVs) are passed over: three hundred bytes are what clouds send."""

_V1_BEGIN: Final = b"PROXY "
_V1_FIELDS: Final = 6
_VERSION_2: Final = 0x20
_LOCAL: Final = 0x0
_PROXY: Final = 0x1
_UNSPEC: Final = 0x00
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_TCP4_SIZE: Final = 12
_TCP6_SIZE: Final = 36
_MAX_PORT: Final = 65_535


class ProxyHeaderError(Exception):
    """The connection does not begin with a PROXY header."""


class ProxyHeader(NamedTuple):
    """One header.

    Attributes:
        source: the client's address; None where the proxy speaks for itself (`LOCAL`, `UNKNOWN`): a health check.
        size: its bytes; what follows is the client's.
    """

    source: str | None
    size: int


def read_header(data: bytes) -> ProxyHeader | None:
    """Read the header that a connection begins with.

    Returns:
        The header, or None while more of it must come.

    Raises:
        ProxyHeaderError: it is none, or too long.
    """
    if data.startswith(V2_SIGNATURE[: len(data)]):
        return _read_v2(data)
    if data.startswith(_V1_BEGIN[: len(data)]):
        return _read_v1(data)
    raise ProxyHeaderError


def _read_v1(data: bytes) -> ProxyHeader | None:
    line, ending, _ = data[:V1_MAX].partition(b"\r\n")
    if not ending:
        if len(data) >= V1_MAX:
            raise ProxyHeaderError
        return None
    size = len(line) + len(ending)
    fields = line.decode("latin-1").split(" ")
    if fields[1] == "UNKNOWN":
        return ProxyHeader(None, size)
    if (
        len(fields) != _V1_FIELDS or fields[1] not in ("TCP4", "TCP6") or b"%" in line
    ):  # no scopes: they name interfaces
        raise ProxyHeaderError
    _, family, source, target, *ports = fields
    kind = IPv4Address if family == "TCP4" else IPv6Address
    try:
        address = kind(source)
        kind(target)
    except AddressValueError:
        raise ProxyHeaderError from None
    if not all(port.isascii() and port.isdigit() and int(port) <= _MAX_PORT for port in ports):
        raise ProxyHeaderError
    return ProxyHeader(str(address), size)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < V2_FIXED:
        return None
    kind, family, length = struct.unpack_from("!BBH", data, len(V2_SIGNATURE))
    size = V2_FIXED + length
    if kind & 0xF0 != _VERSION_2 or size > MAX_HEADER:
        raise ProxyHeaderError
    command = kind & 0x0F
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError
    if len(data) < size:
        return None
    if command == _LOCAL or family == _UNSPEC:
        return ProxyHeader(None, size)
    if family == _TCP4 and length >= _TCP4_SIZE:
        return ProxyHeader(str(IPv4Address(data[V2_FIXED : V2_FIXED + 4])), size)
    if family == _TCP6 and length >= _TCP6_SIZE:
        return ProxyHeader(str(IPv6Address(data[V2_FIXED : V2_FIXED + 16])), size)
    raise ProxyHeaderError
