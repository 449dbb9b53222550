"""A JSON or MessagePack payload, bounded, as plain values in which every number is text with its digits.

Feeds `nautilus` and `generic`. A number never becomes a float on its way: JSON numbers stay as they are written,
integers beyond 2^53 too, and a MessagePack float is what Python prints of it.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from shared.upstream.errors import Refusal, UpstreamError

MAX_PAYLOAD_BYTES: Final = 65_536
MAX_ITEMS: Final = 1000
"""Prices or trades in one entry."""

MAX_DEPTH: Final = 4
"""Envelopes around them."""

Value = str | list[Any] | dict[Any, Any] | None
"""What a payload holds; what its containers hold is looked at when it is used."""

_JSON: Final = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
_BLANK: Final = b" \t\r\n"


def read_payload(raw: bytes, field: str) -> list[Any] | dict[Any, Any]:
    """The array or object in a payload, whose first byte tells JSON from MessagePack.

    Raises:
        UpstreamError: it is neither, or larger or nested deeper than anything sane.
    """
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise UpstreamError(Refusal.PAYLOAD_TOO_LARGE, field, MAX_PAYLOAD_BYTES)
    try:
        value = _JSON.decode(raw.decode()) if raw.lstrip(_BLANK)[:1] in (b"{", b"[") else msgspec.msgpack.decode(raw)
    except RecursionError:
        raise UpstreamError(Refusal.TOO_DEEP, field, MAX_DEPTH) from None
    except (ValueError, TypeError):  # not UTF-8, not JSON, not MessagePack, a map key that cannot be one
        raise UpstreamError(Refusal.BAD_PAYLOAD, field) from None
    if not isinstance(value, list | dict):
        raise UpstreamError(Refusal.BAD_PAYLOAD, field)
    return value


def flatten(item: Mapping[Any, Any]) -> dict[bytes, bytes]:
    """An object's plain values as fields; what is nested is left out."""
    return {as_bytes(name): value for name, held in item.items() if (value := _scalar(held)) is not None}


def as_bytes(name: object) -> bytes:
    """A name as a field has it; lone surrogates, which JSON can write, end as what is no UTF-8."""
    return name if isinstance(name, bytes) else str(name).encode(errors="surrogatepass")


def _scalar(value: object) -> bytes | None:
    match value:
        case str() | bytes():
            return as_bytes(value)
        case bool():
            return b"true" if value else b"false"
        case int() | float():
            return repr(value).encode()
        case _:
            return None
