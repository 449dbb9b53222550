"""The walk over values that are to be sent, apart from any parser."""

from collections import UserDict, UserList
from decimal import Decimal
from enum import IntEnum
from types import MappingProxyType

import pytest

from protocol.errors import MisuseCode, UsageError
from protocol.socketio.incoming import MAX_ACK_ID
from protocol.socketio.outgoing import (
    check_ack_id,
    check_event_name,
    check_namespace,
    check_no_binary,
    count_binary,
    to_plain,
)
from protocol.socketio.packets import Value
from tests.support.shown import shown


class Color(IntEnum):
    RED = 1


class Shout(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ((), 0),
        ((None, True, 1, 1.5, "x", Decimal("1.5")), 0),
        ((b"x",), 1),
        (([b"x", (b"y",)], {"a": {"b": b"z"}}), 3),
        ((MappingProxyType({"a": b"x"}), UserList([b"y"])), 2),
        (("bytes in text b'x'", Color.RED, Shout("x")), 0),
    ],
)
def test_bytes_are_counted_wherever_they_are(values: tuple[Value, ...], count: int) -> None:
    assert count_binary(values) == count


@pytest.mark.parametrize("value", [{1: 1}, {None: 1}, object(), {1, 2}, bytearray(), iter(())], ids=shown)
def test_other_kinds_are_refused(value: Value) -> None:
    with pytest.raises(UsageError) as caught:
        count_binary(({"a": [value]},))
    assert caught.value.code is MisuseCode.UNSUPPORTED_VALUE


def test_too_many_bytes_objects_are_refused_with_their_number() -> None:
    with pytest.raises(UsageError) as caught:
        count_binary([b""] * 12)
    assert (caught.value.code, caught.value.limit, caught.value.actual) == (MisuseCode.TOO_MANY_ATTACHMENTS, 10, 12)


def test_binary_may_be_ruled_out() -> None:
    check_no_binary({"a": ["b"]})
    with pytest.raises(UsageError) as caught:
        check_no_binary({"a": [b"b"]})
    assert caught.value.code is MisuseCode.BINARY_NOT_ALLOWED


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Decimal("1.5"), 1.5),
        (Shout("x"), "x"),
        (Color.RED, 1),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (UserDict({"a": 1}), {"a": 1}),
        (UserList([1]), [1]),
        (range(2), [0, 1]),
    ],
)
def test_values_an_encoder_does_not_know_are_made_plain(value: object, plain: object) -> None:
    made = to_plain(value)
    assert made == plain
    assert type(made) is type(plain)


def test_a_value_that_was_never_checked_is_still_refused() -> None:
    with pytest.raises(UsageError):
        to_plain(object())


@pytest.mark.parametrize("name", ["x", "", 1, -1.5, "error"])
def test_proper_names_pass(name: str) -> None:
    check_event_name(name)


@pytest.mark.parametrize("namespace", ["/", "/a", "/a b?c"])
def test_proper_namespaces_pass(namespace: str) -> None:
    check_namespace(namespace)


@pytest.mark.parametrize("ack_id", [0, 1, MAX_ACK_ID])
def test_proper_ack_ids_pass(ack_id: int) -> None:
    check_ack_id(ack_id)


@pytest.mark.parametrize("ack_id", [-1, MAX_ACK_ID + 1, True])
def test_improper_ack_ids_are_refused(ack_id: int) -> None:
    with pytest.raises(UsageError) as caught:
        check_ack_id(ack_id)
    assert caught.value.code is MisuseCode.BAD_ACK_ID
