"""Many packets to one polling body and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.engineio.packets import Close, Message, Packet, Ping, Pong
from protocol.engineio.payload import (
    PayloadLimits,
    decode_payload,
    encode_frame,
    encode_payload,
    join_frames,
)
from protocol.errors import MisuseCode, PeerError, UsageError, ViolationCode

LIMITS = PayloadLimits()


def decode(body: bytes, limits: PayloadLimits = LIMITS) -> list[Packet]:
    return list(decode_payload(body, limits))


def test_packets_are_joined_without_a_trailing_separator() -> None:
    packets: list[Packet] = [Message("€"), Message(b"\x01"), Ping()]
    body = "4€\x1ebAQ==\x1e2".encode()
    assert encode_payload(packets) == body
    assert decode(body) == packets


def test_a_body_may_hold_one_packet() -> None:
    assert decode(b"3") == [Pong()]
    assert encode_payload([Close()]) == b"1"


def test_frames_encoded_once_join_into_the_same_body() -> None:
    packets = [Message("a"), Message(b"b")]
    assert join_frames([encode_frame(packet) for packet in packets]) == encode_payload(packets)


def test_packets_before_the_first_bad_one_count() -> None:
    packets = decode_payload(b"4a\x1e4b\x1ex\x1e4c", LIMITS)
    assert [next(packets), next(packets)] == [Message("a"), Message("b")]
    with pytest.raises(PeerError) as caught:
        next(packets)
    assert caught.value.code is ViolationCode.UNKNOWN_PACKET


@pytest.mark.parametrize("body", [b"", b"4a\x1e", b"\x1e4a", b"4a\x1e\x1e4b"])
def test_an_empty_packet_is_refused(body: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        decode(body)
    assert caught.value.code is ViolationCode.EMPTY_PACKET


def test_a_body_may_be_as_large_as_the_limit_and_no_larger() -> None:
    limits = PayloadLimits(max_bytes=8)
    assert decode("4€€c".encode(), limits) == [Message("€€c")]
    with pytest.raises(PeerError) as caught:
        decode_payload("4€€cd".encode(), limits)
    assert (caught.value.code, caught.value.limit, caught.value.actual) == (ViolationCode.PAYLOAD_TOO_LARGE, 8, 9)


def test_a_body_may_hold_as_many_packets_as_the_limit_and_no_more() -> None:
    limits = PayloadLimits(max_packets=3)
    assert len(decode(b"3\x1e3\x1e3", limits)) == 3
    with pytest.raises(PeerError) as caught:
        decode_payload(b"3\x1e3\x1e3\x1e3", limits)
    assert (caught.value.code, caught.value.limit, caught.value.actual) == (ViolationCode.TOO_MANY_PACKETS, 3, 4)


@pytest.mark.parametrize("body", [b"4\xff", b"4\xed\xa0\x80", b"4\xe2\x82"])
def test_a_body_that_is_not_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        decode_payload(body, LIMITS)
    assert caught.value.code is ViolationCode.BAD_UTF8


@pytest.mark.parametrize(
    ("packets", "code"),
    [
        ([], MisuseCode.EMPTY_PAYLOAD),
        ([Message("a\x1eb")], MisuseCode.SEPARATOR_IN_PACKET),
        ([Message("\ud800")], MisuseCode.LONE_SURROGATE),
    ],
)
def test_what_would_fall_apart_is_not_sent(packets: list[Packet], code: MisuseCode) -> None:
    with pytest.raises(UsageError) as caught:
        encode_payload(packets)
    assert caught.value.code is code


MESSAGES = st.builds(Message, st.text(max_size=9).filter(lambda text: "\x1e" not in text) | st.binary(max_size=9))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(packets=st.lists(MESSAGES | st.sampled_from([Ping(), Pong(), Close()]), min_size=1, max_size=9))
def test_any_packets_come_back_as_they_were_sent(packets: list[Packet]) -> None:
    assert decode(encode_payload(packets)) == packets


@settings(deadline=None, max_examples=200, derandomize=True)
@given(body=st.binary(max_size=40) | st.text(alphabet="0123456b\x1eprobeAQ=", max_size=40).map(str.encode))
def test_an_arbitrary_body_is_packets_or_a_peer_error(body: bytes) -> None:
    try:
        packets = decode(body)
    except PeerError:
        return
    assert decode(encode_payload(packets)) == packets
