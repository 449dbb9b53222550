"""Payloads: JSON and MessagePack, told apart by the first byte, bounded, without a float in between."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstream import MAX_PAYLOAD_BYTES, Refusal, UpstreamError
from shared.upstream.payload import flatten, read_payload


def flat(raw: bytes) -> dict[bytes, bytes]:
    payload = read_payload(raw, "data")
    assert isinstance(payload, dict)
    return flatten(payload)


def refused(raw: bytes) -> tuple[Refusal, str, int | None]:
    with pytest.raises(UpstreamError) as caught:
        read_payload(raw, "data")
    return caught.value.refusal, caught.value.field, caught.value.limit


@pytest.mark.parametrize(
    "number", ["64000.10", "1.0000000000000000001", "123456789.123456789", "9007199254740993", "6.38e-06", "-0.0"]
)
def test_a_json_number_keeps_its_digits(number: str) -> None:
    assert flat(f' {{"p": {number}}}'.encode()) == {b"p": number.encode()}


def test_a_messagepack_number_is_what_python_prints_of_it() -> None:
    packed = msgspec.msgpack.encode({"p": 64000.1, "n": 2**63, "small": 6.38e-06, "nothing": float("nan")})
    assert flat(packed) == {b"p": b"64000.1", b"n": b"9223372036854775808", b"small": b"6.38e-06", b"nothing": b"nan"}


def test_words_for_nothing_truth_and_what_is_nested() -> None:
    assert flat(b'{"a": null, "b": true, "c": false, "d": [1], "e": {"f": 1}, "g": NaN, "h": ""}') == {
        b"b": b"true",
        b"c": b"false",
        b"g": b"NaN",
        b"h": b"",
    }
    assert flat(msgspec.msgpack.encode({"a": None, b"b": b"raw", 7: True})) == {b"b": b"raw", b"7": b"true"}


def test_an_array_is_a_payload_too() -> None:
    assert read_payload(b'[{"s": 1}]', "data") == [{"s": "1"}]
    assert read_payload(msgspec.msgpack.encode([{"s": 1}]), "data") == [{"s": 1}]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"5",
        b'"text"',
        b"{",
        b'{"a":1}x',
        b"[1,]",
        b'{"a":"\xff"}',
        b"null",
        b"\xc0",
        b"\x81\xa1",
        b"\x80\x80",
        b"x",
    ],
)
def test_what_is_neither_object_nor_array_is_refused(raw: bytes) -> None:
    assert refused(raw) == (Refusal.BAD_PAYLOAD, "data", None)


def test_a_payload_has_a_size_limit() -> None:
    longest = b'{"a":"' + b"x" * (MAX_PAYLOAD_BYTES - 8) + b'"}'
    assert len(longest) == MAX_PAYLOAD_BYTES
    assert flat(longest)
    assert refused(longest + b" ") == (Refusal.PAYLOAD_TOO_LARGE, "data", MAX_PAYLOAD_BYTES)


@pytest.mark.parametrize("raw", [b"[" * 60_000, b'{"a":' * 10_000, b"\x91" * 60_000, b"\x81\xa1a" * 20_000])
def test_a_tower_of_brackets_harms_nobody(raw: bytes) -> None:
    assert refused(raw)[0] is Refusal.TOO_DEEP


def test_a_lone_surrogate_ends_as_what_is_no_text() -> None:
    assert flat(b'{"a": "\\ud800"}') == {b"a": b"\xed\xa0\x80"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@given(st.binary(max_size=300) | values.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_a_payload_or_the_one_error(raw: bytes) -> None:
    try:
        payload = read_payload(raw, "data")
    except UpstreamError:
        return
    if isinstance(payload, dict):
        assert all(isinstance(part, bytes) for pair in flatten(payload).items() for part in pair)
