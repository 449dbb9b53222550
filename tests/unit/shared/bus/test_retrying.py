"""Work that needs Redis, begun again."""

import asyncio

import pytest
from structlog.testing import capture_logs

from shared.bus.errors import BusRefusedError, BusUnavailableError
from shared.bus.retrying import keep_trying

CAP_S = 0.02


class Work:
    """Fails as told, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = 0

    async def __call__(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)


async def test_it_returns_when_the_work_returns():
    work = Work()
    await keep_trying("work", work)
    assert work.runs == 1


async def test_each_time_redis_fails_it_the_work_begins_again_and_the_log_says_so():
    work, lost = Work(BusUnavailableError("gone"), BusUnavailableError("still gone")), []
    with capture_logs() as logs:
        await keep_trying("work", work, on_lost=lambda: lost.append(work.runs), cap=CAP_S)
    assert work.runs == 3
    assert lost == [1, 2]
    assert [(line["event"], line["task"], str(line["error"])) for line in logs] == [
        ("redis_unavailable", "work", "gone"),
        ("redis_unavailable", "work", "still gone"),
    ]


async def test_what_trying_again_cannot_mend_passes():
    work = Work(BusRefusedError("wrong password"))
    with pytest.raises(BusRefusedError):
        await keep_trying("work", work, cap=CAP_S)
    assert work.runs == 1


async def test_it_can_be_ended_while_it_waits():
    work = Work(*(BusUnavailableError("gone") for _ in range(1000)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await keep_trying("work", work, cap=CAP_S)
    assert 1 < work.runs < 1000


async def test_work_that_held_for_a_while_is_begun_again_soon():
    losses: list[int] = []

    async def work() -> None:
        if len(losses) == 6:
            return
        await asyncio.sleep(CAP_S * 1.5)
        raise BusUnavailableError("cut")

    with capture_logs() as logs:
        await keep_trying("work", work, on_lost=lambda: losses.append(1), cap=CAP_S)
    assert all(line["retry_in_s"] <= CAP_S for line in logs)
    assert len(logs) == 6
