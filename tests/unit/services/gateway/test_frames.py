"""Frames are what the `websockets` library would write, at every size of header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from protocol.engineio.packets import Message, Packet, Ping
from protocol.socketio.parser import MessageData
from services.gateway.frames import (
    MESSAGE_PREFIX,
    frame_message,
    frame_messages,
    frame_packet,
    frame_written,
    split_frames,
    unframe,
)


def reference(opcode: Opcode, payload: bytes) -> bytes:
    return bytes(Frame(opcode, payload).serialize(mask=False))


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65_535, b"\x82\x7e\xff\xff"),
        (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_header_grows_with_the_payload(length: int, header: bytes) -> None:
    payload = b"x" * length
    assert frame_message(payload) == header + payload == reference(Opcode.BINARY, payload)


@pytest.mark.parametrize("length", [0, 124, 125, 65_534, 65_535])
def test_text_is_an_engine_io_message_of_one_more_byte(length: int) -> None:
    text = "y" * length
    assert frame_message(text) == reference(Opcode.TEXT, b"4" + text.encode())


@given(st.one_of(st.text(), st.binary()))
def test_any_message_equals_the_reference(data: MessageData) -> None:
    expected = (
        reference(Opcode.BINARY, data) if isinstance(data, bytes) else reference(Opcode.TEXT, b"4" + data.encode())
    )
    assert frame_message(data) == expected


@given(st.text())
def test_what_is_written_already_is_framed_as_it_is(text: str) -> None:
    assert frame_written(MESSAGE_PREFIX + text.encode(), is_text=True) == frame_message(text)
    assert frame_written(text.encode(), is_text=False) == frame_message(text.encode())


def test_a_packet_with_attachments_is_one_piece_of_bytes() -> None:
    assert frame_messages(["51-[]", b"\x01"]) == frame_message("51-[]") + frame_message(b"\x01")


@pytest.mark.parametrize(
    ("packet", "opcode", "payload"),
    [
        (Ping(), Opcode.TEXT, b"2"),
        (Message("é"), Opcode.TEXT, "4é".encode()),
        (Message(b"\x00"), Opcode.BINARY, b"\x00"),
    ],
)
def test_engine_io_packets_are_framed_by_what_they_hold(packet: Packet, opcode: Opcode, payload: bytes) -> None:
    assert frame_packet(packet) == reference(opcode, payload)


def as_packet(data: MessageData) -> MessageData:
    """What `unframe` gives back for a message: the Engine.IO packet."""
    return "4" + data if isinstance(data, str) else data


@given(st.lists(st.one_of(st.text(), st.binary())))
def test_frames_come_apart_into_what_they_were_made_of(messages: list[MessageData]) -> None:
    assert list(unframe(frame_messages(messages))) == [as_packet(data) for data in messages]


@pytest.mark.parametrize("length", [0, 125, 126, 127, 65_535, 65_536, 200_000])
def test_frames_of_every_size_come_apart(length: int) -> None:
    messages: list[MessageData] = [b"x" * length, "y" * length, b"\x82\x01"]
    assert list(unframe(frame_messages(messages))) == [as_packet(data) for data in messages]


@given(st.lists(st.one_of(st.text(), st.binary())), st.integers(0, 5))
def test_the_first_frames_are_split_off_whole(messages: list[MessageData], most: int) -> None:
    assert split_frames(frame_messages(messages), most) == (
        frame_messages(messages[:most]),
        frame_messages(messages[most:]),
    )
