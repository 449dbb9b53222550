"""The checks on everything that we send, shared by the two parsers: an event that JSON can carry, msgpack can too.

They run once per packet, on the way to every client that gets it, so they are one quick walk and build nothing.
Only `UsageError` is raised.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Final

from protocol.errors import MisuseCode, UsageError
from protocol.socketio.incoming import MAX_ACK_ID, MAX_INT, MIN_INT, PLACEHOLDER
from protocol.socketio.packets import RESERVED_EVENTS, EventName, Value

MAX_ATTACHMENTS: Final = 10
"""Stock clients refuse packets with more (3.1)."""


def count_binary(values: Sequence[Value]) -> int:
    """Check values that are to be sent, and count the bytes objects in them.

    Raises:
        UsageError: a value is of no kind that both parsers can carry, a number is not finite or beyond 64 bits, an
            object would be taken for a placeholder, or there are too many bytes objects.
    """
    try:
        count = _count_array(values)
    except RecursionError:
        raise UsageError(MisuseCode.UNSUPPORTED_VALUE) from None
    except ValueError:  # a signalling NaN
        raise UsageError(MisuseCode.NUMBER_OUT_OF_RANGE) from None
    if count > MAX_ATTACHMENTS:
        raise UsageError(MisuseCode.TOO_MANY_ATTACHMENTS, limit=MAX_ATTACHMENTS, actual=count)
    return count


def check_no_binary(value: Value) -> None:
    """Check a value where bytes cannot be carried: auth and error objects, fragments.

    Raises:
        UsageError: there are some, or as `count_binary`.
    """
    if count_binary((value,)):
        raise UsageError(MisuseCode.BINARY_NOT_ALLOWED)


def check_event_name(name: EventName) -> None:
    """Check the name of an event.

    Raises:
        UsageError: it is reserved, or no text and no number.
    """
    if isinstance(name, str):
        if name in RESERVED_EVENTS:
            raise UsageError(MisuseCode.RESERVED_EVENT)
    elif isinstance(name, bool) or not isinstance(name, (int, float)):
        raise UsageError(MisuseCode.UNSUPPORTED_VALUE)
    else:
        _count(name)


def check_namespace(namespace: str) -> None:
    """Check a namespace other than the root.

    Raises:
        UsageError: it does not start with a slash, holds a comma or is no Unicode.
    """
    if not namespace.startswith("/") or "," in namespace:
        raise UsageError(MisuseCode.BAD_NAMESPACE)
    try:
        namespace.encode()
    except UnicodeEncodeError:
        raise UsageError(MisuseCode.LONE_SURROGATE) from None


def check_ack_id(ack_id: int) -> None:
    """Check an ack id.

    Raises:
        UsageError: it is negative, or too large for JavaScript.
    """
    if isinstance(ack_id, bool) or not 0 <= ack_id <= MAX_ACK_ID:
        raise UsageError(MisuseCode.BAD_ACK_ID, limit=MAX_ACK_ID)


def to_plain(value: object) -> object:
    """Turn a value of a checked kind that an encoder does not know into one it knows; both encoders call it back.

    Raises:
        UsageError: it is none; the check has already said so, unless it was skipped.
    """
    match value:
        case Decimal():
            return float(value)
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping():
            return dict(value)
        case Sequence():
            return list(value)
        case _:
            raise UsageError(MisuseCode.UNSUPPORTED_VALUE)


def _count(value: Value) -> int:
    """Check one value; the frequent kinds come first."""
    if value is None or isinstance(value, str):
        return 0
    if isinstance(value, int):  # bool is one, within bounds
        if not MIN_INT <= value <= MAX_INT:
            raise UsageError(MisuseCode.NUMBER_OUT_OF_RANGE)
        return 0
    if isinstance(value, (float, Decimal)):
        if not isfinite(value):  # a decimal beyond float64 counts as infinite: that is what clients would get
            raise UsageError(MisuseCode.NUMBER_OUT_OF_RANGE)
        return 0
    if isinstance(value, (dict, Mapping)):
        return _count_object(value)
    if isinstance(value, bytes):
        return 1
    if isinstance(value, (bytearray, memoryview)) or not isinstance(value, (list, tuple, Sequence)):
        raise UsageError(MisuseCode.UNSUPPORTED_VALUE)
    return _count_array(value)


def _count_array(values: Sequence[Value]) -> int:
    count = 0
    for value in values:
        if type(value) is not str:
            count += _count(value)
    return count


def _count_object(items: Mapping[str, Value]) -> int:
    if items.get(PLACEHOLDER) is True:
        raise UsageError(MisuseCode.RESERVED_KEY)
    count = 0
    for key, value in items.items():
        if not isinstance(key, str):
            raise UsageError(MisuseCode.UNSUPPORTED_VALUE)
        if type(value) is not str:
            count += _count(value)
    return count
