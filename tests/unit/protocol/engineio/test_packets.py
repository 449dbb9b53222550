"""Engine.IO packets are frozen values without a dictionary each."""

from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from protocol.engineio.packets import Close, Message, Noop, Open, Packet, Ping, Pong, Upgrade

PACKETS = [Open("s", (), 1, 2, 3), Close(), Ping(), Pong(), Message("x"), Upgrade(), Noop()]


def test_the_union_holds_the_seven_packets() -> None:
    assert set(get_args(Packet)) == {type(packet) for packet in PACKETS}


@pytest.mark.parametrize("packet", PACKETS)
def test_a_packet_is_slotted_and_hashable(packet: Packet) -> None:
    assert not hasattr(packet, "__dict__")
    assert hash(packet) == hash(packet)


def test_a_packet_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Message("x").data = "y"  # type: ignore[misc]
