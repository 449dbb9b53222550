"""The exception tree: what it carries and what it does not."""

import pytest

from protocol.errors import MisuseCode, PeerError, ProtocolError, UsageError, ViolationCode


def test_both_kinds_are_protocol_errors_and_neither_is_the_other() -> None:
    assert issubclass(PeerError, ProtocolError)
    assert issubclass(UsageError, ProtocolError)
    assert not issubclass(PeerError, UsageError)
    assert not issubclass(UsageError, PeerError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PeerError(ViolationCode.EMPTY_PACKET), "empty_packet"),
        (PeerError(ViolationCode.TOO_DEEP, limit=6), "too_deep limit=6"),
        (PeerError(ViolationCode.PAYLOAD_TOO_LARGE, limit=0, actual=1), "payload_too_large limit=0 actual=1"),
        (UsageError(MisuseCode.WRONG_STATE), "wrong_state"),
    ],
)
def test_an_error_prints_its_facts(error: ProtocolError, text: str) -> None:
    assert str(error) == text


def test_facts_are_fields() -> None:
    error = PeerError(ViolationCode.TOO_MANY_PACKETS, limit=4, actual=5)
    assert (error.code, error.limit, error.actual) == (ViolationCode.TOO_MANY_PACKETS, 4, 5)


@pytest.mark.parametrize("code", [*ViolationCode, *MisuseCode])
def test_a_code_is_its_name_in_lower_case(code: ViolationCode | MisuseCode) -> None:
    assert code.value == code.name.lower()
