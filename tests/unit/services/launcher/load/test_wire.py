"""What a load client writes and reads, in both formats, as the protocol's own codecs see it."""

import json

import msgpack
import pytest

from services.launcher.load import wire


def payload_of(frame: bytes) -> bytes:
    length = frame[1] & 0x7F
    start = {126: 4, 127: 10}.get(length, 2)
    assert frame[1] & 0x80, "a client's frames are masked"
    assert frame[start : start + 4] == b"\0\0\0\0"
    return frame[start + 4 :]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_the_length_of_a_frame_is_written_as_it_must_be(size):
    frame = wire.frame(wire.TEXT, b"x" * size)
    assert payload_of(frame) == b"x" * size
    stated = frame[1] & 0x7F
    if stated > 125:
        stated = int.from_bytes(frame[2 : 4 if stated == 126 else 10])
    assert stated == size


def test_an_event_wants_an_answer_in_either_format():
    arguments = [["A"], {"deliver": "batch"}]
    text = payload_of(wire.event("go", arguments, 7, packed=False))
    assert (text[:3], json.loads(text[3:])) == (b"427", ["go", *arguments])
    packed = msgpack.unpackb(payload_of(wire.event("go", arguments, 7, packed=True)))
    assert packed == {"type": 2, "nsp": "/", "data": ["go", *arguments], "id": 7}


@pytest.mark.parametrize("packed", [False, True])
def test_answers_are_told_from_events(packed):
    yes = msgpack.packb({"type": 3, "nsp": "/", "data": [{"ok": True}], "id": 12}) if packed else b'4312[{"ok":true}]'
    no = msgpack.packb({"type": 3, "nsp": "/", "data": [{"ok": False}], "id": 3}) if packed else b'433[{"ok":false}]'
    event = msgpack.packb({"type": 2, "nsp": "/", "data": ["hello"]}) if packed else b'42["hello"]'
    assert wire.acked(yes, packed=packed)
    assert not wire.acked(event, packed=packed)
    assert wire.ack_id_of(yes, packed=packed) == 12
    assert [wire.is_refusal(one, packed=packed) for one in (yes, no)] == [False, True]


@pytest.mark.parametrize("packed", [False, True])
def test_an_update_and_a_batch_say_what_they_hold(packed):
    def packet(*data: object) -> bytes:
        if packed:
            return bytes(msgpack.packb({"type": 2, "nsp": "/", "data": list(data)}))
        return b"42" + json.dumps(data).encode()

    update = packet("price:update", {"symbol": "A", "price": 1763800000.123456, "ts": 1, "seq": 9, "n": 2})
    assert wire.prices_of(update, packed=packed) == [wire.Price("A", 1763800000.123456, 9, 2, restated=False)]
    batch = packet("price:batch", [["A", 1.5], ["B", 2.5]], {"ts": 1, "seqs": [4, 5], "ns": [1, 3], "snap": 1})
    assert wire.prices_of(batch, packed=packed) == [
        wire.Price("A", 1.5, 4, 1, restated=True),
        wire.Price("B", 2.5, 5, 3, restated=True),
    ]


@pytest.mark.parametrize(
    "payload", [b'42["price:update",{}]', b'42["price:batch",[["A"]]]', b"42[]", b'42{"a":1}', b"42["]
)
def test_what_is_no_price_is_an_error(payload):
    with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds
        wire.prices_of(payload, packed=False)
