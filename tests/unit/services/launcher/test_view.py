"""What is known of a cluster: states, rates, clients."""

import os

from services.launcher.processes import Child, Command, State
from services.launcher.view import STALE_MS, ClusterView
from shared.messages import ServiceReport
from shared.names import metrics

NOW_MS = 1_763_800_000_000


class FakeProcess:
    """Stands for a process that runs under a pid of our choice."""

    def __init__(self, pid: int) -> None:
        self.pid = pid


def child(name: str, pid: int | None, *, speaks: bool = False, state: State = State.RUNNING) -> Child:
    one = Child(Command(name, ("/bin/true",), {}, speaks=speaks), lambda _text: None)
    one.state = state
    one.started = 90.0
    one._process = FakeProcess(pid) if pid is not None else None  # type: ignore[assignment]  # only its pid is asked for
    return one


def report(
    pid: int, at: int = NOW_MS, figures: dict[str, float] | None = None, *, instance: str = "", ready: bool = True
) -> ServiceReport:
    name = instance or f"i-{pid}"
    return ServiceReport("gateway", name, "0", at, 0, ready, 1, 50_000_000, 0.25, figures=figures or {}, pid=pid)


def test_a_service_is_what_its_newest_report_says():
    gateway = child("gateway", 11)
    view = ClusterView([gateway], 90.0)
    assert view.figures(100.0, NOW_MS).services[0].state == "starting"
    view.take_reports([report(11)])
    row = view.figures(100.0, NOW_MS).services[0]
    assert (row.state, row.healthy, row.memory, row.cpu, row.uptime_s) == ("ready", True, 50_000_000, 0.25, 10.0)
    view.take_reports([report(11, NOW_MS + 1, ready=False)])
    assert view.figures(100.0, NOW_MS).services[0].state == "not ready"
    assert view.figures(100.0, NOW_MS + STALE_MS + 2).services[0].state == "silent"


def test_the_report_of_a_dead_predecessor_is_not_believed():
    gateway = child("gateway", 11)
    view = ClusterView([gateway], 90.0)
    view.take_reports([report(11)])
    gateway._process = FakeProcess(12)  # type: ignore[assignment]  # as above
    assert view.figures(100.0, NOW_MS).services[0].state == "starting"


def test_a_child_that_does_not_run_says_so():
    rows = ClusterView(
        [child("a", None, state=State.WAITING), child("feed", None, speaks=True, state=State.FINISHED)], 90.0
    )
    assert [(row.state, row.healthy) for row in rows.figures(100.0, NOW_MS).services] == [
        ("waiting", False),
        ("finished", True),
    ]


def test_reports_of_other_processes_are_left_out():
    view = ClusterView([child("gateway", 11)], 90.0)
    view.take_reports([report(99, figures={metrics.CONNECTIONS.name: 5})])
    assert view.figures(100.0, NOW_MS).clients == 0


def test_rates_are_taken_between_the_last_two_reports():
    view = ClusterView([child("price-ingest", 11)], 90.0)
    view.take_reports([report(11, NOW_MS - 2000, {metrics.TICKS.name: 1000})])
    assert view.figures(100.0, NOW_MS).ticks == 0
    view.take_reports([report(11, NOW_MS, {metrics.TICKS.name: 1600})])
    view.take_reports([report(11, NOW_MS, {metrics.TICKS.name: 1600})])
    assert view.figures(100.0, NOW_MS).ticks == 300


def test_a_counter_that_began_again_gives_no_negative_rate():
    view = ClusterView([child("price-ingest", 11)], 90.0)
    view.take_reports([report(11, NOW_MS - 2000, {metrics.TICKS.name: 1000}, instance="old")])
    view.take_reports([report(11, NOW_MS, {metrics.TICKS.name: 10}, instance="new")])
    assert view.figures(100.0, NOW_MS).ticks == 0


def test_the_boards_own_client_is_not_counted():
    view = ClusterView([child("gateway-1", 11), child("gateway-2", 12)], 90.0)
    view.take_reports(report(pid, figures={metrics.CONNECTIONS.name: open_}) for pid, open_ in ((11, 3), (12, 2)))
    assert view.figures(100.0, NOW_MS).clients == 5
    view.connected = True
    assert view.figures(100.0, NOW_MS).clients == 4


def test_a_child_that_does_not_report_is_measured():
    valkey = child("valkey", os.getpid())
    row = ClusterView([valkey], 90.0).figures(100.0, NOW_MS).services[0]
    assert row.state == "running"
    assert row.memory is None or row.memory > 1_000_000


def test_a_notice_said_twice_stands_once_with_its_newest_time():
    view = ClusterView([], 0.0)
    view.tell("Redis does not answer", 1.0)
    view.tell("Redis does not answer", 2.0)
    assert [(notice.at, notice.text) for notice in view.notices] == [(2.0, "Redis does not answer")]
