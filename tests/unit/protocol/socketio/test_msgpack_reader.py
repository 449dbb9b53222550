"""Bytes from a peer to plain objects: what is read, what is refused, and that neither keeps anything."""

import sys
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import PeerError, ViolationCode
from protocol.socketio.incoming import ABSENT
from protocol.socketio.msgpack_reader import unpack
from protocol.socketio.packets import Value
from protocol.socketio.parser import Limits
from tests.fuzz import strategies

LIMITS = Limits()
LYING = b"\xff\xff\xff\xff"


def refusal(data: bytes, limits: Limits = LIMITS) -> PeerError:
    with pytest.raises(PeerError) as caught:
        unpack(data, limits)
    return caught.value


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xc0", None),
        (b"\xc2", False),
        (b"\xc3", True),
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\xff", -1),
        (b"\xe0", -32),
        (b"\xcc\xff", 255),
        (b"\xcd\xff\xff", 65_535),
        (b"\xce\xff\xff\xff\xff", 2**32 - 1),
        (b"\xcf" + b"\xff" * 8, 2**64 - 1),
        (b"\xd0\x80", -128),
        (b"\xd1\x80\x00", -(2**15)),
        (b"\xd2\x80\x00\x00\x00", -(2**31)),
        (b"\xd3\x80" + b"\x00" * 7, -(2**63)),
        (b"\xca\x3f\x80\x00\x00", 1.0),
        (b"\xcb\x3f\xf0" + b"\x00" * 6, 1.0),
        (b"\xa0", ""),
        (b"\xbf" + b"a" * 31, "a" * 31),
        (b"\xd9\x03\xe2\x82\xac", "€"),
        (b"\xda\x00\x01a", "a"),
        (b"\xdb\x00\x00\x00\x01a", "a"),
        (b"\xc4\x01\x00", b"\x00"),
        (b"\xc5\x00\x01\x00", b"\x00"),
        (b"\xc6\x00\x00\x00\x01\x00", b"\x00"),
        (b"\x90", []),
        (b"\x92\x01\x91\xc0", [1, [None]]),
        (b"\xdc\x00\x01\x01", [1]),
        (b"\xdd\x00\x00\x00\x01\x01", [1]),
        (b"\x80", {}),
        (b"\x82\xa1a\x01\xa1b\x80", {"a": 1, "b": {}}),
        (b"\xde\x00\x01\xa1a\x01", {"a": 1}),
        (b"\xdf\x00\x00\x00\x01\xd9\x01a\x01", {"a": 1}),
        (b"\x82\xa1a\x01\xa1a\x02", {"a": 2}),
    ],
    ids=lambda data: data[:6].hex() if isinstance(data, bytes) else "",
)
def test_every_form_is_read(data: bytes, value: Value) -> None:
    read = unpack(data, LIMITS)
    assert read == value
    assert type(read) is type(value)


def test_undefined_is_absent_wherever_it_stands() -> None:
    assert unpack(b"\xd4\x00\x00", LIMITS) is ABSENT
    assert unpack(b"\x92\xd4\x00\x00\x81\xa1a\xd4\x00\x00", LIMITS) == [ABSENT, {"a": ABSENT}]


@pytest.mark.parametrize(
    "data",
    [
        b"\xd4\x01\x00",
        b"\xd4\x00\x01",
        b"\xd4\xff\x00",
        b"\xd4\x00",
        b"\xc7\x01\x00\x00",
        b"\xc7\x00\x00",
        b"\xd5\x00\x00\x00",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xd7\x00" + b"\x00" * 8,
        b"\xd8\x00" + b"\x00" * 16,
        b"\xc9" + LYING + b"\x00",
    ],
    ids=bytes.hex,
)
def test_no_extension_but_undefined_is_read(data: bytes) -> None:
    assert refusal(data).code is ViolationCode.UNSUPPORTED_VALUE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\xa1",
        b"\xa1\xff",
        b"\xa3\xed\xa0\x80",
        b"\xd9\x02a",
        b"\xd9",
        b"\xda\x00",
        b"\xcb\x00",
        b"\xcc",
        b"\xc4\x01",
        b"\x91",
        b"\x92\x01",
        b"\x81",
        b"\x81\xa1a",
        b"\xdd" + LYING,
        b"\xdf" + LYING,
        b"\xdb" + LYING,
        b"\xc6" + LYING,
    ],
    ids=bytes.hex,
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    assert refusal(data).code is ViolationCode.MALFORMED


@pytest.mark.parametrize(
    "key", [b"\x90", b"\x80", b"\xc0", b"\x01", b"\xc4\x01a", b"\xd4\x00\x00", b"\xcb" + b"\x00" * 8]
)
def test_only_text_is_a_key(key: bytes) -> None:
    assert refusal(b"\x81" + key + b"\x01").code is ViolationCode.UNSUPPORTED_VALUE


def test_depth_is_limited_before_anything_is_read() -> None:
    limits = Limits(max_depth=2)
    assert unpack(b"\x91" * 4 + b"\x01", limits) == [[[[1]]]]
    assert refusal(b"\x91" * 5 + b"\x01", limits).code is ViolationCode.TOO_DEEP
    assert refusal(b"\x81\xa0" * 5 + b"\x01", limits).code is ViolationCode.TOO_DEEP
    assert refusal(b"\x91" * 1_000_000).code is ViolationCode.TOO_DEEP


def test_elements_are_limited_over_all_containers() -> None:
    limits = Limits(max_elements=3, max_map=1)
    assert unpack(b"\x92\x91\x01\x01", limits) == [[1], 1]
    error = refusal(b"\x92\x91\x01\x92\x01\x01", limits)
    assert (error.code, error.limit) == (ViolationCode.TOO_MANY_ELEMENTS, 3)


def test_keys_are_not_interned_because_some_pythons_would_keep_them() -> None:
    known = sys.intern("a key nobody else has")
    read = unpack(bytes(msgpack.packb({known: 1})), LIMITS)
    assert isinstance(read, dict)
    (key,) = read
    assert key == known
    assert key is not known


@pytest.mark.parametrize("head", [b"\xdc\x02\x00", b"\xde\x00\x40\xa0", b"\xdd\x00\x00\x10\x00"])
def test_lying_headers_reserve_nothing(head: bytes) -> None:
    data = head * 5_000
    tracemalloc.start()
    try:
        refusal(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000


@settings(deadline=None, max_examples=200, derandomize=True)
@given(value=strategies.VALUES)
def test_what_the_official_packer_writes_is_read_back(value: Value) -> None:
    assert unpack(bytes(msgpack.packb(value)), Limits(max_elements=100_000)) == value


@settings(deadline=None, max_examples=400, derandomize=True)
@given(data=st.binary(max_size=40) | strategies.mutated(strategies.RAW_BYTES))
def test_arbitrary_bytes_are_read_as_the_official_unpacker_does_or_refused(data: bytes) -> None:
    try:
        read = unpack(data, LIMITS)
    except PeerError:
        return
    official = msgpack.unpackb(data, ext_hook=lambda _code, _data: ABSENT)
    assert read == official or "nan" in repr(read)
