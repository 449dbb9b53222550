"""Socket.IO packets are frozen values without a dictionary each."""

from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from protocol.socketio.packets import Ack, Connect, ConnectError, Disconnect, Event, Packet

PACKETS = [Connect(), Disconnect(), Event("x"), Ack(0), ConnectError("no")]


def test_the_union_holds_the_five_packets() -> None:
    assert set(get_args(Packet)) == {type(packet) for packet in PACKETS}


@pytest.mark.parametrize("packet", PACKETS)
def test_a_packet_is_slotted_and_speaks_of_the_root_unless_told_otherwise(packet: Packet) -> None:
    assert not hasattr(packet, "__dict__")
    assert packet.namespace == "/"


def test_a_packet_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Event("x").name = "y"  # type: ignore[misc]
