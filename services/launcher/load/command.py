"""`tickwire load`: what it takes and what it says; `run` does the work.

Fed by the command line; writes the report files.
"""
# ruff: noqa: FBT002, PLC0415, PLR0913, PLR0917 - as in services.launcher.cli

import asyncio
import os
import shlex
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from services.launcher.arguments import find_gateways, find_redis, log_as
from services.launcher.errors import LauncherError
from services.launcher.load.scenario import Scenario, load_scenario, names
from services.launcher.load.target import Target, resolve
from shared.clock import SystemClock

EPILOG: Final = """Example: `tickwire load fanout --start` on a cluster of its own;

`tickwire load storm --clients 5000 --workers 2 --start`;

`tickwire load batch --pid PID` on the `tickwire up` that runs, with PID, its gateway, measured;

`tickwire load my.toml --url http://10.0.0.5:3000 --publisher 'node publish.cjs redis://10.0.0.5' --parser msgpack`
"""


@dataclass(frozen=True, slots=True)
class Where:
    """Which server, as the user says it."""

    url: str
    redis_url: str
    publisher: str
    pids: Sequence[int]
    anywhere: bool
    start: bool


_Name = Annotated[str, typer.Argument(help=f"One of {', '.join(names()) or 'your own'}; or a TOML file.")]
_Start = Annotated[bool, typer.Option("--start", help="Start a cluster for it: Valkey, one gateway.")]
_Url = Annotated[str, typer.Option(help="Of any Socket.IO server. [default: a running `tickwire up`, else port 8080]")]
_RedisUrl = Annotated[str, typer.Option(help="Where ticks go. [default: REDIS_URL, else `tickwire up`'s]")]
_Publisher = Annotated[
    str, typer.Option(help="Command that publishes for another server; see services/launcher/load/publish.py.")
]
_Pids = Annotated[list[int] | None, typer.Option(help="Of a process to measure, the server's first; repeatable.")]
_Clients = Annotated[int | None, typer.Option(help="How many.")]
_Symbols = Annotated[int | None, typer.Option(help="How many are published.")]
_Each = Annotated[int | None, typer.Option(help="How many each client subscribes to.")]
_Ticks = Annotated[float | None, typer.Option(help="Published a second, all symbols together.")]
_Seconds = Annotated[float | None, typer.Option(help="Of measuring.")]
_Parser = Annotated[str | None, typer.Option(help="`json`, `msgpack` or `both`.")]
_Deliver = Annotated[str | None, typer.Option(help="`update` or `batch`.")]
_Ramp = Annotated[float | None, typer.Option(help="Connections begun a second.")]
_Workers = Annotated[int | None, typer.Option(help="Processes of the generator.")]
_SlowShare = Annotated[float | None, typer.Option(help="Of the clients, 0 to 1; scenario slow.")]
_Churn = Annotated[float | None, typer.Option(help="Changes of subscription a second; scenario churn.")]
_Out = Annotated[Path, typer.Option(help="Folder of load-SCENARIO-TIME.json and .html.")]
_NoHtml = Annotated[bool, typer.Option("--no-html", help="No HTML report: needs no plotting library.")]
_Anywhere = Annotated[
    bool, typer.Option("--i-own-this-server", help="Allow an address that is neither loopback nor private.")
]


def load_command(
    scenario: _Name = "fanout",
    start: _Start = False,
    url: _Url = "",
    redis_url: _RedisUrl = "",
    publisher: _Publisher = "",
    pid: _Pids = None,
    clients: _Clients = None,
    symbols: _Symbols = None,
    symbols_per_client: _Each = None,
    ticks: _Ticks = None,
    seconds: _Seconds = None,
    parser: _Parser = None,
    deliver: _Deliver = None,
    ramp: _Ramp = None,
    workers: _Workers = None,
    slow_share: _SlowShare = None,
    churn: _Churn = None,
    out: _Out = Path(),
    no_html: _NoHtml = False,
    i_own_this_server: _Anywhere = False,
) -> None:
    """Load a server with many clients and measure it: latency, throughput, CPU, memory.

    Unless told to --start one, it needs a running cluster and its Redis. Prices are published for symbols LOAD-00000
    and following: each is the time of its own sending, so that latency is exact.
    """
    changes = {
        "clients": clients,
        "symbols": symbols,
        "symbols_per_client": symbols_per_client,
        "ticks_per_s": ticks,
        "seconds": seconds,
        "parser": parser,
        "deliver": deliver,
        "ramp_per_s": ramp,
        "workers": workers,
        "slow_share": slow_share,
        "churn_per_s": churn,
    }
    wanted = load_scenario(scenario, {name: value for name, value in changes.items() if value is not None})
    where = Where(url, redis_url, publisher, pid or (), i_own_this_server, start)
    _check(where, out)
    log_as("load")
    asyncio.run(_load(wanted, where, out, html=not no_html))


def _check(where: Where, out: Path) -> None:
    """Find out now what would fail after the test.

    Raises:
        typer.BadParameter: options that do not go together.
        LauncherError: there is no folder for the report.
    """
    if where.start and (where.url or where.redis_url or where.pids or where.publisher):
        raise typer.BadParameter("it starts its own: no --url, --redis-url, --publisher, --pid", param_hint="--start")
    if not out.is_dir():
        raise LauncherError(f"{out}: no such folder", "make it, or choose another with --out")


async def _load(scenario: Scenario, where: Where, out: Path, *, html: bool) -> None:
    from services.launcher.load import plots, report
    from services.launcher.load.run import allow_files, run_scenario
    from services.launcher.load.show import show_on

    if html:
        plots.check_installed()
    allow_files(scenario)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os.kill, os.getpid(), signal.SIGINT)  # ends as Ctrl-C
    screen, notes = Console(highlight=False), Console(stderr=True, highlight=False)
    async with _target(where) as target:
        with show_on(notes) as show:
            result = await run_scenario(scenario, target, SystemClock(), show)
    screen.print(report.table(result))
    for remark in result.remarks():
        screen.print(f"[yellow]{escape(remark)}[/]", soft_wrap=True)
    written = [report.path_of(result, out, "json")]
    written[0].write_bytes(report.as_json(result))
    if html:
        from services.launcher.load.page import page

        written.append(report.path_of(result, out, "html"))
        written[1].write_text(page(result), encoding="utf-8")
    screen.print(f"written: {escape(', '.join(map(str, written)))}", soft_wrap=True)


@asynccontextmanager
async def _target(where: Where) -> AsyncIterator[Target]:
    """The server that runs, or one that is started and stopped around the test."""
    from services.launcher.load.own_cluster import own_cluster, publisher_of

    if where.start:
        async with own_cluster(os.environ) as target:
            yield target
        return
    url = find_gateways(where.url)[0]
    host, port = resolve(url, anywhere=where.anywhere)
    given = shlex.split(where.publisher)
    words = (_program(given[0]), *given[1:]) if given else publisher_of(find_redis(where.redis_url))
    watched = {f"pid {pid}": pid for pid in where.pids}
    yield Target(url, host, port, words, watched)


def _program(name: str) -> str:
    """The absolute path of a program.

    Raises:
        LauncherError: there is none.
    """
    import shutil

    found = shutil.which(name)
    if found is None:
        raise LauncherError(f"--publisher: no program is called {name!r}")
    return str(Path(found).absolute())
