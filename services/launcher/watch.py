"""`tickwire watch`: a client in the terminal, one line an update. Fed by `client`; feeds standard output."""

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from services.launcher.client import Ask, GatewayClient, RefusedError, price_text
from services.launcher.errors import LauncherError
from services.launcher.output import let_go_of_stdout
from shared.names import error_codes
from shared.names.events import ClientEvent, ServerEvent
from shared.tasks import TaskGroup

SYMBOLS_PER_REQUEST: Final = 50
BARS_AT_FIRST: Final = 10
SILENT_AFTER_S: Final = 3.0
_COLOURS: Final = {-1: "red", 0: "", 1: "green"}
_ARROWS: Final = {-1: "▼", 0: " ", 1: "▲"}


class Watcher:
    """Prints what one client receives; a `client.Listener`.

    Args:
        symbols: to subscribe to.
        trades: print each trade too.
        chart: interval of candles to print in the place of prices; empty for prices.
        out: where updates go.
        notes: where everything else goes.
        ended: set when there is nobody left to print for.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        out: Console,
        notes: Console,
        ended: asyncio.Event,
        *,
        trades: bool,
        chart: str = "",
    ) -> None:
        self._symbols = list(dict.fromkeys(symbols))
        self._width = max(len(symbol) for symbol in symbols)
        self._out = out
        self._notes = notes
        self._ended = ended
        self._trades = trades
        self._chart = chart
        self._last: dict[str, Decimal] = {}
        self._trouble = ""
        self.connected = False

    async def opened(self, url: str, ask: Ask) -> None:
        """See `client.Listener`.

        Raises:
            LauncherError: the gateway will not give us any of the symbols.
        """
        if self._chart:
            accepted = await self._subscribe_charts(ask)
        else:
            accepted = await self._subscribe(ask, ClientEvent.SUBSCRIBE_PRICE)
        if self._trades:
            await self._subscribe(ask, ClientEvent.SUBSCRIBE_TRADES)
        self._trouble = ""
        self.connected = True
        self._note(f"watching {', '.join(accepted)} at {url}; Ctrl-C ends")

    def received(self, event: str, arguments: Sequence[Any]) -> None:
        """See `client.Listener`."""
        payload = arguments[0] if arguments else None
        if not isinstance(payload, Mapping):
            return
        if event == ServerEvent.PRICE_UPDATE:
            self._print(_price_line(payload, self._direction(payload), self._width))
        elif event == ServerEvent.TRADE_NEW:
            self._print(_trade_line(payload, self._width))
        elif event == ServerEvent.CHART_UPDATE:
            self._print_candle(payload)
        elif event == ServerEvent.ERROR:
            self._note(f"the gateway says: {payload.get('message', payload)}")

    def lost(self, url: str, why: str) -> None:
        """See `client.Listener`. The same trouble is told once."""
        trouble = f"{url}: {why}"
        if trouble == self._trouble:
            return
        self._trouble = trouble
        hint = (
            "" if self.connected else " Is a cluster running there? Start one with `tickwire up`, or name it by --url."
        )
        self.connected = False
        self._note(f"{trouble}; trying again.{hint}")

    def silent(self) -> list[str]:
        """Symbols that no price has come for."""
        return [symbol for symbol in self._symbols if symbol not in self._last]

    def tell_silent(self) -> None:
        """Say which symbols nothing has come for: mostly a slip of the pen."""
        if self.connected and (silent := self.silent()):
            self._note(f"no price of {', '.join(silent)} so far: does anything publish it?")

    async def _subscribe(self, ask: Ask, event: ClientEvent) -> list[str]:
        accepted: list[str] = []
        for start in range(0, len(self._symbols), SYMBOLS_PER_REQUEST):
            answer = await ask(event, self._symbols[start : start + SYMBOLS_PER_REQUEST])
            if not answer.get("ok"):
                raise LauncherError(f"{event}: {_error_text(answer.get('error'))}")
            for verdict in answer.get("results", ()):
                if verdict.get("ok"):
                    accepted.append(verdict["symbol"])
                else:
                    self._note(f"{verdict.get('symbol')}: {_error_text(verdict.get('error'))}")
        return self._watch_only(accepted)

    async def _subscribe_charts(self, ask: Ask) -> list[str]:
        accepted: list[str] = []
        for symbol in self._symbols:
            answer = await ask(
                ClientEvent.SUBSCRIBE_CHART, {"symbol": symbol, "interval": self._chart, "limit": BARS_AT_FIRST}
            )
            if not answer.get("ok"):
                self._note(f"{symbol}: {_error_text(answer.get('error'))}")
                continue
            accepted.append(symbol)
            bars = [*answer.get("bars", ()), answer.get("forming")]
            for bar in filter(None, bars):
                self._print_candle({"symbol": symbol, **bar})
        return self._watch_only(accepted)

    def _watch_only(self, accepted: list[str]) -> list[str]:
        if not accepted:
            raise LauncherError("none of the symbols can be watched")
        self._symbols = accepted
        return accepted

    def _print_candle(self, bar: Mapping[str, Any]) -> None:
        """Print a candle; while it forms, on a terminal, each line of the only symbol replaces the one before."""
        line = _candle_line(bar, self._direction({"symbol": bar.get("symbol"), "price": bar.get("close")}), self._width)
        is_replaced = not bar.get("closed") and self._out.is_terminal and len(self._symbols) == 1
        self._print(line, end="\r" if is_replaced else "\n")

    def _direction(self, payload: Mapping[str, Any]) -> int:
        symbol, price = str(payload.get("symbol")), Decimal(price_text(payload.get("price")))
        before = self._last.get(symbol, price)
        self._last[symbol] = price
        return (price > before) - (price < before)

    def _print(self, line: Text, end: str = "\n") -> None:
        try:
            self._out.print(line, soft_wrap=True, end=end)
        except BrokenPipeError:
            let_go_of_stdout()
            self._ended.set()

    def _note(self, text: str) -> None:
        self._notes.print(Text(text, style="dim"), soft_wrap=True)


async def watch(client: GatewayClient, watcher: Watcher, ended: asyncio.Event) -> None:
    """Watch until Ctrl-C, SIGTERM or the end of a pipe.

    Raises:
        LauncherError: the gateway refuses us for good.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        async with TaskGroup() as tasks:
            tasks.spawn("client", client.run())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENT_AFTER_S):
                    await ended.wait()
            watcher.tell_silent()
            await ended.wait()
    except RefusedError as error:
        raise LauncherError(str(error), _refusal_hint(str(error))) from error


def _refusal_hint(message: str) -> str:
    if message == error_codes.AUTHENTICATION_REQUIRED.message:
        return 'this cluster wants a token: --token "$(tickwire token)"'
    return "the token is expired, or signed with another secret than the gateway's; make one with `tickwire token`"


def _error_text(error: object) -> str:
    if not isinstance(error, Mapping):
        return "refused"
    extra = error.get("reason") or error.get("field") or ""
    return f"{error.get('message', 'refused')} ({error.get('code', '?')}{', ' + str(extra) if extra else ''})"


def _price_line(payload: Mapping[str, Any], direction: int, width: int) -> Text:
    return _line(
        (_clock(payload.get("ts")), "dim"),
        (f"{payload.get('symbol', '?'):<{width}}", "bold"),
        (f"{price_text(payload.get('price')):>16} {_ARROWS[direction]}", _COLOURS[direction]),
        (f"seq {payload.get('seq', '?')}", "dim"),
    )


def _trade_line(payload: Mapping[str, Any], width: int) -> Text:
    side = str(payload.get("side") or "")
    return _line(
        (_clock(payload.get("ts")), "dim"),
        (f"{payload.get('symbol', '?'):<{width}}", "bold"),
        (f"{price_text(payload.get('price')):>16}  ", ""),
        (f"{side:<4} {price_text(payload.get('amount'))}", "green" if side == "buy" else "red"),
        (f"trade {payload.get('id', '?')}", "dim"),
    )


def _candle_line(bar: Mapping[str, Any], direction: int, width: int) -> Text:
    prices = "  ".join(f"{name[0].upper()} {price_text(bar.get(name)):<10}" for name in ("open", "high", "low"))
    return _line(
        (_clock(bar.get("start"))[:8], "dim"),
        (f"{bar.get('symbol', '?'):<{width}}", "bold"),
        (prices, ""),
        (f"C {price_text(bar.get('close')):<10} {_ARROWS[direction]}", _COLOURS[direction]),
        (f"V {price_text(bar.get('volume')):<12} {bar.get('trades', 0):>6} trades", ""),
        ("closed " if bar.get("closed") else "forming", "dim"),
    )


def _line(*cells: tuple[str, str]) -> Text:
    return Text("  ").join(Text(text, style=style) for text, style in cells)


def _clock(ts: object) -> str:
    if not isinstance(ts, int):
        return " " * 12
    return datetime.fromtimestamp(ts / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
