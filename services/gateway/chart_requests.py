"""`subscribe:chart` and `unsubscribe:chart`: the two requests whose answer may have to wait.

A chart that this gateway knows is answered at once. Another one is read first: until then the request waits, and so do
all others that ask for the same chart, for 3 s at most; no other request is held up. The client joins the chart's room
in the step in which its answer is made, so that updates continue what the answer says. An answer is big, so it is
written at once, and a client whose socket is full gets the next one when it has drained.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from math import inf
from typing import Final, NamedTuple

from protocol.socketio.packets import Value
from services.gateway.catalogue import Catalogue
from services.gateway.chart_answers import ChartAnswers, Wanted
from services.gateway.chart_fanout import ChartFanout
from services.gateway.chart_feed import ChartFeed
from services.gateway.charts import MOST_BARS, Series
from services.gateway.outbox import Flusher, Outbox
from services.gateway.requests import Request, RequestError, check_room_for_one, check_symbol
from services.gateway.subscriptions import Subscriptions
from shared.intervals import INTERVALS, start_of
from shared.names import error_codes

PATIENCE_S: Final = 3.0
LOOK_S: Final = 0.25
"""How late an answer may be given up."""

LOOKS_TO_FORGET: Final = 20
"""Written answers are kept as long as it takes a crowd to come back, 5 s, and no longer."""

AT_ONCE: Final = 50
"""Answers in one turn: ten thousand would hold up everything else for a second."""

LATEST_MS: Final = 2**53
"""What JavaScript can count to."""

OPTIONS: Final = frozenset({"limit", "since"})
OBJECT_FORM: Final = OPTIONS | {"symbol", "interval", "tf"}


class _Waiter(NamedTuple):
    """A request that has no answer yet; without one, a client that has come back and waits for what it missed."""

    request: Request | None
    subscriptions: Subscriptions
    series: Series
    wanted: Wanted
    deadline: float

    @property
    def is_subscribed(self) -> bool:
        """Whether the client has not left the chart meanwhile."""
        series = self.series
        return self.subscriptions.charts().get((series.symbol, series.interval)) is series


class ChartRequests:
    """Serves every client of a gateway."""

    _feed: ChartFeed

    def __init__(
        self,
        fanout: ChartFanout,
        answers: ChartAnswers,
        flusher: Flusher,
        catalogue: Catalogue,
        max_subscriptions: int,
    ) -> None:
        self._catalogue = catalogue
        self._fanout = fanout
        self._answers = answers
        self._flusher = flusher
        self._max_subscriptions = max_subscriptions
        self._reading: dict[Series, list[_Waiter]] = {}
        self._blocked: dict[Outbox, list[_Waiter]] = {}

    def read_from(self, feed: ChartFeed) -> None:
        """Where charts come from; its `on_ready` is `self.ready`."""
        self._feed = feed

    async def run(self) -> None:
        """Give up what waits too long and forget what nobody asks for, until cancelled."""
        loop = asyncio.get_running_loop()
        for look in itertools.count(1):
            await asyncio.sleep(LOOK_S)
            self.give_up(loop.time())
            if look % LOOKS_TO_FORGET == 0:
                self._answers.forget_unused()

    def subscribe(
        self, request: Request, subscriptions: Subscriptions, check_room: Callable[[], None] = lambda: None
    ) -> None:
        """Answer a `subscribe:chart`, now or later; `check_room` raises where the user may not have one more.

        Raises:
            RequestError: it cannot be served.
        """
        symbol, interval, options = _read_arguments(request)
        if interval is None:
            raise _bad_interval()
        self._catalogue.check(symbol, subscriptions.rights)
        if subscriptions.delay_s:
            raise RequestError(error_codes.NOT_WHILE_DELAYED, symbol=symbol, interval=interval)
        wanted = _read_options(options)
        charts = subscriptions.charts()
        series = charts.get((symbol, interval))
        if series is None:
            check_room_for_one(len(subscriptions), self._max_subscriptions)
            check_room()
            series = self._feed.watch(symbol, interval)
            if series is None:
                raise RequestError(error_codes.TOO_MANY_CHARTS, limit=len(self._feed))
            charts[symbol, interval] = series
        waiter = _Waiter(request, subscriptions, series, wanted, request.client.connection.now + PATIENCE_S)
        if series.ready:
            self._answer(waiter)
        else:
            self._reading.setdefault(series, []).append(waiter)

    def unsubscribe(self, request: Request, subscriptions: Subscriptions) -> None:
        """Answer an `unsubscribe:chart`: leave one chart of a symbol, or all.

        Raises:
            RequestError: it cannot be understood.
        """
        symbol, interval, _ = _read_arguments(request)
        if interval is None:
            self.leave(subscriptions, symbol)
            request.succeed({"symbol": symbol})
        else:
            self._leave(subscriptions, symbol, interval)
            request.succeed({"symbol": symbol, "interval": interval})

    def leave(self, subscriptions: Subscriptions, symbol: str) -> None:
        """Leave all charts of a symbol."""
        for interval in INTERVALS:
            self._leave(subscriptions, symbol, interval)

    def restore(self, subscriptions: Subscriptions, symbol: str, interval: str, since_ms: int) -> None:
        """Watch a chart on behalf of a client that has come back, and send every bar since it was last here."""
        series = self._feed.watch(symbol, interval)
        if series is None:
            return
        subscriptions.charts()[symbol, interval] = series
        since = max(
            0, start_of(since_ms, series.length) - series.length
        )  # the one before may have been closed or revised since
        waiter = _Waiter(None, subscriptions, series, Wanted(MOST_BARS, since), inf)
        if series.ready:
            self._answer(waiter)
        else:
            self._reading.setdefault(series, []).append(waiter)

    def leave_all(self, subscriptions: Subscriptions) -> list[tuple[str, str]]:
        """Leave every chart; which those were."""
        charts = list(subscriptions.charts())
        for symbol, interval in charts:
            self._leave(subscriptions, symbol, interval)
        return charts

    def depart(self, subscriptions: Subscriptions) -> None:
        """The client is gone: leave everything."""
        subscriptions.gone = True
        self.leave_all(subscriptions)
        self._blocked.pop(subscriptions.outbox, None)

    def ready(self, series: Series) -> None:
        """A chart is known: answer all who wait for it, a few in each turn of the event loop."""
        waiters = self._reading.get(series)
        if waiters is None or not series.ready:
            return
        for waiter in waiters[:AT_ONCE]:
            self._answer(waiter)
        del waiters[:AT_ONCE]
        if waiters:
            asyncio.get_running_loop().call_soon(self.ready, series)
        else:
            del self._reading[series]

    def drained(self, outbox: Outbox) -> None:
        """A client that was behind takes more: answer as much as its socket takes."""
        for waiter in self._blocked.pop(outbox, ()):
            if waiter.series.ready:
                self._answer(waiter)
            else:
                self._reading.setdefault(waiter.series, []).append(waiter)

    def give_up(self, now: float) -> None:
        """Refuse what has waited too long for Redis."""
        for series, waiters in list(self._reading.items()):
            late = [waiter for waiter in waiters if waiter.deadline <= now]
            if late:
                waiters[:] = [waiter for waiter in waiters if waiter.deadline > now]
                if not waiters:
                    del self._reading[series]
            for waiter in late:
                self._refuse(waiter)

    def _answer(self, waiter: _Waiter) -> None:
        request, subscriptions, series = waiter.request, waiter.subscriptions, waiter.series
        outbox = subscriptions.outbox
        if subscriptions.gone:
            return
        if request is None:
            self._continue(waiter)
            return
        if not waiter.is_subscribed:
            request.fail(RequestError(error_codes.NOT_SUBSCRIBED, symbol=series.symbol, interval=series.interval))
            return
        if not request.wants_ack:
            self._fanout.join(series, outbox)
            return
        if outbox.behind:
            self._blocked.setdefault(outbox, []).append(waiter)
            return
        answer = self._answers.answer(series, outbox.parser, waiter.wanted)
        request.succeed_spliced(answer.body)
        self._fanout.send_to(series, answer.following, outbox)
        self._fanout.join(series, outbox)
        self._flusher.sent_bytes += outbox.flush()

    def _continue(self, waiter: _Waiter) -> None:
        series, outbox = waiter.series, waiter.subscriptions.outbox
        if not waiter.is_subscribed or self._fanout.has(series, outbox):
            return
        if outbox.behind:
            self._blocked.setdefault(outbox, []).append(waiter)
            return
        self._fanout.send_to(series, series.bars(waiter.wanted.since or 0), outbox)
        self._fanout.join(series, outbox)

    def _refuse(self, waiter: _Waiter) -> None:
        subscriptions, series = waiter.subscriptions, waiter.series
        if subscriptions.gone or waiter.request is None:
            return
        if waiter.is_subscribed and not self._fanout.has(series, subscriptions.outbox):
            self._leave(subscriptions, series.symbol, series.interval)
        waiter.request.fail(RequestError(error_codes.CHART_UNAVAILABLE, symbol=series.symbol, interval=series.interval))

    def _leave(self, subscriptions: Subscriptions, symbol: str, interval: str) -> None:
        series = subscriptions.charts().pop((symbol, interval), None)
        if series is not None:
            self._fanout.leave(series, subscriptions.outbox)
            self._feed.unwatch(series)


def _read_arguments(request: Request) -> tuple[str, str | None, Mapping[str, Value]]:
    """Symbol, interval and options, of either form.

    Raises:
        RequestError: one of them is wrong.
    """
    first = request.argument(0)
    if isinstance(first, Mapping):
        fields = request.options(0, OBJECT_FORM)
        return check_symbol(fields.get("symbol")), _check_interval(fields.get("interval", fields.get("tf"))), fields
    return check_symbol(first), _check_interval(request.argument(1)), request.options(2, OPTIONS)


def _check_interval(value: Value) -> str | None:
    if value is not None and (not isinstance(value, str) or value not in INTERVALS):
        raise _bad_interval()
    return value


def _bad_interval() -> RequestError:
    return RequestError(error_codes.BAD_ARGUMENT, field="interval", expected=f"one of {', '.join(INTERVALS)}")


def _read_options(options: Mapping[str, Value]) -> Wanted:
    limit, since = options.get("limit"), options.get("since")
    return Wanted(
        MOST_BARS if limit is None else _read_whole(limit, "limit", f"an integer from 0 to {MOST_BARS}", MOST_BARS),
        None if since is None else _read_whole(since, "since", "the start of a bar, in ms", LATEST_MS),
    )


def _read_whole(value: Value, field: str, expected: str, most: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # how JavaScript's msgpack may write one
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise RequestError(error_codes.BAD_ARGUMENT, field=field, expected=expected)
    return value
