"""A batch joined of ready parts is byte for byte what encoding it whole would give, for both parsers."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.socketio.packets import Event, Value
from services.gateway import batches
from services.gateway.batches import BatchWriter, batch_writers
from services.gateway.encoding import Encoder
from services.gateway.frames import frame_messages
from services.gateway.market import UNKNOWN, Change
from services.gateway.payloads import Payloads, batch_extras
from shared.messages import Price
from shared.names.events import ServerEvent
from tests.support.fakes_gateway import NOW_MS, PARSERS, make_price

ENCODER = Encoder(PARSERS)
each_parser = pytest.mark.parametrize("parser", [0, 1], ids=["json", "msgpack"])

CHANGES = st.builds(
    lambda symbol, price, seq, back, state: Change(symbol, Price(price, NOW_MS, seq, state=state), seq - back),
    st.text("ABCxyz0-/:", min_size=1, max_size=32),
    st.sampled_from(["0", "64000.10", "0.00000001", "-37.63", "123456789.123456789"]),
    st.integers(1, 2**53),
    st.integers(0, 2**40),
    st.sampled_from(["live", "live", "live", "stale", "halted"]),
)


def writer(parser: int) -> BatchWriter:
    return batch_writers(ENCODER, Payloads("number"))[parser]


def whole(parser: int, changes: list[Change]) -> bytes:
    """The same batch by the generic encoder."""
    pairs: list[Value] = [[change.symbol, Decimal(change.price.price)] for change in changes]
    ns = [change.price.seq - change.base if change.base > UNKNOWN else 0 for change in changes]
    states = [change.price.state for change in changes]
    extras = batch_extras(NOW_MS, [change.price.seq for change in changes], ns, states)
    event = Event(ServerEvent.PRICE_BATCH.value, (pairs, extras))
    return frame_messages(ENCODER.parsers[parser].encode(event))


@each_parser
@given(st.lists(CHANGES, min_size=1, max_size=40, unique_by=lambda change: change.symbol))
@settings(deadline=None)
def test_a_joined_batch_is_the_batch_encoded_whole(parser: int, changes: list[Change]) -> None:
    made = writer(parser)
    rows = made.rows(changes)
    assert made.frame(list(rows.values()), made.number(NOW_MS)) == whole(parser, changes)


@each_parser
@pytest.mark.parametrize("length", [1, 15, 16, 200, 2_000, 3_000])
def test_a_batch_of_any_length_has_its_header(parser: int, length: int) -> None:
    made = writer(parser)
    changes = [Change(f"SYM-{number}", make_price(number + 1), number) for number in range(length)]
    assert made.frame(list(made.rows(changes).values()), made.number(NOW_MS)) == whole(parser, changes)


@each_parser
def test_the_parts_of_a_price_are_kept_while_it_stands(parser: int) -> None:
    made = writer(parser)
    price = make_price(7)
    pair, seq, n, _ = made.row("A", price, 3)
    again = made.row("A", price, 6)
    assert again[0] is pair
    assert again[1] is seq
    assert (n, again[2]) == (made.number(4), made.number(1))
    assert made.row("A", make_price(8), 7)[0] != pair


@each_parser
@pytest.mark.parametrize("base", [UNKNOWN, 7, 9])
def test_what_builds_on_nothing_known_folds_no_ticks(parser: int, base: int) -> None:
    made = writer(parser)
    assert made.row("A", make_price(7), base)[2] == made.number(0)


@each_parser
def test_what_is_kept_is_bounded(parser: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_KEPT", 10)
    made = writer(parser)
    for number in range(100):
        made.row(f"SYM-{number}", make_price(1), 0)
        assert len(made._kept) <= 10
