"""What a connection tells its caller is a closed set of frozen values."""

from typing import get_args

import pytest

from protocol.socketio.happenings import (
    AckReceived,
    AckTimedOut,
    AckUnknown,
    ConnectRequested,
    EventReceived,
    Happening,
    NamespaceLeft,
)

HAPPENINGS = [
    ConnectRequested("/", {}),
    EventReceived("/", "x", (), None),
    AckReceived("/", "token", ()),
    AckUnknown("/", 1),
    NamespaceLeft("/"),
]


def test_the_union_holds_what_a_message_can_cause() -> None:
    assert set(get_args(Happening)) == {type(happening) for happening in HAPPENINGS}


@pytest.mark.parametrize("happening", [*HAPPENINGS, AckTimedOut("/", "token")])
def test_a_happening_is_slotted_and_names_its_namespace(happening: Happening | AckTimedOut) -> None:
    assert not hasattr(happening, "__dict__")
    assert happening.namespace == "/"
