"""An event loop that stands still until told."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast


class ManualTimer:
    """One `call_at`."""

    def __init__(self, at: float, call: Callable[[], object]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualLoop:
    """An event loop whose turns and time the test makes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.soon: list[Callable[[], object]] = []
        self.timers: list[ManualTimer] = []
        self.as_loop = cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., object], *args: object) -> None:
        self.soon.append(partial(call, *args))

    def call_at(self, at: float, call: Callable[[], object]) -> ManualTimer:
        timer = ManualTimer(at, call)
        self.timers.append(timer)
        return timer

    def pending_timers(self) -> list[float]:
        return [timer.at for timer in self.timers if not timer.cancelled]

    def turn(self) -> None:
        """Run what was asked for with `call_soon`, and what that asks for."""
        while self.soon:
            calls, self.soon = self.soon, []
            for call in calls:
                call()

    def advance(self, seconds: float) -> None:
        """Let time pass, firing timers in order."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if not timer.cancelled and timer.at <= end]:
            timer = min(due, key=lambda item: item.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.call()
            self.turn()
        self.now = end
