"""The answers to `subscribe:chart`: a thousand bars each, written once for all who ask within one change of a chart.

Fed by `charts.py`; feeds `chart_requests.py`. The bars are kept as fragments of each parser, so that a candle that
forms or closes costs no more than splicing, and the last whole answer is kept, so that ten thousand clients who come
back at once cost a copy each. What nobody asks for is dropped within seconds.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from protocol.socketio.parser import Parser
from services.gateway.charts import MOST_BARS, Series, split
from services.gateway.encoding import Encoder
from services.gateway.payloads import Payloads
from shared.messages import Candle

MOST_KEPT: Final = 256
"""Charts asked for since the last sweep, once for each parser; as many again of the sweep before. Some 300 kB each."""


class Wanted(NamedTuple):
    """What a client asks for.

    Attributes:
        limit: most closed bars, the newest.
        since: start of the last closed bar that it has.
    """

    limit: int = MOST_BARS
    since: int | None = None


class Answer(NamedTuple):
    """An answer, and what has to follow it at once.

    Attributes:
        body: the ack's object, a fragment of the client's parser.
        following: bars that began after the forming one.
    """

    body: bytes
    following: Sequence[Candle]


class _Written:
    """Closed bars of one chart as fragments of one parser, in one piece: a thousand objects would take four times that.

    Attributes:
        settled: of the series, when they were written; -1 before.
        starts: of the bars, rising.
    """

    __slots__ = ("_ends", "_joined", "_revs", "settled", "starts")

    def __init__(self) -> None:
        self.settled = -1
        self.starts = array("q")
        self._revs = array("q")
        self._ends = array("L")
        self._joined = b""

    def rewrite(self, bars: Sequence[Candle], write: Callable[[Candle], bytes]) -> None:
        """Take the bars as they are now; only those that changed are written."""
        known = dict(zip(zip(self.starts, self._revs, strict=True), self.since(0), strict=True))
        fragments = [known.get((bar.start, bar.rev)) or write(bar) for bar in bars]
        self.starts = array("q", [bar.start for bar in bars])
        self._revs = array("q", [bar.rev for bar in bars])
        self._ends = array("L", accumulate(map(len, fragments)))
        self._joined = b"".join(fragments)

    def since(self, first: int) -> list[bytes]:
        """The fragments from an index on."""
        begin = self._ends[first - 1] if first else 0
        fragments = []
        for end in self._ends[first:]:
            fragments.append(self._joined[begin:end])
            begin = end
        return fragments


class _Made:
    """What is kept of one chart for one parser: its closed bars, and the last answer with what it answers."""

    __slots__ = ("answer", "version", "wanted", "written")

    def __init__(self) -> None:
        self.written = _Written()
        self.version = -1
        self.wanted: Wanted | None = None
        self.answer = Answer(b"", ())


class ChartAnswers:
    """Makes and keeps answers."""

    def __init__(self, encoder: Encoder, payloads: Payloads) -> None:
        self._encoder = encoder
        self._payloads = payloads
        self._made: dict[tuple[Series, int], _Made] = {}
        self._made_before: dict[tuple[Series, int], _Made] = {}

    def __len__(self) -> int:
        """How many charts are kept, once for each parser."""
        return len(self._made) + len(self._made_before)

    def answer(self, series: Series, parser: int, wanted: Wanted) -> Answer:
        """The chart as it is now."""
        made = self._find((series, parser))
        if (made.version, made.wanted) != (series.version, wanted):
            made.answer = self._make(series, self._encoder.parsers[parser], wanted, made.written)
            made.version, made.wanted = series.version, wanted
        return made.answer

    def forget_unused(self) -> None:
        """Drop what nobody has asked for since this was called last."""
        self._made_before, self._made = self._made, {}

    def _find(self, key: tuple[Series, int]) -> _Made:
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= MOST_KEPT:
                self.forget_unused()
            made = self._made[key] = self._made_before.pop(key) if key in self._made_before else _Made()
        return made

    def _make(self, series: Series, writer: Parser, wanted: Wanted, written: _Written) -> Answer:
        def write(bar: Candle) -> bytes:
            return writer.encode_value(self._payloads.bar(series.interval, bar))

        is_known = written.settled == series.settled and len(written.starts) > 0
        closed, forming, following = split(series.bars(written.starts[-1] + 1 if is_known else 0))
        if not is_known:
            written.rewrite(closed, write)
            written.settled = series.settled
        first, is_reset = _choose(series, written.starts, wanted)
        fields = [
            ("ok", writer.encode_value(value=True)),
            ("symbol", writer.encode_value(series.symbol)),
            ("interval", writer.encode_value(series.interval)),
            ("bars", writer.encode_array(written.since(first))),
            ("forming", writer.encode_value(None) if forming is None else write(forming)),
            ("rev", writer.encode_value(series.rev)),
        ]
        if is_reset:
            fields.append(("reset", writer.encode_value(value=True)))
        return Answer(writer.encode_object(fields), following)


def _choose(series: Series, starts: Sequence[int], wanted: Wanted) -> tuple[int, bool]:
    """The index of the first bar that was asked for, and whether bars before it and after the client's are missing."""
    first = max(0, len(starts) - min(wanted.limit, MOST_BARS))
    if wanted.since is None:
        return first, False
    since = bisect_left(starts, wanted.since)
    return max(first, since), since < first or not series.reaches(wanted.since)
