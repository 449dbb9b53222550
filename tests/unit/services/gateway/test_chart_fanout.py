"""Bars to those who watch, encoded once; who is behind gets everything from the first that it missed on."""

from typing import Any

import pytest

from services.gateway.charts import Series
from services.gateway.outbox import Outbox
from shared.messages import Candle
from tests.support.fakes_gateway import FakeLink, GatewayParts, make_candle, make_trade, read_events

MINUTE = 60_000
SYMBOL = "BTC-USDT"


class Charted:
    """A gateway with a chart that some clients watch."""

    def __init__(self) -> None:
        self.parts = GatewayParts()
        self.series = self.add("1m", minute(0, 1), minute(1, 2, closed=False))

    def add(self, interval: str, *candles: Candle) -> Series:
        self.parts.chart_source.watch(SYMBOL, interval)
        return self.parts.load_chart(SYMBOL, interval, *candles)

    def watcher(self, parser: int = 0) -> tuple[Outbox, FakeLink]:
        outbox, link = self.parts.outbox(parser)
        self.parts.chart_fanout.join(self.series, outbox)
        return outbox, link

    def publish(self, *candles: Candle) -> None:
        self.parts.publish_chart(SYMBOL, "1m", *candles)
        self.parts.loop.turn()

    def stall(self, outbox: Outbox, link: FakeLink) -> None:
        link.writable = False
        outbox.send(b"\x81\x01x")
        self.parts.loop.turn()
        link.written.clear()


def minute(number: int, rev: int, *, closed: bool = True) -> Candle:
    return make_candle(number * MINUTE, rev, f"{rev}.00", closed=closed)


def heard(link: FakeLink, parser: int = 0) -> list[tuple[int, int, bool]]:
    """Slot, rev and whether closed, of each `chart:update`."""
    bars = [args[1] for args in read_events(b"".join(link.written), parser) if args[0] == "chart:update"]
    return [(bar["start"] // MINUTE, bar["rev"], bar["closed"]) for bar in bars]


@pytest.mark.parametrize("parser", [0, 1])
def test_a_watcher_gets_each_bar_that_changed_in_order_and_others_nothing(parser: int) -> None:
    charted = Charted()
    _, link = charted.watcher(parser)
    _, other = charted.parts.outbox(parser)
    charted.publish(minute(1, 3), minute(2, 3, closed=False))
    assert heard(link, parser) == [(1, 3, True), (2, 3, False)]
    assert other.written == []
    assert charted.parts.fanout.delivered["chart:update"] == 2  # type: ignore[index]  # it is its text


def test_an_update_names_its_chart() -> None:
    charted = Charted()
    _, link = charted.watcher()
    charted.publish(minute(1, 3))
    ((_, update),) = read_events(b"".join(link.written))
    assert (update["symbol"], update["interval"], update["start"], update["end"]) == (SYMBOL, "1m", MINUTE, 2 * MINUTE)


def test_who_left_gets_nothing_more() -> None:
    charted = Charted()
    outbox, link = charted.watcher()
    charted.parts.chart_fanout.leave(charted.series, outbox)
    charted.parts.chart_fanout.leave(charted.series, outbox)
    charted.publish(minute(1, 3))
    assert link.written == []
    assert len(charted.parts.hub) == 0


@pytest.mark.parametrize("parser", [0, 1])
def test_who_was_behind_gets_every_bar_from_the_first_missed_on_once_and_newest(parser: int) -> None:
    charted = Charted()
    outbox, link = charted.watcher(parser)
    charted.stall(outbox, link)
    charted.publish(minute(1, 3, closed=False))
    charted.publish(minute(1, 4), minute(2, 4, closed=False))
    charted.publish(minute(2, 5))
    charted.publish(minute(3, 6, closed=False))
    charted.publish(minute(3, 7, closed=False))
    assert link.written == []
    charted.parts.drain(outbox)
    charted.publish(minute(3, 8, closed=False))
    assert heard(link, parser) == [(1, 4, True), (2, 5, True), (3, 7, False), (3, 8, False)]


def test_a_revision_of_an_old_bar_is_owed_from_there_on() -> None:
    charted = Charted()
    outbox, link = charted.watcher()
    charted.stall(outbox, link)
    charted.publish(minute(1, 3, closed=False))
    charted.publish(minute(0, 4))
    charted.parts.drain(outbox)
    assert heard(link) == [(0, 4, True), (1, 3, False)]


def test_what_was_not_missed_is_not_sent() -> None:
    charted = Charted()
    outbox, link = charted.watcher()
    charted.stall(outbox, link)
    charted.parts.drain(outbox)
    assert link.written == []


def test_who_left_while_behind_is_owed_nothing() -> None:
    charted = Charted()
    outbox, link = charted.watcher()
    charted.stall(outbox, link)
    charted.publish(minute(1, 3))
    charted.parts.chart_fanout.leave(charted.series, outbox)
    charted.parts.drain(outbox)
    assert link.written == []
    assert charted.parts.chart_fanout._owed == {}


def test_who_fills_up_again_between_two_charts_gets_the_other_with_the_next_drain() -> None:
    charted = Charted()
    outbox, link = charted.watcher()
    other = charted.add("5m", make_candle(0, 1, closed=False))
    charted.parts.chart_fanout.join(other, outbox)
    charted.stall(outbox, link)
    charted.publish(minute(1, 3, closed=False))
    charted.parts.publish_chart(SYMBOL, "5m", make_candle(0, 3, closed=False))
    passes = 0
    while outbox.behind:
        link.full_after = 1
        charted.parts.drain(outbox)
        passes += 1
        assert passes < 5
    found: list[Any] = [args[1]["interval"] for args in read_events(b"".join(link.written))]
    assert sorted(found) == ["1m", "5m"]
    assert charted.parts.chart_fanout._owed == {}


def test_bars_come_before_the_log_goes_on() -> None:
    charted = Charted()
    outbox, link = charted.watcher()
    charted.parts.hub.join(f"trades:{SYMBOL}", outbox)
    charted.stall(outbox, link)
    charted.parts.trade(SYMBOL, make_trade(1))
    charted.publish(minute(1, 3))
    charted.parts.drain(outbox)
    assert [args[0] for args in read_events(b"".join(link.written))] == ["chart:update", "trade:new"]
