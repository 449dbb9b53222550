"""msgpack bytes from a peer to plain objects, for `msgpack_parser.py`.

The C unpacker of the `msgpack` package is made for data one trusts. It interns the keys of maps, which Python 3.12
keeps for ever, so that any client could grow the process without end; it reserves memory for as many elements as a
header claims; and it cannot tell JavaScript's `undefined` from a buffer of one zero byte. Clients send little and
rarely, so this reader gives up its speed to do none of that: no key is interned, nothing is reserved, and whatever a
header claims is checked against the bytes that are there and the `Limits`. Only `PeerError` is raised.
"""

from struct import Struct, error
from typing import Final

from protocol.errors import PeerError, ViolationCode
from protocol.socketio.incoming import ABSENT
from protocol.socketio.parser import Limits

_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS: Final = {
    0xCA: Struct(">f"),
    0xCB: Struct(">d"),
    0xCC: Struct(">B"),
    0xCD: Struct(">H"),
    0xCE: Struct(">I"),
    0xCF: Struct(">Q"),
    0xD0: Struct(">b"),
    0xD1: Struct(">h"),
    0xD2: Struct(">i"),
    0xD3: Struct(">q"),
}
_U8, _U16, _U32 = (Struct(">B"), Struct(">H"), Struct(">I"))
_STRINGS: Final = {0xD9: _U8, 0xDA: _U16, 0xDB: _U32}
_BINARIES: Final = {0xC4: _U8, 0xC5: _U16, 0xC6: _U32}
_ARRAYS: Final = {0xDC: _U16, 0xDD: _U32}
_MAPS: Final = {0xDE: _U16, 0xDF: _U32}
_EXTENSIONS: Final = frozenset({0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8})

# One byte holds the kind and the value or length: these are the first bytes behind each such range.
_FIXMAP: Final = 0x80
_FIXARRAY: Final = 0x90
_FIXSTR: Final = 0xA0
_LONG_FORMS: Final = 0xC0
_NEGATIVE_FIXINT: Final = 0xE0

_UNDEFINED: Final = b"\xd4\x00\x00"
"""What notepack writes for JavaScript's `undefined`: extension type 0 with one zero byte (protocol reference 4)."""

_ENVELOPE_DEPTH: Final = 1
"""Containers around an argument: the packet, which has depth 0, and its data."""


def unpack(data: bytes, limits: Limits) -> object:
    """Read one value.

    Returns:
        None, bool, int, float, str, bytes, list, dict with str keys, or `ABSENT`.

    Raises:
        PeerError: it is malformed or not all there, something follows it, or it breaks a limit.
    """
    reader = _Reader(data, limits)
    try:
        value = reader.read(0)
    except (IndexError, error, UnicodeDecodeError):  # the data end in the middle of a value, or text is no UTF-8
        raise PeerError(ViolationCode.MALFORMED) from None
    if reader.position != len(data):
        raise PeerError(ViolationCode.MALFORMED)
    return value


class _Reader:
    """A position in the data, and how many more elements there may be."""

    __slots__ = ("_data", "_depth_limit", "_elements_left", "_limits", "position")

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._data = data
        self._limits = limits
        self._depth_limit = limits.max_depth + _ENVELOPE_DEPTH
        self._elements_left = limits.max_elements + limits.max_map
        self.position = 0

    def read(self, depth: int) -> object:
        """Read the value at the position; `depth` is its own if it is a container."""
        head = self._data[self.position]
        self.position += 1
        if head < _FIXMAP:
            return head
        if head < _FIXARRAY:
            return self._read_map(head - _FIXMAP, depth)
        if head < _FIXSTR:
            return self._read_array(head - _FIXARRAY, depth)
        if head < _LONG_FORMS:
            return self._take(head - _FIXSTR).decode()
        if head >= _NEGATIVE_FIXINT:
            return head - 0x100
        return self._read_long_form(head, depth)

    def _read_long_form(self, head: int, depth: int) -> object:
        value: object
        if head in _CONSTANTS:
            value = _CONSTANTS[head]
        elif head in _NUMBERS:
            value = self._read_number(_NUMBERS[head])
        elif head in _STRINGS:
            value = self._take(self._read_length(_STRINGS[head])).decode()
        elif head in _BINARIES:
            value = self._take(self._read_length(_BINARIES[head]))
        elif head in _ARRAYS:
            value = self._read_array(self._read_length(_ARRAYS[head]), depth)
        elif head in _MAPS:
            value = self._read_map(self._read_length(_MAPS[head]), depth)
        else:
            value = self._read_extension(head)
        return value

    def _read_array(self, length: int, depth: int) -> list[object]:
        self._enter(length, depth)
        return [self.read(depth + 1) for _ in range(length)]

    def _read_map(self, length: int, depth: int) -> dict[str, object]:
        self._enter(length, depth)
        items: dict[str, object] = {}
        for _ in range(length):
            key = self._read_key()
            items[key] = self.read(depth + 1)
        return items

    def _read_key(self) -> str:
        head = self._data[self.position]
        self.position += 1
        if _FIXSTR <= head < _LONG_FORMS:
            return self._take(head - _FIXSTR).decode()
        if head in _STRINGS:
            return self._take(self._read_length(_STRINGS[head])).decode()
        raise PeerError(ViolationCode.UNSUPPORTED_VALUE)

    def _enter(self, length: int, depth: int) -> None:
        """Check a container before anything is read into it."""
        if depth > self._depth_limit:
            raise PeerError(ViolationCode.TOO_DEEP, limit=self._limits.max_depth)
        if length > len(self._data) - self.position:  # every element takes a byte or more
            raise PeerError(ViolationCode.MALFORMED)
        self._elements_left -= length
        if self._elements_left < 0:
            raise PeerError(ViolationCode.TOO_MANY_ELEMENTS, limit=self._limits.max_elements)

    def _read_extension(self, head: int) -> object:
        start = self.position - 1
        if self._data[start : start + len(_UNDEFINED)] == _UNDEFINED:
            self.position = start + len(_UNDEFINED)
            return ABSENT
        raise PeerError(ViolationCode.UNSUPPORTED_VALUE if head in _EXTENSIONS else ViolationCode.MALFORMED)

    def _read_number(self, form: Struct) -> int | float:
        value: int | float = form.unpack_from(self._data, self.position)[0]
        self.position += form.size
        return value

    def _read_length(self, form: Struct) -> int:
        length: int = form.unpack_from(self._data, self.position)[0]
        self.position += form.size
        return length

    def _take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self._data):
            raise PeerError(ViolationCode.MALFORMED)
        piece = self._data[self.position : end]
        self.position = end
        return piece
