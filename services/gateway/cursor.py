"""Where a reader is in the logs: one position for each, and all of them as the short text that clients carry.

A client keeps the newest such text and hands it in when it comes back (protocol reference 5), to whatever gateway. It
names the last entry of every log that the gateway had passed on when it sent it, so it is the same for all receivers
of a frame, and neither skips nor repeats anything, however many logs there are. Pure.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from typing import Final

_NUMBER_BITS: Final = 64
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1
_MS_BYTES: Final = 6
_LATEST_MS: Final = (1 << 8 * _MS_BYTES) - 1
_SMALL_NUMBER: Final = 1 << 24
_SIZES: Final = {8: 0, 12: 3, 20: 9}
"""Characters of a part -> bytes of the number in it. Multiples of three: base64 then needs no padding."""

BEGINNING: Final = 0
"""Before the first entry of a log."""


def position_of(entry_id: str) -> int:
    """The id `ms-number` of a log entry as one integer; in the order of the log."""
    ms, _, number = entry_id.partition("-")
    return int(ms) << _NUMBER_BITS | int(number or 0)


def id_of(position: int) -> str:
    """The entry id of a position."""
    return f"{position >> _NUMBER_BITS}-{position & _NUMBER_MASK}"


def ms_of(position: int) -> int:
    """The milliseconds in it."""
    return position >> _NUMBER_BITS


class Cursor:
    """Positions in the logs that move on, with their text always at hand.

    Args:
        positions: where to begin, in the order of the logs.
    """

    __slots__ = ("_parts", "positions")

    def __init__(self, positions: Sequence[int]) -> None:
        self.positions = list(positions)
        self._parts = [_part(position) for position in positions]

    def __str__(self) -> str:
        return ".".join(self._parts)

    def move(self, log: int, position: int) -> None:
        """Be at another position of one log."""
        self.positions[log] = position
        self._parts[log] = _part(position)


def read_cursor(text: str, logs: int) -> list[int] | None:
    """The positions that a client handed in, None where it is no cursor of a cluster with so many logs."""
    parts = text.split(".", logs)
    if len(parts) != logs or not text.isascii() or "+" in text or "/" in text:
        return None
    try:
        return [_read_part(part) for part in parts]
    except (KeyError, ValueError, Error):
        return None


def _part(position: int) -> str:
    number = position & _NUMBER_MASK
    size = 0 if number == 0 else 3 if number < _SMALL_NUMBER else 9
    ms = min(position >> _NUMBER_BITS, _LATEST_MS)  # who appends may give any id
    packed = ms.to_bytes(_MS_BYTES, "big") + number.to_bytes(size, "big")
    return urlsafe_b64encode(packed).decode("ascii")


def _read_part(part: str) -> int:
    size = _SIZES[len(part)]
    packed = b64decode(part.encode("ascii"), altchars=b"-_", validate=True)
    number = int.from_bytes(packed[_MS_BYTES:], "big")
    if number > _NUMBER_MASK or len(packed) != _MS_BYTES + size:
        raise ValueError(part)
    return int.from_bytes(packed[:_MS_BYTES], "big") << _NUMBER_BITS | number
