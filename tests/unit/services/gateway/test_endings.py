"""What a client's mistake ends with, and what Socket.IO calls an ending."""

import pytest

from protocol.engineio.session import CloseCause
from protocol.errors import PeerError, ViolationCode
from services.gateway.endings import cause_of, reason_of
from shared.names import close_reasons


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ViolationCode.CONNECT_TIMEOUT, close_reasons.CONNECT_TIMEOUT),
        (ViolationCode.PAYLOAD_TOO_LARGE, close_reasons.MESSAGE_TOO_BIG),
    ],
)
def test_a_limit_has_an_ending_of_its_own(code: ViolationCode, reason: close_reasons.CloseReason) -> None:
    assert reason_of(PeerError(code)) is reason


def test_any_other_mistake_is_a_protocol_error() -> None:
    named = {ViolationCode.CONNECT_TIMEOUT, ViolationCode.PAYLOAD_TOO_LARGE}
    others = {reason_of(PeerError(code)) for code in ViolationCode if code not in named}
    assert others == {close_reasons.PROTOCOL_ERROR}


def test_what_the_gateway_decides_is_called_forced_by_it() -> None:
    assert cause_of(close_reasons.SLOW_CONSUMER) is CloseCause.FORCED_BY_SERVER
    assert cause_of(close_reasons.PEER_GONE) is CloseCause.TRANSPORT_ERROR
