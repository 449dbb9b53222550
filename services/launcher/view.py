"""What is known of the running cluster, put together for whoever shows it: the board or plain lines.

Fed by `observe` (prices as a client sees them, reports of the services) and by `processes` (which child runs). Pure
but for `/proc`: time is handed in.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.launcher.prices import PriceTable
from services.launcher.processes import Child, State
from services.launcher.usage import Usage, read_usage
from shared.messages import ServiceReport
from shared.names import metrics

STALE_MS: Final = 7_000
"""Services report every two seconds; who is silent for so long is no longer believed."""

MOST_NOTICES: Final = 20


class Notice(NamedTuple):
    """Something that happened at `at` seconds."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One child.

    Attributes:
        name: as the user calls it.
        state: `ready`, `not ready`, `starting`, `silent`, or what its process is.
        healthy: whether that is as it should be.
        uptime_s: of the process that runs now; None where none does.
        memory: resident bytes, if known.
        cpu: cores, if known.
        restarts: since the launcher's start.
        detail: what it says of itself: how far a feed is.
    """

    name: str
    state: str
    healthy: bool
    uptime_s: float | None
    memory: int | None
    cpu: float | None
    restarts: int
    detail: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The cluster in numbers. Rates are per second; `clients` leaves the board's own out; `link` says whence prices."""

    uptime_s: float
    ticks: float
    trades: float
    clients: int
    symbols: int
    received: float
    services: Sequence[ServiceRow]
    link: str
    prices: PriceTable


class ClusterView:
    """The state behind the board.

    Args:
        children: everything that was started, in the order in which it is shown.
        now: seconds, of the clock that every other `now` here comes from.
    """

    def __init__(self, children: Sequence[Child], now: float) -> None:
        self.prices = PriceTable()
        self.notices: deque[Notice] = deque(maxlen=MOST_NOTICES)
        self.link = "no prices yet: connecting"
        self.connected = False
        self._children = children
        self._started = now
        self._reports: dict[int, tuple[ServiceReport, ServiceReport | None]] = {}
        self._usages: dict[int, tuple[float, Usage]] = {}

    def tell(self, text: str, now: float) -> None:
        """Show a sentence of something that happened; said again, it replaces itself."""
        if self.notices and self.notices[-1].text == text:
            self.notices.pop()
        self.notices.append(Notice(now, text))

    def take_reports(self, reports: Iterable[ServiceReport]) -> None:
        """Take the newest reports in; those of other processes than ours are left out."""
        ours = {child.pid for child in self._children}
        for report in reports:
            if report.pid not in ours:
                continue
            known, _ = self._reports.get(report.pid, (None, None))
            if known is None or known.instance != report.instance or known.at < report.at:
                same = known is not None and known.instance == report.instance
                self._reports[report.pid] = (report, known if same else None)
        self._reports = {pid: pair for pid, pair in self._reports.items() if pid in ours}

    def figures(self, now: float, now_ms: int) -> Figures:
        """Everything, now."""
        rows = [self._row(child, now, now_ms) for child in self._children]
        living = [pair for pair in self._reports.values() if now_ms - pair[0].at < STALE_MS]
        connections = sum(report.figures.get(metrics.CONNECTIONS.name, 0) for report, _ in living)
        return Figures(
            uptime_s=now - self._started,
            ticks=sum(_rate(pair, metrics.TICKS.name) for pair in living),
            trades=sum(_rate(pair, metrics.TRADES.name) for pair in living),
            clients=max(0, int(connections) - self.connected),
            symbols=len(self.prices),
            received=self.prices.rate(now),
            services=rows,
            link=self.link,
            prices=self.prices,
        )

    def _row(self, child: Child, now: float, now_ms: int) -> ServiceRow:
        running = child.state is State.RUNNING
        pair = self._reports.get(child.pid or 0)
        report = pair[0] if pair is not None and running else None
        state, healthy = _state(child, report, now_ms)
        memory, cpu = (report.memory, report.cpu) if report is not None else self._measured(child, now)
        return ServiceRow(
            name=child.command.name,
            state=state,
            healthy=healthy,
            uptime_s=now - child.started if running else None,
            memory=memory if running else None,
            cpu=cpu if running else None,
            restarts=child.restarts,
            detail=child.said,
        )

    def _measured(self, child: Child, now: float) -> tuple[int | None, float | None]:
        """Memory and cores of a child that does not report them."""
        usage = read_usage(child.pid) if child.pid is not None else None
        if usage is None or child.pid is None:
            return None, None
        before = self._usages.get(child.pid)
        if before is None or now - before[0] > 2:  # noqa: PLR2004 - as often as services report
            self._usages = {
                child.pid: (now, usage),
                **{pid: at for pid, at in self._usages.items() if pid != child.pid},
            }
        if before is None:
            return usage.memory, None
        return usage.memory, (usage.cpu_s - before[1].cpu_s) / max(now - before[0], 0.01)


def _state(child: Child, report: ServiceReport | None, now_ms: int) -> tuple[str, bool]:
    if child.state is not State.RUNNING:
        return child.state.value, child.state is State.FINISHED
    if child.command.speaks or child.command.name == "valkey":  # they do not report
        return "running", True
    if report is None:
        return "starting", False
    if now_ms - report.at > STALE_MS:
        return "silent", False
    return ("ready", True) if report.ready else ("not ready", False)


def _rate(pair: tuple[ServiceReport, ServiceReport | None], name: str) -> float:
    newer, older = pair
    if older is None or newer.at <= older.at:
        return 0.0
    return max(0.0, newer.figures.get(name, 0) - older.figures.get(name, 0)) * 1000 / (newer.at - older.at)
