"""What gateways say of their positions, as it stands in Redis."""

import re

from shared.bus.redis_bus import RedisBus
from shared.log_readers import LIVE_MS, LogReaders
from shared.names import redis_keys

LOGS = [redis_keys.trade_log(0), redis_keys.user_log(0)]


async def told(bus: RedisBus, log: str) -> dict[str, str]:
    return {name.decode(): text.decode() for name, text in (await bus.hash_all(redis_keys.log_readers(log))).items()}


async def test_each_reader_s_last_word_on_each_log_stands_with_the_server_s_time(bus: RedisBus) -> None:
    one, other = LogReaders(bus, "one"), LogReaders(bus, "other")
    await one.tell({LOGS[0]: "5-0", LOGS[1]: "0-0"})
    await other.tell({LOGS[0]: "7-1"})
    await one.tell({LOGS[0]: "6-0"})
    found = await told(bus, LOGS[0])
    assert {name: text.split()[1] for name, text in found.items()} == {"one": "6-0", "other": "7-1"}
    seconds, _ = await bus._client.time()
    assert all(abs(int(text.split()[0]) - 1000 * seconds) < 5000 for text in found.values())
    assert re.fullmatch(r"\d+ 0-0", (await told(bus, LOGS[1]))["one"])


async def test_who_leaves_is_gone_and_the_others_stay(bus: RedisBus) -> None:
    for name in ("one", "other"):
        await LogReaders(bus, name).tell(dict.fromkeys(LOGS, "1-0"))
    await LogReaders(bus, "one").leave(LOGS)
    assert [[*(await told(bus, log))] for log in LOGS] == [["other"], ["other"]]
    await LogReaders(bus, "one").leave(LOGS)


async def test_nothing_is_left_when_nobody_tells_any_more(bus: RedisBus) -> None:
    await LogReaders(bus, "one").tell({LOGS[0]: "1-0"})
    assert 0 < await bus._client.pttl(redis_keys.log_readers(LOGS[0])) <= LIVE_MS
