"""The trade logs from Redis, read by position: nothing is lost while the log holds it.

One connection reads all shards of trades and of users, from where they ended when the gateway started; after any fault
it goes on where it was. An entry that nobody here wants is not decoded. Feeds `Fanout`.
"""

from typing import Final

from services.gateway.fanout import Fanout
from shared.bus.entries import StreamEntry, entry_ms
from shared.bus.redis_bus import LONGEST_BLOCK_MS, RedisBus
from shared.bus.retrying import keep_trying
from shared.log import get_logger
from shared.messages import DecodeError, decode_trade
from shared.names import redis_keys

log = get_logger(__name__)

READ_COUNT: Final = 250
"""Entries of one shard in one turn: what one client gets of them in one write stays small."""


class TradeFeed:
    """One gateway's position in the logs."""

    def __init__(self, bus: RedisBus, fanout: Fanout, *, shards: int) -> None:
        self._bus = bus
        self._fanout = fanout
        self._logs = [redis_keys.trade_log(n) for n in range(shards)] + [redis_keys.user_log(n) for n in range(shards)]
        self._users = frozenset(redis_keys.user_log(shard) for shard in range(shards))
        self._positions: dict[str, str] = {}
        self.rejected = 0

    async def start(self) -> None:
        """Take the logs' ends as the position: from here on nothing is missed.

        Raises:
            BusUnavailableError: Redis is away.
        """
        self._positions = await self._bus.last_ids(self._logs)

    async def run(self) -> None:
        """Work until cancelled."""
        await keep_trying("trade-feed", self._read_on)

    async def _read_on(self) -> None:
        await self._notice_lost_history()
        while True:
            for stream, entries in (await self._bus.read(self._positions, READ_COUNT, LONGEST_BLOCK_MS)).items():
                deliver = self._deliver_to_user if stream in self._users else self._deliver_to_room
                for entry in entries:
                    deliver(entry)
                self._positions[stream] = entries[-1].id

    async def _notice_lost_history(self) -> None:
        """A log that ends before our position has lost what came after: reading on would wait for ever."""
        for stream, last in (await self._bus.last_ids(self._logs)).items():
            if _order(last) < _order(self._positions[stream]):
                log.error("trade_log_lost_history", stream=stream, position=self._positions[stream], log_ends=last)
                self._positions[stream] = "0-0"

    def _deliver_to_room(self, entry: StreamEntry) -> None:
        try:
            symbol = entry.fields[b"s"].decode()
            if self._fanout.wants_trades(symbol):
                self._fanout.trade(symbol, decode_trade(entry.fields[b"d"]))
        except (KeyError, UnicodeDecodeError, DecodeError) as error:
            self._reject(entry, error)

    def _deliver_to_user(self, entry: StreamEntry) -> None:
        try:
            user_id = entry.fields[b"u"].decode()
            if self._fanout.wants_user(user_id):
                self._fanout.notification(user_id, decode_trade(entry.fields[b"d"]))
        except (KeyError, UnicodeDecodeError, DecodeError) as error:
            self._reject(entry, error)

    def _reject(self, entry: StreamEntry, error: Exception) -> None:
        self.rejected += 1
        if self.rejected & (self.rejected - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: never a flood
            log.warning("log_entry_rejected", entry=entry.id, error=repr(error), rejected=self.rejected)


def _order(entry_id: str) -> tuple[int, int]:
    return entry_ms(entry_id), int(entry_id.partition("-")[2])
