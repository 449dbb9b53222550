from structlog.testing import capture_logs

from shared.bus.entries import StreamEntry
from shared.bus.redis_bus import RedisBus
from shared.dead_letters import LOG_INTERVAL_S, MAX_FIELDS, MAX_VALUE_BYTES, DeadLetter, DeadLetters
from shared.names import redis_keys
from shared.telemetry import Telemetry
from shared.upstream import Refusal, UpstreamError
from tests.support.manual_clock import ManualClock

STREAM = redis_keys.DEAD_TRADES


def letter(entry_id: str = "5-0", fields: dict[bytes, bytes] | None = None) -> DeadLetter:
    error = UpstreamError(Refusal.BAD_DECIMAL, "price")
    return DeadLetter("feed:trades", StreamEntry(entry_id, fields or {b"price": b"cheap"}), error)


async def kept(bus: RedisBus) -> list[dict[bytes, bytes]]:
    return [entry.fields for entry in (await bus.read({STREAM: "0"}, 1000, 0)).get(STREAM, [])]


async def test_a_letter_says_why_and_where_and_holds_the_fields_as_they_came(bus: RedisBus) -> None:
    telemetry = Telemetry()
    letters = DeadLetters(bus, STREAM, telemetry, ManualClock())
    await letters.put([letter(fields={b"price": b"\xff\x00", b"na\xffme": b"x", b"reason": b"mine"})])
    assert await kept(bus) == [
        {
            b"reason": b"bad_decimal",
            b"field": b"price",
            b"stream": b"feed:trades",
            b"entry": b"5-0",
            b"original:price": b"\xff\x00",
            b"original:na\\xffme": b"x",
            b"original:reason": b"mine",
        }
    ]
    assert letters.total == 1
    assert b'tickwire_dead_letters_total{reason="bad_decimal"} 1.0' in telemetry.exposition("")[0]


async def test_a_huge_entry_is_cut_and_the_letter_says_so(bus: RedisBus) -> None:
    many = {f"f{number}".encode(): b"x" * 10_000 for number in range(200)}
    await DeadLetters(bus, STREAM, Telemetry(), ManualClock()).put([letter(fields=many)])
    (fields,) = await kept(bus)
    originals = [value for name, value in fields.items() if name.startswith(b"original:")]
    assert len(originals) == MAX_FIELDS
    assert {len(value) for value in originals} == {MAX_VALUE_BYTES}
    assert fields[b"cut"] == b"1"


async def test_a_flood_is_logged_once_an_interval_with_its_number(bus: RedisBus) -> None:
    clock = ManualClock()
    letters = DeadLetters(bus, STREAM, Telemetry(), clock)
    with capture_logs() as lines:
        for _ in range(5):
            await letters.put([letter(), letter()])
        clock.seconds += LOG_INTERVAL_S
        await letters.put([letter(entry_id="9-9")])
    assert [line["refused"] for line in lines] == [{"bad_decimal": 2}, {"bad_decimal": 9}]
    assert lines[1]["entry"] == "9-9"


async def test_nothing_refused_writes_nothing(bus: RedisBus) -> None:
    await DeadLetters(bus, STREAM, Telemetry(), ManualClock()).put([])
    assert await kept(bus) == []


async def test_every_reason_is_shown_as_zero_before_it_happens(bus: RedisBus) -> None:
    telemetry = Telemetry()
    DeadLetters(bus, STREAM, telemetry, ManualClock())
    text = telemetry.exposition("")[0].decode()
    assert all(f'tickwire_dead_letters_total{{reason="{reason}"}} 0.0' in text for reason in Refusal)
