"""The page's answers to wrong questions, and its bounds; what it finds is in tests/integration/test_debug_path.py."""

import asyncio
from http import HTTPStatus

import pytest

from services.gateway.debug.facts import Stored
from services.gateway.debug.local import LocalFacts
from services.gateway.debug.path import AT_ONCE, DebugPath
from services.gateway.debug.stored import StoredFacts
from shared.health import PageAnswer
from shared.messages import ServiceReport
from tests.support.waiting import eventually


def report(instance: str) -> ServiceReport:
    return ServiceReport(
        "gateway", instance, "1", 0, 0, ready=True, ops_port=9091, memory=0, cpu=0.0, address="10.0.0.2:8080"
    )


class SlowStored(StoredFacts):
    """Answers when it is told to."""

    def __init__(self, *gateways: str) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()
        self._gateways = [report(instance) for instance in gateways]

    async def read(self, symbol: str) -> Stored:
        self.asked += 1
        await self.go_on.wait()
        raise LookupError(symbol)

    async def gateways(self) -> list[ServiceReport]:
        return self._gateways


class Empty(LocalFacts):
    """A gateway without clients."""

    def __init__(self) -> None: ...

    def find(self, sid: str) -> None:  # noqa: ARG002 - nobody is here
        return None


def page(*gateways: str) -> tuple[DebugPath, SlowStored]:
    stored = SlowStored(*gateways)
    return DebugPath("gateway-1", stored, Empty()), stored


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({}, "sid, symbol"),
        ({"sid": ""}, "sid: "),
        ({"sid": "a b"}, "sid: "),
        ({"sid": "x" * 65}, "sid: "),
        ({"symbol": ""}, "symbol: "),
        ({"symbol": "BTC USDT"}, "symbol: "),
        ({"symbol": "X" * 33}, "symbol: "),
        ({"sid": "abc", "symbl": "BTC"}, "symbl: "),
        ({"x" * 1000: ""}, "x" * 32 + ": "),
    ],
)
async def test_a_wrong_question_is_told_which_parameter_and_what_it_should_be(
    query: dict[str, str], named: str
) -> None:
    answer = await page()[0].answer(query)
    assert answer.status == HTTPStatus.BAD_REQUEST
    assert str(answer.body["error"]).startswith(named)
    assert len(str(answer.body["error"])) < 200


async def test_a_client_that_is_not_here_is_looked_for_at_the_others() -> None:
    answer = await page("gateway-1", "gateway-2")[0].answer({"sid": "abc", "symbol": "BTC-USDT"})
    assert answer.status == HTTPStatus.NOT_FOUND
    assert answer.body["others"] == [{"gateway": "gateway-2", "address": "10.0.0.2:8080", "ops_port": 9091}]


async def test_a_client_that_is_not_here_and_no_other_gateway_is_not_connected() -> None:
    answer = await page("gateway-1")[0].answer({"sid": "abc"})
    assert answer.status == HTTPStatus.NOT_FOUND
    assert "not connected" in str(answer.body["error"])


async def test_few_questions_are_answered_at_a_time() -> None:
    made, stored = page()

    async def let_go() -> None:
        await eventually(lambda: stored.asked, "all that may are being answered", lambda count: count == AT_ONCE)
        stored.go_on.set()

    asked = [made.answer({"symbol": "BTC-USDT"}) for _ in range(AT_ONCE + 1)]
    *answers, _ = await asyncio.gather(*asked, let_go(), return_exceptions=True)
    assert [answer.status for answer in answers if isinstance(answer, PageAnswer)] == [HTTPStatus.SERVICE_UNAVAILABLE]
    with pytest.raises(LookupError):  # a question that failed does not count for ever
        await made.answer({"symbol": "BTC-USDT"})
