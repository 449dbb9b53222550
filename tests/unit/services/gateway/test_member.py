"""A client's record begins without a name, and costs little."""

from services.gateway.limits import ClientLimits, EventRates
from services.gateway.member import Member
from services.gateway.subscriptions import Subscriptions
from tests.support.fakes_gateway import GatewayParts


def test_a_client_is_nobody_until_it_proves_otherwise() -> None:
    outbox, _ = GatewayParts().outbox()
    member = Member(Subscriptions(outbox), ClientLimits(EventRates(1, 1, {})), None)
    assert member.identity is None
    assert member.subscriptions.rights.allows("ANY-THING")
    assert not hasattr(member, "__dict__")
