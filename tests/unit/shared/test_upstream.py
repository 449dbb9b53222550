"""What upstreams write, read with suspicion."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstream import (
    FUTURE_MS,
    MAX_USERS,
    Refusal,
    UpstreamError,
    UpstreamTrade,
    parse_trade,
    read_decimal,
    read_side,
    read_symbol,
    read_text,
    read_time,
)

MS = 1_763_800_000_000
ENTRY = f"{MS}-0"
TRADE = {b"id": b"42", b"symbol": b"BTC-USDT", b"amount": b"0.500", b"price": b"64000.10", b"ts": str(MS).encode()}


def refused(fields: dict[bytes, bytes], entry_id: str = ENTRY) -> tuple[Refusal, str]:
    with pytest.raises(UpstreamError) as caught:
        parse_trade(fields, entry_id)
    return caught.value.refusal, caught.value.field


def decimal(raw: bytes) -> str | None:
    return read_decimal({b"price": raw}, b"price")


def time(raw: bytes, entry_id: str = ENTRY) -> int:
    return read_time({b"ts": raw}, entry_id)


def test_a_whole_trade():
    fields = TRADE | {b"side": b"sell", b"venue": b"BINANCE", b"user_id": b"ann, bob,ann,"}
    expected = UpstreamTrade("42", "BTC-USDT", "0.500", "64000.10", "sell", MS, "BINANCE", ("ann", "bob"))
    assert parse_trade(fields, ENTRY) == expected


def test_the_least_trade_takes_id_and_time_from_its_entry():
    fields = {b"symbol": b"X", b"amount": b"1", b"price": b"2"}
    assert parse_trade(fields, f"{MS}-7") == UpstreamTrade(f"{MS}-7", "X", "1", "2", None, MS, None, ())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({b"price": b""}, (Refusal.MISSING, "price")),
        ({b"amount": b"None"}, (Refusal.MISSING, "amount")),
        ({b"amount": b"-1"}, (Refusal.NOT_POSITIVE, "amount")),
        ({b"amount": b"0.000"}, (Refusal.NOT_POSITIVE, "amount")),
        ({b"id": b"1" * 129}, (Refusal.TOO_LONG, "id")),
        ({b"id": b"\xff"}, (Refusal.NOT_TEXT, "id")),
        ({b"user_id": b"\xff"}, (Refusal.NOT_TEXT, "user_id")),
        ({b"user_id": b"u" * 129}, (Refusal.TOO_LONG, "user_id")),
        ({b"user_id": b",".join(b"%d" % n for n in range(MAX_USERS + 1))}, (Refusal.TOO_MANY_USERS, "user_id")),
    ],
)
def test_a_trade_that_cannot_be_used_names_field_and_reason(
    changes: dict[bytes, bytes], expected: tuple[Refusal, str]
) -> None:
    assert refused(TRADE | changes) == expected


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"64000.10", "64000.10"),
        (b"64000", "64000"),
        (b"0.00", "0.00"),
        (b"-1.50", "-1.50"),
        (b"6.38e-06", "0.00000638"),
        (b"1E+3", "1000"),
        (b"+5", "5"),
        (b"007.5", "7.5"),
        (b".5", "0.5"),
        (b"5.", "5"),
        (b" 5 ", "5"),
        (b"9" * 40, "9" * 40),
    ],
)
def test_a_decimal_keeps_its_digits_and_loses_its_exponent(raw: bytes, text: str):
    assert decimal(raw) == text


@pytest.mark.parametrize("raw", [b"", b"None", b"null", b"nan", b"NaN"])
def test_the_words_for_nothing_count_as_absent_everywhere(raw: bytes):
    assert decimal(raw) is None
    assert read_side({b"side": raw}) is None
    assert read_text({b"venue": raw}, b"venue") is None
    assert time(raw) == MS
    assert parse_trade(TRADE | {b"user_id": raw}, ENTRY).users == ()


@pytest.mark.parametrize(
    "raw", [b"x", b"1,5", b"0x10", b"inf", b"-Infinity", b"sNaN", b"1e41", b"1e-41", b"--1", b"1 2"]
)
def test_what_is_no_finite_number_of_sane_size_is_refused(raw: bytes):
    with pytest.raises(UpstreamError) as caught:
        decimal(raw)
    assert caught.value.refusal is Refusal.BAD_DECIMAL


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=12))
def test_every_decimal_keeps_its_value_and_canonical_text_reads_as_itself(value: Decimal):
    text = decimal(str(value).encode())
    assert text is not None
    assert Decimal(text) == value
    assert "E" not in text.upper()
    assert decimal(text.encode()) == text


@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?\Z"))
def test_canonical_text_is_what_a_decimal_of_it_prints(text: str):
    assert decimal(text.encode()) == text == format(Decimal(text), "f")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-10, max_value=10, places=3), st.booleans())
def test_only_what_is_above_nought_is_positive(value: Decimal, scientific: bool):  # noqa: FBT001 - a given value
    raw = f"{value:E}" if scientific else str(value)
    try:
        read_decimal({b"amount": raw.encode()}, b"amount", positive=True)
    except UpstreamError as error:
        refusal: Refusal | None = error.refusal
    else:
        refusal = None
    assert refusal == (None if value > 0 else Refusal.NOT_POSITIVE)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-30, max_value=1e30))
def test_a_float_as_python_prints_it_keeps_its_value(value: float):
    text = decimal(repr(value).encode())
    assert text is not None
    assert float(text) == value


@pytest.mark.parametrize(
    ("raw", "ms"),
    [
        (b"1763800000", MS),
        (b"1763800000.25", MS + 250),
        (b"1626992741.421", 1_626_992_741_421),
        (b"1763800000000", MS),
        (b"1763800000000.9", MS),
        (b"1763800000000250", MS),
        (b"1763800000000999999", MS),
        (b"1.7638e9", MS),
        (b"2025-11-22T08:26:40Z", MS),
        (b"2025-11-22T08:26:40", MS),
        (b"2025-11-22T09:26:40.5+01:00", MS + 500),
        (b"2025-11-22T08:26:40.123456789Z", MS + 123),
        (b"0", 0),
    ],
)
def test_a_time_may_be_in_any_unit_or_iso_8601(raw: bytes, ms: int):
    assert time(raw) == ms


@pytest.mark.parametrize("raw", [b"x", b"-1", b"inf", b"sNaN", b"1969-12-31T23:59:59Z", b"2025-13-01", b"1e300"])
def test_what_is_no_time_is_refused(raw: bytes):
    with pytest.raises(UpstreamError) as caught:
        time(raw)
    assert (caught.value.refusal, caught.value.field) == (Refusal.BAD_TIME, "ts")


def test_a_time_a_day_ahead_of_its_entry_is_a_mistake():
    assert time(str(MS + FUTURE_MS).encode()) == MS + FUTURE_MS
    with pytest.raises(UpstreamError) as caught:
        time(str(MS + FUTURE_MS + 1).encode())
    assert caught.value.refusal is Refusal.FUTURE


@given(st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)))  # noqa: DTZ001 - hypothesis wants them naive
def test_seconds_milliseconds_and_iso_of_one_moment_agree(moment: datetime):
    aware = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    ms = int((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 + 0.5)
    late = f"{2**62}-0"
    assert time(aware.isoformat().encode(), late) == ms
    assert time(f"{ms // 1000}.{ms % 1000:03d}".encode(), late) == ms


@pytest.mark.parametrize(("raw", "side"), [(b"buy", "buy"), (b"SELL", "sell"), (b"Buy", "buy")])
def test_a_side_is_buy_or_sell_in_either_case(raw: bytes, side: str):
    assert read_side({b"side": raw}) == side


@pytest.mark.parametrize("raw", [b"b", b"long", b"\xff", b"buy "])
def test_any_other_side_is_refused(raw: bytes):
    with pytest.raises(UpstreamError) as caught:
        read_side({b"side": raw})
    assert caught.value.refusal is Refusal.BAD_SIDE


def test_a_symbol_is_kept_as_upstream_writes_it():
    assert read_symbol({b"symbol": b"btc/usdt:PERP"}) == "btc/usdt:PERP"


@given(
    st.dictionaries(
        st.sampled_from([b"id", b"symbol", b"amount", b"price", b"side", b"ts", b"venue", b"user_id"]),
        st.binary(max_size=200) | st.text(max_size=60).map(lambda text: text.encode(errors="surrogatepass")),
    )
)
def test_whatever_comes_is_a_trade_or_the_one_error(changes: dict[bytes, bytes]):
    try:
        trade = parse_trade(TRADE | changes, ENTRY)
    except UpstreamError:
        return
    assert Decimal(trade.amount) > 0
    assert 0 <= trade.ts <= MS + FUTURE_MS
    assert len(trade.users) <= MAX_USERS
