"""Bounded waiting: every test that waits for another process or a socket does it through here."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

PATIENCE_S: Final = 20.0
"""The longest wait for anything. Generous: a machine under load is slow, and only a failing test waits so long."""

POLL_S: Final = 0.02

T = TypeVar("T")


async def eventually(check: Callable[[], T], what: str, patience: float = PATIENCE_S) -> T:
    """Look again until what is seen is true; return it. Fails with `what` and what was seen last."""

    async def look() -> T:
        return check()

    return await eventually_told(look, what, patience)


async def eventually_told(ask: Callable[[], Awaitable[T]], what: str, patience: float = PATIENCE_S) -> T:
    """The same where looking takes an await."""
    deadline = time.monotonic() + patience
    while not (answer := await ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: still {answer!r} after {patience:g} s")
        await asyncio.sleep(POLL_S)
    return answer


def wait_for(ask: Callable[[], T], what: str, patience: float = PATIENCE_S) -> T:
    """The same without an event loop, for fixtures."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: still {answer!r} after {patience:g} s")
        time.sleep(POLL_S)
    return answer
