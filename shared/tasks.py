"""Long-lived tasks: each has a name and an owner, and one that fails ends the service instead of dying in silence."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Self


class TaskGroup:
    """`asyncio.TaskGroup` that is left by cancelling what still runs: services end when told to, not when done."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel_all()
        try:
            await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first failure is what ended the group

    def spawn(self, name: str, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run `work` until it ends, the group is left, or another task of the group fails."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_all(self) -> None:
        """Cancel every task that still runs; leaving the group waits for them."""
        for task in self._tasks:
            task.cancel()
