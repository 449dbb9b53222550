"""What of an upstream stream is a trade, what should be one, and what is none of the notifier's business."""

import json

import pytest

from services.trade_notifier.recipients import address
from services.trade_notifier.sorting import PART, Sorted, sort_out
from shared.bus.entries import StreamEntry
from shared.upstream import Holds, Refusal, Source, SymbolNames

TRADES = Source("feed:trades", Holds.TRADES)
MIXED = Source("binance", Holds.MIXED)
TRADE = {"id": "1", "symbol": "X", "amount": "2", "price": "3"}


def entry(number: int, **fields: str) -> StreamEntry:
    return StreamEntry(f"1763800000000-{number}", {name.encode(): value.encode() for name, value in fields.items()})


def several(number: int, *items: object) -> StreamEntry:
    return entry(number, data=json.dumps(items))


def only_part(source: Source, *entries: StreamEntry, names: SymbolNames | None = None) -> Sorted:
    (part,) = sort_out(source, entries, names)
    return part


def reasons(part: Sorted) -> list[tuple[Refusal, str]]:
    return [(letter.error.refusal, letter.error.field) for letter in part.refused]


@pytest.mark.parametrize("source", [TRADES, MIXED])
@pytest.mark.parametrize(
    "other",
    [
        {"symbol": "X", "bid": "1", "ask": "2"},
        {"symbol": "X", "price": "1", "amount": "2", "type": "quote"},
        {"symbol": "X", "state": "halted"},
        {"topic": "data.bars.X", "payload": '{"type":"Bar","bar_type":"X"}'},
        {"exchange": "B", "symbol": "X", "open": "1", "timestamp": "1", "receipt_timestamp": "2"},
    ],
)
def test_what_says_that_it_is_no_trade_is_passed_over(source: Source, other: dict[str, str]) -> None:
    part = only_part(source, entry(0, **other), entry(1, **TRADE))
    assert [found.trade.id for found in part.trades] == ["1"]
    assert (part.ignored, part.refused) == (1, [])
    assert part.entries == ["1763800000000-0", "1763800000000-1"]


@pytest.mark.parametrize("amount", [{}, {"amount": "None"}])
def test_a_price_without_an_amount_is_a_fault_where_only_trades_belong(amount: dict[str, str]) -> None:
    price = entry(0, symbol="X", price="1", **amount)
    assert reasons(only_part(TRADES, price)) == [(Refusal.MISSING, "amount")]
    assert only_part(MIXED, price).ignored == 1


def test_what_makes_no_sense_is_refused_in_either() -> None:
    for source in (TRADES, MIXED):
        part = only_part(source, entry(0, mood="fine"), entry(1, data="{"), entry(2, **{**TRADE, "amount": "-1"}))
        assert reasons(part) == [
            (Refusal.MISSING, "symbol"),
            (Refusal.BAD_PAYLOAD, "data"),
            (Refusal.NOT_POSITIVE, "amount"),
        ]


def test_trades_of_one_entry_without_ids_are_told_apart_by_their_place() -> None:
    item = {"symbol": "X", "amount": "2", "price": "3"}
    found = only_part(
        TRADES, several(7, item, {"symbol": "X", "bid": 1}, item, {**item, "id": "9"}, {"symbol": "?"}, item)
    )
    ids = [trade.trade.id for trade in found.trades]
    assert ids == ["1763800000000-7/0", "1763800000000-7/2", "9", "1763800000000-7/5"]
    assert len({record.id for log in address(found.trades, 1).trade_logs.values() for record in log}) == 4
    assert {trade.trade.ts for trade in found.trades} == {1763800000000}
    (letter,) = found.refused
    assert letter.entry == StreamEntry("1763800000000-7", {b"symbol": b"?"}), "the item at fault, not all of them"


def test_the_place_of_a_trade_is_part_of_the_stream_s_name_as_an_entry_s_is() -> None:
    item = {"symbol": "X", "amount": "2", "price": "3"}
    trades = [*only_part(TRADES, several(7, item, item)).trades, *only_part(MIXED, several(7, item, item)).trades]
    assert len({record.id for log in address(trades, 1).trade_logs.values() for record in log}) == 4


def test_a_part_ends_with_the_entry_that_fills_it_and_no_entry_is_in_two() -> None:
    full = several(0, *({**TRADE, "id": str(number)} for number in range(PART - 1)))
    parts = list(sort_out(TRADES, [full, entry(1, **TRADE), entry(2, **TRADE), entry(3)], None))
    assert [part.entries for part in parts] == [
        ["1763800000000-0", "1763800000000-1"],
        ["1763800000000-2", "1763800000000-3"],
    ]
    assert [len(part.trades) for part in parts] == [PART, 1]
    assert [part.gone for part in parts] == [0, 1]


def test_symbols_get_the_names_that_they_have_here() -> None:
    part = only_part(TRADES, entry(0, **TRADE), names=SymbolNames("{symbol}", {"X": "Y"}))
    assert part.trades[0].trade.symbol == "Y"
