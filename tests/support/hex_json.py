"""JSON with bytes in it, as the tests' JavaScript writes and reads them: `{"$hex": "00ff"}`."""

from typing import Any

Json = Any
"""Whatever JSON holds, and bytes."""


def to_wire(value: Json) -> Json:
    """Bytes as JSON has them."""
    match value:
        case bytes():
            return {"$hex": value.hex()}
        case dict():
            return {key: to_wire(item) for key, item in value.items()}
        case list() | tuple():
            return [to_wire(item) for item in value]
        case _:
            return value


def from_wire(value: Json) -> Json:
    """And back."""
    match value:
        case {"$hex": digits}:
            return bytes.fromhex(digits)
        case dict():
            return {key: from_wire(item) for key, item in value.items()}
        case list():
            return [from_wire(item) for item in value]
        case _:
            return value
