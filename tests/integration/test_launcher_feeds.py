"""The feeds against a real server: what they write is what an upstream writes, whole and in order."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from services.launcher.errors import LauncherError
from services.launcher.feeds import publish, replay
from services.launcher.feeds.replay import Recording, Replay
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names import redis_keys
from shared.upstream import parse_trade, read_decimal, read_symbol
from tests.support.recording import RECORDED, needs_recording
from tests.support.waiting import STOP_S, eventually

FEED: Final = (sys.executable, "-P", "-m", "services.launcher", "feed")
START_MS: Final = 1_723_161_600_000


class NoProgress:
    """Nobody looks."""

    def advance(self, rows: int, fraction: float) -> None:
        pass


def dump(directory: Path, count: int, gap_ms: int = 1) -> Path:
    """A spot dump of `count` trades with ids from 0."""
    path = directory / "BTCUSDT-trades-2024-08-09.csv"
    rows = (f"{n},6{n % 10}000.10,0.5,1,{START_MS + n * gap_ms},{n % 2 == 0},True\n" for n in range(count))
    path.write_text("".join(rows))
    return path


async def entries(bus: RedisBus, stream: str) -> list[dict[bytes, bytes]]:
    found: list[dict[bytes, bytes]] = []
    position = "0"
    while batch := (await bus.read({stream: position}, 10_000, 0)).get(stream):
        found += [entry.fields for entry in batch]
        position = batch[-1].id
    return found


async def replayed(bus: RedisBus, **options: Any) -> Replay:
    made = Replay(Recording(**options), bus, SystemClock(), asyncio.Event(), NoProgress())
    await made.run()
    return made


async def ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    async with asyncio.timeout(STOP_S):
        out, err = await process.communicate()
    return out.decode(), err.decode()


@contextlib.asynccontextmanager
async def feed(redis_url: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *FEED, *words, "--redis-url", redis_url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_simulator_writes_what_both_readers_accept_until_it_is_stopped(redis_url, bus):
    async def users() -> set[str]:
        trades = [parse_trade(fields, f"{SystemClock().now_ms()}-0") for fields in await entries(bus, "feed:trades")]
        return {user for trade in trades for user in trade.users}

    async with feed(redis_url, "simulate", "--rate", "2000", "--symbols", "50") as process:
        await eventually(users, "some trade names a user")
        prices = await entries(bus, redis_keys.FEED_PRICES)
        assert all(read_symbol(fields) and read_decimal(fields, b"price", positive=True) for fields in prices)
        assert {fields[b"venue"] for fields in prices} == {b"simulator"}
        process.terminate()
        out, err = await ended(process)
    assert process.returncode == 0, err
    assert out.startswith("SIMULATED")
    assert "Traceback" not in err


async def test_a_replay_keeps_rows_order_and_digits_and_names_bad_rows(redis_url, bus, tmp_path):
    path = dump(tmp_path, 2000)
    lines = path.read_text().splitlines()
    lines[41] = "41,cheap,0.5,1,1723161600041,True,True"
    path.write_text("\n".join(lines))
    async with feed(redis_url, "replay", str(path), "--speed", "50") as process:
        out, err = await ended(process)
    assert process.returncode == 0, err
    assert "done: 1,999 trades of 1 symbol" in out
    assert "1 bad rows" in out
    assert "line=42" in err
    assert "cheap" in err
    found = await entries(bus, redis_keys.FEED_TRADES)
    assert [int(fields[b"id"]) for fields in found] == [number for number in range(2000) if number != 41]
    assert found[1] == {
        b"id": b"1",
        b"symbol": b"BTCUSDT",
        b"amount": b"0.5",
        b"price": b"61000.10",
        b"side": b"buy",
        b"ts": found[1][b"ts"],
    }
    assert found[0][b"side"] == b"sell"


async def test_times_begin_now_and_keep_their_distance(bus, tmp_path):
    before = SystemClock().now_ms()
    await replayed(bus, path=dump(tmp_path, 101, gap_ms=100), speed=100.0)
    times = [int(fields[b"ts"]) for fields in await entries(bus, redis_keys.FEED_TRADES)]
    assert before <= times[0] <= SystemClock().now_ms()
    assert [moment - times[0] for moment in times] == list(range(101))


async def test_original_times_are_kept_where_asked_for(bus, tmp_path):
    await replayed(bus, path=dump(tmp_path, 10), speed=None, original_time=True)
    found = await entries(bus, redis_keys.FEED_TRADES)
    assert [int(fields[b"ts"]) for fields in found] == [START_MS + number for number in range(10)]


async def test_the_pace_is_that_of_the_recording(bus, tmp_path):
    made = await replayed(bus, path=dump(tmp_path, 11, gap_ms=1000), speed=20.0)
    assert made.tally.seconds >= 0.5


async def test_the_second_round_of_a_loop_has_ids_of_its_own(bus, tmp_path):
    stopping = asyncio.Event()
    recording = Recording(dump(tmp_path, 10), speed=None, loop=True)
    made = Replay(recording, bus, SystemClock(), stopping, NoProgress())
    task = asyncio.get_running_loop().create_task(made.run())
    await eventually(lambda: made.tally.rows >= 30, "three rounds")
    stopping.set()
    await task
    ids = [fields[b"id"] for fields in await entries(bus, redis_keys.FEED_TRADES)]
    assert ids[:12] == [b"%d" % number for number in range(10)] + [b"0-2", b"1-2"]
    assert len(set(ids)) == len(ids)


async def test_it_waits_for_readers_that_fall_behind_and_goes_on_when_they_catch_up(bus, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "LAG_LIMIT", 100)
    monkeypatch.setattr(replay, "ROWS_PER_LAG_CHECK", 200)
    monkeypatch.setattr(replay, "MOST_ROWS_AT_ONCE", 50)
    await bus.ensure_group(redis_keys.FEED_TRADES, redis_keys.TRADE_GROUP)
    made = Replay(Recording(dump(tmp_path, 1000), speed=None), bus, SystemClock(), asyncio.Event(), NoProgress())
    task = asyncio.get_running_loop().create_task(made.run())
    await eventually(lambda: made.tally.rows >= 200, "it publishes")
    await asyncio.sleep(0.3)  # long enough for everything, if it did not wait
    assert made.tally.rows == 200
    while not task.done():
        await bus._client.xreadgroup(redis_keys.TRADE_GROUP, "r", {redis_keys.FEED_TRADES: ">"}, count=100, block=10)
        await asyncio.sleep(0)
    await task
    assert made.tally.rows == 1000


async def test_without_readers_it_waits_for_nobody(bus, tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "LAG_LIMIT", 10)
    monkeypatch.setattr(replay, "ROWS_PER_LAG_CHECK", 20)
    assert (await replayed(bus, path=dump(tmp_path, 1000), speed=None)).tally.rows == 1000


async def test_a_file_without_one_usable_row_is_an_error(bus, tmp_path):
    path = tmp_path / "BTCUSDT-trades-2024-08-09.csv"
    path.write_text("1,cheap,0.5,1,1723161600041,True,True\n")
    with pytest.raises(LauncherError, match="no usable trade"):
        await replayed(bus, path=path, speed=None)


async def test_an_unknown_layout_ends_with_what_would_do(redis_url, tmp_path):
    path = tmp_path / "candles.csv"
    path.write_text("open_time,open,high,low,close\n1,2,3,4,5\n")
    async with feed(redis_url, "replay", str(path)) as process:
        _, err = await ended(process)
    assert process.returncode == 1
    assert "unknown layout" in err
    assert "aggTrades" in err


async def test_a_feed_waits_for_redis_and_can_be_stopped_meanwhile():
    async with feed("redis://127.0.0.1:1", "simulate") as process:
        assert process.stderr is not None
        assert b"redis_unavailable" in await process.stderr.readline()
        process.terminate()
        _, err = await ended(process)
    assert process.returncode == 0
    assert "Traceback" not in err


@needs_recording
async def test_the_recorded_market_is_replayed_whole(bus):
    made = await replayed(bus, path=RECORDED, speed=None)
    assert (made.tally.rows, made.tally.bad, len(made.tally.symbols)) == (78_638, 0, 6)
    assert await bus.length(redis_keys.FEED_TRADES) == 78_638
