"""The answer to `subscribe:chart`: exactly what encoding it whole would give, and made once for all who ask alike."""

from decimal import Decimal
from typing import Any

import pytest

from protocol.socketio.packets import Ack
from services.gateway.chart_answers import MOST_KEPT, ChartAnswers, Wanted
from services.gateway.charts import Series
from services.gateway.encoding import Encoder
from services.gateway.payloads import Payload, Payloads
from shared.messages import Candle, Chart
from tests.support.fakes_gateway import NOW_MS, PARSERS, make_candle

MINUTE = 60_000
PLAIN = Wanted()
each_parser = pytest.mark.parametrize("parser", [0, 1])


class Answering:
    def __init__(self) -> None:
        self.payloads = Payloads("number")
        self.answers = ChartAnswers(Encoder(PARSERS), self.payloads)

    def read(self, series: Series, wanted: Wanted = PLAIN, parser: int = 0) -> Any:
        writer = PARSERS[parser]
        packet = writer.decode(writer.encode_spliced_ack(1, [self.answers.answer(series, parser, wanted).body]))
        assert isinstance(packet, Ack)
        return packet.args[0]

    def starts(self, series: Series, wanted: Wanted) -> list[int]:
        return [bar["start"] // MINUTE for bar in self.read(series, wanted)["bars"]]


def minute(number: int, *, closed: bool = True) -> Candle:
    return make_candle(number * MINUTE, number + 1, closed=closed)


def series_of(*candles: Candle) -> Series:
    series = Series("BTC-USDT", "1m", fill=False, grace_ms=500)
    closed = [candle for candle in candles if candle.closed]
    series.load(Chart(0, {"1m": [candle for candle in candles if not candle.closed]}), closed, NOW_MS)
    return series


@each_parser
def test_an_answer_is_byte_for_byte_the_object_encoded_whole(parser: int) -> None:
    answering = Answering()
    bars = [answering.payloads.bar("1m", minute(number)) for number in range(20)]
    forming = answering.payloads.bar("1m", minute(20, closed=False))
    whole: Payload = {"ok": True, "symbol": "BTC-USDT", "interval": "1m", "bars": bars, "forming": forming, "rev": 21}
    series = series_of(*(minute(number) for number in range(20)), minute(20, closed=False))
    written = answering.answers.answer(series, parser, PLAIN).body
    assert written == PARSERS[parser].encode_value(whole)
    assert bars[0] == {
        "start": 0,
        "end": MINUTE,
        "open": Decimal("1.00"),
        "high": Decimal("2.50"),
        "low": Decimal("0.50"),
        "close": Decimal("1.50"),
        "volume": Decimal("10.00"),
        "trades": 3,
        "closed": True,
        "rev": 1,
    }


@each_parser
def test_a_chart_without_candles_is_empty(parser: int) -> None:
    answer = Answering().read(series_of(), parser=parser)
    assert answer == {"ok": True, "symbol": "BTC-USDT", "interval": "1m", "bars": [], "forming": None, "rev": 0}


def test_all_who_ask_alike_share_one_answer_until_the_chart_changes() -> None:
    answering = Answering()
    series = series_of(minute(0), minute(1, closed=False))
    first = answering.answers.answer(series, 0, PLAIN)
    assert answering.answers.answer(series, 0, PLAIN) is first
    series.apply(Chart(0, {"1m": [make_candle(MINUTE, 9, "7.77", closed=False)]}))
    assert answering.read(series)["forming"]["close"] == 7.77
    assert answering.read(series)["rev"] == 9
    series.apply(Chart(0, {"1m": [make_candle(MINUTE, 10, "8.88")]}))
    answer = answering.read(series)
    assert [bar["close"] for bar in answer["bars"]] == [1.5, 8.88]
    assert answer["forming"] is None


def test_a_limit_keeps_the_newest() -> None:
    answering, series = Answering(), series_of(*(minute(number) for number in range(10)), minute(10, closed=False))
    assert answering.starts(series, Wanted(limit=3)) == [7, 8, 9]
    assert answering.starts(series, Wanted(limit=0)) == []
    assert answering.read(series, Wanted(limit=0))["forming"]["start"] == 10 * MINUTE


@pytest.mark.parametrize(
    ("wanted", "starts", "is_reset"),
    [
        (Wanted(since=7 * MINUTE), [7, 8, 9], False),
        (Wanted(since=7 * MINUTE - 1), [7, 8, 9], False),
        (Wanted(since=10 * MINUTE), [], False),
        (Wanted(3, 7 * MINUTE), [7, 8, 9], False),
        (Wanted(2, 7 * MINUTE), [8, 9], True),
        (Wanted(since=4 * MINUTE), [5, 6, 7, 8, 9], True),
    ],
)
def test_a_client_that_was_here_before_gets_the_rest_or_is_told_that_bars_are_missing(
    wanted: Wanted,
    starts: list[int],
    is_reset: bool,  # noqa: FBT001 - a parameter
) -> None:
    answering, series = Answering(), series_of(*(minute(number) for number in range(5, 10)))
    assert answering.starts(series, wanted) == starts
    assert answering.read(series, wanted).get("reset", False) is is_reset


def test_what_began_after_the_forming_candle_follows_the_answer() -> None:
    series = series_of(minute(0), minute(1, closed=False), minute(2, closed=False))
    answering = Answering()
    assert answering.read(series)["forming"]["start"] == MINUTE
    assert answering.answers.answer(series, 0, PLAIN).following == [minute(2, closed=False)]


def test_only_so_many_charts_are_kept_encoded() -> None:
    answering = Answering()
    charts = [series_of(minute(0)) for _ in range(2 * MOST_KEPT + 10)]
    for series in charts:
        answering.read(series)
        assert len(answering.answers) <= 2 * MOST_KEPT


def test_what_nobody_asks_for_is_dropped_and_what_somebody_asks_for_is_kept() -> None:
    answering, asked, unasked = Answering(), series_of(minute(0)), series_of(minute(0))
    first = answering.answers.answer(asked, 0, PLAIN)
    answering.read(unasked)
    answering.answers.forget_unused()
    assert answering.answers.answer(asked, 0, PLAIN) is first
    answering.answers.forget_unused()
    assert len(answering.answers) == 1
    answering.answers.forget_unused()
    assert len(answering.answers) == 0


@each_parser
def test_only_bars_that_changed_are_written_anew(parser: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answering = Answering()
    series = series_of(*(minute(number) for number in range(20)), minute(20, closed=False))
    answering.read(series, parser=parser)
    written: list[int] = []
    bar = answering.payloads.bar

    def writing(_self: object, interval: str, candle: Candle) -> Payload:
        written.append(candle.start // MINUTE)
        return bar(interval, candle)

    monkeypatch.setattr(Payloads, "bar", writing)
    revised = make_candle(5 * MINUTE, 90, "8.00")
    series.apply(Chart(0, {"1m": [revised, make_candle(20 * MINUTE, 90, "9.00")]}))
    bars = answering.read(series, parser=parser)["bars"]
    assert written == [5, 20]
    assert [shown["close"] for shown in bars] == [1.5] * 5 + [8.0] + [1.5] * 14 + [9.0]
