"""One running cluster: the children, what is known of them, and the display.

Fed by `plan`; runs `processes`, `observe` and the board or the lines. Whatever ends it, the order of stopping is the
same: the feed, the services, Valkey. Should the launcher itself be killed, the leash of each child ends it.
"""

import asyncio
import sys
from typing import Final

from rich.console import Console
from rich.live import Live

from services.launcher import board, plain
from services.launcher.client import GatewayClient
from services.launcher.errors import LauncherError
from services.launcher.observe import PriceListener, follow_prices, follow_reports, sample_prices
from services.launcher.output import let_go_of_stdout
from services.launcher.plan import Plan
from services.launcher.processes import Child, Command, stop
from services.launcher.redis_url import open_bus
from services.launcher.tokens import sign
from services.launcher.view import ClusterView, Figures
from shared.bus.errors import BusError, BusRefusedError, BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.log import get_logger
from shared.tasks import TaskGroup

log = get_logger(__name__)

VALKEY_START_S: Final = 10.0
_POLL_S: Final = 0.05
_EVERYONE: Final = "everyone"
_BOARD_TOKEN_S: Final = 30 * 86_400


class Cluster:
    """One run.

    Args:
        plan: what to run.
        captions: what the board says of it; None: print lines instead.
        clock: of everything shown.
        console: of standard output.
    """

    def __init__(self, plan: Plan, captions: board.Captions | None, clock: Clock, console: Console) -> None:
        self._plan = plan
        self._captions = captions
        self._clock = clock
        self._console = console
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._valkey = self._children(plan.valkey)
        self._services = self._children(*plan.services)
        self._feed = self._children(plan.feed)
        children = [*self._valkey, *self._services, *self._feed]
        self._view = ClusterView(children, clock.monotonic())

    def interrupt(self) -> None:
        """Ctrl-C or SIGTERM: stop; a second one: stop at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self) -> None:
        """Start, show, and stop when told to, or when a child does not stay up.

        Raises:
            LauncherError: a child does not stay up, or Redis cannot be used.
        """
        bus = open_bus(self._plan.redis_url, "tickwire-up")
        try:
            async with TaskGroup() as tasks:
                tasks.spawn("work", self._work(tasks, bus))
                await self._stopping.wait()
        finally:
            await self._stop(bus)

    async def _work(self, tasks: TaskGroup, bus: RedisBus) -> None:
        for child in self._valkey:
            tasks.spawn(child.command.name, child.run())
            await _answers(bus)
        for child in (*self._services, *self._feed):
            tasks.spawn(child.command.name, child.run())
        audience = self._plan.setting("PRICE_BATCH_AUDIENCE") or _EVERYONE
        if audience == _EVERYONE:
            client = GatewayClient(self._plan.gateways, PriceListener(self._view, self._clock), token=self._token())
            tasks.spawn("prices", follow_prices(client, self._view))
        else:
            self._view.link = f"no prices on this board: PRICE_BATCH_AUDIENCE={audience}"
        tasks.spawn("reports", follow_reports(bus, self._view, self._clock))
        tasks.spawn("samples", sample_prices(self._view, self._clock))
        if self._captions is None:
            await self._print_lines()
        else:
            await self._draw_board(self._captions)

    async def _draw_board(self, captions: board.Captions) -> None:
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                now = self._clock.monotonic()
                figures = self._view.figures(now, self._clock.now_ms())
                drawn = board.draw(figures, captions, self._view.notices, self._console.size, now)
                live.update(drawn, refresh=True)
                await asyncio.sleep(board.REDRAW_S)

    async def _print_lines(self) -> None:
        told: list[str] = []
        due = 0.0
        while True:
            now = self._clock.monotonic()
            figures = self._view.figures(now, self._clock.now_ms())
            states = [row.state for row in figures.services]
            if states != told or now >= due:
                told, due = states, now + plain.EVERY_S
                self._print_line(figures)
            await asyncio.sleep(plain.LOOK_S)

    def _print_line(self, figures: Figures) -> None:
        write = plain.as_json if self._plan.setting("LOG_FORMAT") == "json" else plain.as_text
        try:
            sys.stdout.write(write(figures, self._clock.now_ms()) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read the lines has left
            let_go_of_stdout()
            self._stopping.set()

    async def _stop(self, bus: RedisBus) -> None:
        self._stopping.set()
        self._say("Tickwire stops; Ctrl-C again to hurry it.")
        for group in (self._feed, self._services, self._valkey):
            await stop(group, self._hurry, self._plan.drain_s)
        self._say("Stopped. Nothing is left running.")
        try:
            await bus.close()
        except BusError as error:
            log.debug("redis_close_failed", error=error)

    def _say(self, text: str) -> None:
        """After the board has left the screen; with lines the log says it all."""
        if self._captions is not None:
            self._console.print(text, style="dim")

    def _children(self, *commands: Command | None) -> list[Child]:
        return [Child(command, self._tell) for command in commands if command is not None]

    def _tell(self, text: str) -> None:
        self._view.tell(text, self._clock.monotonic())
        log.warning("child_changed", change=text)

    def _token(self) -> str:
        """For the board's own client, where the gateways want one and we can sign it."""
        if self._plan.setting("AUTH_MODE") != "required" or not self._plan.setting("JWT_SECRET"):
            return ""
        return sign("board", None, _BOARD_TOKEN_S, self._clock.now_ms(), self._plan.environment, None)


async def _answers(bus: RedisBus) -> None:
    """Wait until the embedded server answers, so that no service need complain of its absence.

    Raises:
        LauncherError: it does not.
    """
    try:
        async with asyncio.timeout(VALKEY_START_S):
            while True:
                try:
                    await bus.ping()
                except BusUnavailableError:
                    await asyncio.sleep(_POLL_S)
                else:
                    return
    except TimeoutError:
        raise LauncherError(f"the embedded Valkey does not answer within {VALKEY_START_S:.0f} s") from None
    except BusRefusedError as error:
        raise LauncherError(f"the embedded Valkey refuses: {error}") from error
