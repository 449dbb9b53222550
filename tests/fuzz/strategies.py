"""What hypothesis makes: values and packets that both parsers accept, and wire data built without a check."""

import json
from typing import TypeAlias

import msgpack
from hypothesis import strategies as st

from protocol.socketio.packets import (
    RESERVED_EVENTS,
    Ack,
    Connect,
    ConnectError,
    Disconnect,
    Event,
    EventName,
    Packet,
    Value,
)

Raw: TypeAlias = "bool | int | float | str | bytes | list[Raw] | dict[str, Raw] | None"

INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=12)
KEYS = st.text(max_size=6).filter(lambda key: key != "_placeholder")
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT


def nested(leaves: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    """Return values within the default depth of 6."""
    values = leaves
    for _ in range(3):
        values = values | st.lists(values, max_size=3) | st.dictionaries(KEYS, values, max_size=3)
    return values


PLAIN_VALUES = nested(SCALARS)
VALUES = nested(SCALARS | st.binary(max_size=8))
NAMESPACES = st.sampled_from(["/", "/custom", "/a/b?c=d", "/€"])
ACK_IDS = st.integers(0, 2**53 - 1)
NAMES: st.SearchStrategy[EventName] = st.text(max_size=8).filter(lambda name: name not in RESERVED_EVENTS) | INTEGERS
OBJECTS = st.dictionaries(KEYS, PLAIN_VALUES, max_size=4)


def count_bytes(value: Value) -> int:
    """Count the bytes objects in a value."""
    match value:
        case bytes():
            return 1
        case dict():
            return sum(map(count_bytes, value.values()))
        case list() | tuple():
            return sum(map(count_bytes, value))
        case _:
            return 0


ARGS = st.lists(VALUES, max_size=4).map(tuple).filter(lambda args: count_bytes(args) <= 10)
PACKETS: st.SearchStrategy[Packet] = st.one_of(
    st.builds(Connect, NAMESPACES, st.none() | OBJECTS),
    st.builds(Disconnect, NAMESPACES),
    st.builds(Event, NAMES, ARGS, NAMESPACES, st.none() | ACK_IDS),
    st.builds(Ack, ACK_IDS, ARGS, NAMESPACES),
    st.builds(ConnectError, TEXT | OBJECTS, NAMESPACES),
)

# Wire data nearly right: each field may be of the wrong kind.
RAW_VALUES: st.SearchStrategy[Raw] = st.recursive(
    SCALARS | st.binary(max_size=4) | st.sampled_from([2**64 - 1, -(2**63), 1e308]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["_placeholder", "num", "a", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)
RAW_DATA = RAW_VALUES | st.lists(RAW_VALUES, max_size=4) | st.tuples(TEXT, RAW_VALUES).map(list)
RAW_MAPS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.integers(0, 4) | RAW_VALUES,
        "nsp": NAMESPACES | RAW_VALUES,
        "data": RAW_DATA,
        "id": ACK_IDS | RAW_VALUES,
        "options": RAW_VALUES,
    },
)


def to_json_text(value: Raw) -> str:
    """Write JSON with placeholders for bytes, all numbered zero."""
    return json.dumps(value, default=lambda _: {"_placeholder": True, "num": 0})


RAW_TEXT = st.builds(
    lambda head, namespace, ack_id, data: f"{head}{namespace}{ack_id}{data}",
    st.sampled_from(["0", "1", "2", "3", "4", "51-", "62-", "510-", "5-", "50-", "7", ""]),
    st.sampled_from(["", "/,", "/custom,", "/x", "x"]),
    st.sampled_from(["", "0", "7", "9" * 16, "9" * 20]),
    RAW_DATA.map(to_json_text) | st.text(max_size=20),
)
RAW_BYTES = RAW_MAPS.map(lambda fields: bytes(msgpack.packb(fields)))


@st.composite
def mutated(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """Return bytes with a few of them replaced, put in or left out."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


@st.composite
def mutated_text(draw: st.DrawFn, source: st.SearchStrategy[str]) -> str:
    """Return text with a few characters replaced, put in or left out."""
    data = list(draw(source))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.text(alphabet='{}[]",:-0159/e.\\u\ud800', max_size=2))
    return "".join(data)


def normal(value: Value) -> Value:
    """Return a value as it arrives: tuples as lists."""
    match value:
        case dict():
            return {key: normal(item) for key, item in value.items()}
        case list() | tuple():
            return [normal(item) for item in value]
        case _:
            return value
