"""Bounded waiting: every test that waits for another process or a socket does it through here."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

PATIENCE_S: Final = 30.0
"""The longest wait for anything. Generous: a machine under load is slow, and only a failing test waits so long."""

STOP_S: Final = 20.0
"""The longest that what is told to stop may take: the deadline at which a service cuts short a stop that hangs."""

POLL_S: Final = 0.02

T = TypeVar("T")


@overload
async def eventually(
    look: Callable[[], Awaitable[T]], what: str, holds: Callable[[T], object] = ..., *, patience: float = ...
) -> T: ...
@overload
async def eventually(
    look: Callable[[], T], what: str, holds: Callable[[T], object] = ..., *, patience: float = ...
) -> T: ...
async def eventually(
    look: Callable[[], Any], what: str, holds: Callable[[Any], object] = bool, *, patience: float = PATIENCE_S
) -> Any:
    """Look again until what is seen `holds` (until it is true, if nothing else is said); return it.

    Looking may take an await or not. Fails with `what` and what was seen last.
    """
    deadline = time.monotonic() + patience
    while True:
        answer = look()
        if inspect.isawaitable(answer):
            answer = await answer
        if holds(answer):
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: still {answer!r} after {patience:g} s")
        await asyncio.sleep(POLL_S)


def wait_for(look: Callable[[], T], what: str, patience: float = PATIENCE_S) -> T:
    """The same where there is no event loop."""
    return asyncio.run(eventually(look, what, patience=patience))
