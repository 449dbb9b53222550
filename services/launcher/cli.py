"""The commands of `tickwire`: what they take, what their help says, and which part does the work.

Parts are imported by the command that needs them: a container that runs one service needs neither the Socket.IO client
nor the time that importing it takes.
"""
# ruff: noqa: FBT002, PLC0415, PLR0913, PLR0917 - the options of a command are arguments of its function; see above

import asyncio
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from services.launcher.arguments import (
    checked,
    existing_file,
    find_gateways,
    find_redis,
    log_as,
    parse_speed,
    running_cluster,
)
from services.launcher.errors import LauncherError
from services.launcher.leash import python_module
from services.launcher.load.command import EPILOG, load_command
from services.launcher.output import PipeConsole, let_go_of_stdout
from services.launcher.plan import Feed, Options
from services.launcher.settings_table import SERVICES
from shared.clock import SystemClock

_SERVICES: Final = "One service, as a container runs it"
_LOCAL: Final = "On your own machine"
_DURATIONS: Final = "90s, 15m, 1h, 7d"
SPEED_HELP: Final = "Times faster than recorded: 50, 0.5; or `max`, as fast as the cluster takes it."


class _Group(TyperGroup):
    """Turns what a command cannot do into words and exit status 1, and a reader who left into silence."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as the base class
        try:
            return super().invoke(ctx)
        except LauncherError as error:
            console = Console(stderr=True, highlight=False)
            console.print(f"[bold red]tickwire:[/] {escape(error.message)}", soft_wrap=True)
            if error.hint:
                console.print(escape(error.hint), soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            let_go_of_stdout()
            raise typer.Exit(0) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Real-time market data from Redis to stock Socket.IO clients.",
    epilog="Example: `tickwire up` runs a whole cluster in this terminal.",
)
feed_app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Publish to Redis as an upstream would.",
    epilog="Example: `tickwire feed simulate --symbols 100 --rate 2000`",
)
app.add_typer(feed_app, name="feed", rich_help_panel=_LOCAL)
debug_app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Find out what is wrong with a running cluster.",
    epilog="Example: `tickwire debug path --symbol BTC-USDT`",
)
app.add_typer(debug_app, name="debug")


@debug_app.callback()
def _debug() -> None:
    """Keep `path` a command of its own, though it is the only one."""


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the option's value
    if wanted:
        typer.echo(f"tickwire {version('tickwire')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print which version this is.")
    ] = False,
) -> None:
    """Options of `tickwire` itself."""


def _service_command(module: str) -> Callable[[], None]:
    def run() -> None:
        words = python_module(module)
        os.execv(words[0], words)  # noqa: S606 - our own interpreter and module; signals then reach the service itself

    return run


_WHAT: Final = {
    "gateway": "Serve clients: Socket.IO over WebSocket.",
    "price-ingest": "Turn upstream prices and trades into numbered, conflated prices.",
    "trade-notifier": "Turn upstream trades into the trade log and users' notifications.",
    "metrics": "Collect what every service reports, for Prometheus and the admin room.",
}

for _name, _module in SERVICES.items():
    app.command(
        _name,
        help=f"{_WHAT[_name]}\n\nSettings come from the environment: see `tickwire settings`.",
        epilog=f"Example: `REDIS_URL=redis://127.0.0.1:6379 tickwire {_name}`",
        rich_help_panel=_SERVICES,
    )(_service_command(_module))


@app.command(
    "up",
    rich_help_panel=_LOCAL,
    epilog="Example: `tickwire up --feed replay BTCUSDT-trades-2024-08-09.zip --speed 50 --gateways 2`",
)
def up_command(
    feed: Annotated[Feed, typer.Option(help="Where prices come from.")] = Feed.SIMULATE,
    file: Annotated[Path | None, typer.Argument(help="Trades CSV for --feed replay.", show_default=False)] = None,
    gateways: Annotated[int, typer.Option(min=1, max=64, help="How many gateways, on neighbouring ports.")] = 1,
    notifiers: Annotated[int, typer.Option(min=1, max=16, help="How many trade notifiers.")] = 1,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Of the first gateway; 0: a free one. [default: GATEWAY_PORT or 8080]"),
    ] = None,
    redis_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Of the embedded Valkey; 0: a free one. [default: 6379 if free]"),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the board; so it is in a pipe.")] = False,
    speed: Annotated[str, typer.Option(help=f"Of a replay. {SPEED_HELP}")] = "1",
    symbols: Annotated[int, typer.Option(min=1, max=10_000, help="How many the simulator trades.")] = 40,
    rate: Annotated[float, typer.Option(min=0.1, max=200_000, help="Simulated ticks a second, on average.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the simulator.")] = 1,
) -> None:
    """Run a whole cluster in this terminal: Valkey, all four services, a feed, and a live board.

    Without REDIS_URL a Valkey server of its own is started, and stopped with the rest. Ctrl-C stops everything.
    """
    from services.launcher.up import up

    words: tuple[str, ...] = ()
    if feed is Feed.REPLAY:
        parse_speed(speed)
        words = (str(existing_file(file).absolute()), "--speed", speed)
    elif file is not None:
        raise typer.BadParameter(f"{file} is only read with --feed replay", param_hint="FILE")
    elif feed is Feed.SIMULATE:
        words = ("--symbols", str(symbols), "--rate", str(rate), "--seed", str(seed))
    screen = Console()
    lines = plain or not screen.is_terminal or screen.is_dumb_terminal
    options = Options(feed, words, gateways, notifiers, port, redis_port, lines)
    asyncio.run(up(options, os.environ, SystemClock()))


@feed_app.command("simulate", epilog="Example: `tickwire feed simulate --symbols 100 --rate 2000 --seed 7`")
def feed_simulate(
    symbols: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 40,
    rate: Annotated[
        float, typer.Option(min=0.1, max=200_000, help="Ticks a second of all together, on average.")
    ] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 1,
    redis_url: Annotated[str, typer.Option(help="Where to. [default: REDIS_URL, else a running `tickwire up`]")] = "",
) -> None:
    """Publish a simulated market: seeded random walks with bursts, to `feed:trades` and `feed:prices`.

    It says so on every entry (`venue simulator`). Some trades name users demo-1 to demo-9, to whom gateways then send
    `trade:notification`.
    """
    from services.launcher.feeds.publish import run_feed
    from services.launcher.feeds.simulate import Simulation, simulate

    simulation = Simulation(symbols, rate, seed)
    log_as("feed")
    run_feed(find_redis(redis_url), lambda bus, stopping: simulate(simulation, bus, SystemClock(), stopping))


@feed_app.command(
    "replay", epilog="Example: `tickwire feed replay BTCUSDT-trades-2024-08-09.zip --speed 50 --symbol BTC-USDT`"
)
def feed_replay(
    file: Annotated[Path, typer.Argument(help="Trades CSV in one of Binance's layouts; .gz and .zip too.")],
    speed: Annotated[str, typer.Option(help=SPEED_HELP)] = "1",
    symbol: Annotated[str, typer.Option(help="Of all rows. [default: the symbol column, else the file's name]")] = "",
    original_time: Annotated[
        bool, typer.Option("--original-time", help="Publish the recorded times, not times that begin now.")
    ] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end, until stopped.")] = False,
    redis_url: Annotated[str, typer.Option(help="Where to. [default: REDIS_URL, else a running `tickwire up`]")] = "",
) -> None:
    """Publish recorded trades to `feed:trades`, at a multiple of the speed at which they happened.

    Layouts: trades and aggTrades dumps of spot and futures, with or without header, times in ms or µs; and any header
    that names id, price, qty, time, isBuyerMaker and symbol. Waits when the trade notifiers fall 50,000 entries behind.
    """
    from services.launcher.feeds.replay import Recording, run_replay

    if original_time and loop:
        raise typer.BadParameter("the second round would be older than the first one's end", param_hint="--loop")
    recording = Recording(existing_file(file), symbol or None, parse_speed(speed), original_time, loop)
    log_as("feed")
    run_replay(recording, find_redis(redis_url), SystemClock(), Console())


@app.command("watch", rich_help_panel=_LOCAL, epilog="Example: `tickwire watch BTC-USDT ETH-USDT --trades`")
def watch_command(
    symbols: Annotated[list[str], typer.Argument(help="One or more, as the upstream writes them.")],
    url: Annotated[str, typer.Option(help="Of a gateway. [default: a running `tickwire up`, else port 8080]")] = "",
    token: Annotated[str, typer.Option(help="To send with CONNECT.")] = "",
    trades: Annotated[bool, typer.Option("--trades", help="Print every trade too.")] = False,
    chart: Annotated[str, typer.Option(help="Print candles of this interval in the place of prices: 1m, 1h.")] = "",
    msgpack: Annotated[bool, typer.Option("--msgpack", help="Speak the msgpack parser's format.")] = False,
) -> None:
    """Print prices as they come: a stock Socket.IO client in the terminal."""
    from services.launcher.client import GatewayClient
    from services.launcher.watch import Watcher, watch

    urls = find_gateways(url)

    async def run() -> None:
        ended = asyncio.Event()
        out, notes = PipeConsole(highlight=False), Console(stderr=True, highlight=False)
        watcher = Watcher(symbols, out, notes, ended, trades=trades, chart=chart)
        await watch(GatewayClient(urls, watcher, token=token, msgpack=msgpack), watcher, ended)

    asyncio.run(run())


app.command("load", rich_help_panel=_LOCAL, epilog=EPILOG)(load_command)


@app.command(
    "token",
    rich_help_panel=_LOCAL,
    epilog='Example: `tickwire watch BTC-USDT --token "$(tickwire token --symbols BTC-*,ETH-USDT)"`',
)
def token_command(
    sub: Annotated[str, typer.Option(help="Whom it is for: the user id.")] = "demo-1",
    role: Annotated[str, typer.Option(help="`admin` opens the metrics room.")] = "",
    ttl: Annotated[str, typer.Option(help=f"How long it is valid: {_DURATIONS}.")] = "1h",
    symbols: Annotated[
        str, typer.Option(help="What it grants: symbols with `*`, separated by commas. [default: all]")
    ] = "",
    max_hz: Annotated[
        float | None, typer.Option(min=0.001, max=1_000_000, help="Most price updates a second and symbol.")
    ] = None,
    delay: Annotated[str, typer.Option(help="Prices and trades come so much later: 15m. [default: live]")] = "",
    connections: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="At the same time.")] = None,
    jti: Annotated[str, typer.Option(help="Its own id, for `tickwire revoke --jti`.")] = "",
) -> None:
    """Print a development token, signed with JWT_SECRET, else with the secret of a running `tickwire up`.

    Issuer and audience are JWT_ISSUER and JWT_AUDIENCE, else those of the running cluster.
    """
    from services.launcher.tokens import parse_duration, sign, token_claims

    lifetime_s = checked("--ttl", parse_duration, ttl)
    delay_s = checked("--delay", parse_duration, delay) if delay else 0
    rights = checked("--symbols", lambda text: token_claims(text, max_hz, delay_s, connections, jti), symbols)
    typer.echo(sign(sub, role or None, lifetime_s, SystemClock().now_ms(), os.environ, running_cluster(), rights))


@app.command("revoke", epilog="Example: `tickwire revoke --sub ann --for 12h`")
def revoke_command(
    sub: Annotated[str, typer.Option(help="A user: all tokens issued up to now.")] = "",
    jti: Annotated[str, typer.Option(help="One token, by its `jti`.")] = "",
    lasts: Annotated[str, typer.Option("--for", help=f"At least as long as tokens live: {_DURATIONS}.")] = "7d",
    listing: Annotated[bool, typer.Option("--list", help="Print what is revoked.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
    redis_url: Annotated[
        str, typer.Option(help="Of the cluster. [default: REDIS_URL, else a running `tickwire up`]")
    ] = "",
) -> None:
    """Refuse tokens before they expire, at every gateway within five seconds; connections with them are closed.

    A revoked user may log in anew: tokens that are issued later are accepted.
    """
    from services.launcher import revoke

    url = find_redis(redis_url)
    if listing:
        asyncio.run(revoke.show(url, SystemClock(), typer.echo))
        return
    kind, value = checked("--sub", lambda user: revoke.parse_target(user, jti), sub)
    if undo:
        asyncio.run(revoke.undo(url, kind, value, SystemClock(), typer.echo))
    else:
        asyncio.run(revoke.revoke(url, kind, value, checked("--for", revoke.parse_lifetime, lasts), typer.echo))


@debug_app.command("path", epilog="Example: `tickwire debug path --sid sJ5cYbyKzvSvhkkNAAAB --symbol BTC-USDT`")
def debug_path_command(
    sid: Annotated[str, typer.Option(help="Of a client: what its page prints as `socket.id`.")] = "",
    symbol: Annotated[str, typer.Option(help="As the client names it.")] = "",
    gateway: Annotated[str, typer.Option(help="The ops port of a gateway.")] = "http://127.0.0.1:9090",
) -> None:
    """Say where a symbol's updates stop, on their way to a gateway or to one client of it, and why."""
    from services.launcher.debug_path import debug_path

    debug_path(gateway, sid, symbol, Console(highlight=False))


@app.command("settings", rich_help_panel=_LOCAL, epilog="Example: `tickwire settings --markdown`")
def settings_command(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the README's table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Print every setting of every service: default, unit, meaning, and who reads it."""
    from services.launcher import settings_table

    rows = asyncio.run(settings_table.read_all())
    if markdown:
        typer.echo(settings_table.as_markdown(rows))
    elif as_json:
        typer.echo(settings_table.as_json(rows))
    else:
        Console().print(settings_table.as_table(rows))
