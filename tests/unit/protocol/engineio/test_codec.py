"""One packet to one frame and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.engineio import codec
from protocol.engineio.packets import Close, Message, Noop, Open, Packet, Ping, Pong, Upgrade
from protocol.errors import PeerError, ViolationCode

HANDSHAKE = Open("s1", ("websocket",), 25_000, 20_000, 1_000_000)
HANDSHAKE_TEXT = '0{"sid":"s1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
FRAMES = [
    (HANDSHAKE, HANDSHAKE_TEXT),
    (Close(), "1"),
    (Ping(), "2"),
    (Ping(probe=True), "2probe"),
    (Pong(), "3"),
    (Pong(probe=True), "3probe"),
    (Message(""), "4"),
    (Message("hello"), "4hello"),
    (Message("b64"), "4b64"),
    (Message(b"\x00\xff"), b"\x00\xff"),
    (Message(b""), b""),
    (Upgrade(), "5"),
    (Noop(), "6"),
]


@pytest.mark.parametrize(("packet", "frame"), FRAMES)
def test_a_packet_is_this_frame(packet: Packet, frame: str | bytes) -> None:
    assert codec.encode(packet) == frame
    assert codec.decode(frame) == packet


@pytest.mark.parametrize(("data", "frame"), [(b"", "b"), (b"\x00\xff", "bAP8="), (b"abc", "bYWJj")])
def test_binary_travels_as_base64_where_only_text_does(data: bytes, frame: str) -> None:
    assert codec.encode(Message(data), binary_as_text=True) == frame
    assert codec.decode(frame) == Message(data)


@pytest.mark.parametrize("packet", [packet for packet, frame in FRAMES if isinstance(frame, str)])
def test_text_is_the_same_wherever_it_travels(packet: Packet) -> None:
    assert codec.encode(packet, binary_as_text=True) == codec.encode(packet)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", ViolationCode.EMPTY_PACKET),
        ("7", ViolationCode.UNKNOWN_PACKET),
        ("x", ViolationCode.UNKNOWN_PACKET),
        (" 4", ViolationCode.UNKNOWN_PACKET),
        ("٤", ViolationCode.UNKNOWN_PACKET),
        ("\ud800", ViolationCode.UNKNOWN_PACKET),
        ("1x", ViolationCode.UNEXPECTED_DATA),
        ("2x", ViolationCode.UNEXPECTED_DATA),
        ("2probes", ViolationCode.UNEXPECTED_DATA),
        ("3prob", ViolationCode.UNEXPECTED_DATA),
        ("5probe", ViolationCode.UNEXPECTED_DATA),
        ("66", ViolationCode.UNEXPECTED_DATA),
        ("bA", ViolationCode.BAD_BASE64),
        ("bAP8", ViolationCode.BAD_BASE64),
        ("bAP8==", ViolationCode.BAD_BASE64),
        ("b A==", ViolationCode.BAD_BASE64),
        ("b_-8=", ViolationCode.BAD_BASE64),
        ("bAP8=AP8=", ViolationCode.BAD_BASE64),
        ("b€", ViolationCode.BAD_BASE64),
        ("b\ud800", ViolationCode.BAD_BASE64),
        ("0", ViolationCode.BAD_HANDSHAKE),
        ("0{}", ViolationCode.BAD_HANDSHAKE),
        ("0" + "[" * 100_000, ViolationCode.BAD_HANDSHAKE),
        ('0"\ud800"', ViolationCode.BAD_HANDSHAKE),
        (HANDSHAKE_TEXT.replace('"s1"', "1"), ViolationCode.BAD_HANDSHAKE),
    ],
)
def test_a_frame_that_is_no_packet_is_refused(frame: str, code: ViolationCode) -> None:
    with pytest.raises(PeerError) as caught:
        codec.decode(frame)
    assert caught.value.code is code


@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    frame=st.text(alphabet=st.characters() | st.just("\ud800"), max_size=20)
    | st.binary(max_size=20)
    | st.from_regex(r"\A[0-7b]probe?[A-Za-z+/=]{0,9}\Z"),
)
def test_an_arbitrary_frame_is_a_packet_or_a_peer_error(frame: str | bytes) -> None:
    try:
        packet = codec.decode(frame)
    except PeerError:
        return
    assert codec.decode(codec.encode(packet)) == packet
    assert codec.decode(codec.encode(packet, binary_as_text=True)) == packet
