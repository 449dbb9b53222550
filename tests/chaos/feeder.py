"""The upstream of a fault run: trades at a steady rate, each written again with its own id until Redis confirmed it.

Feeds `feed:trades` of the Redis under test, as an upstream that cares would; feeds the `Ledger`, for which *accepted*
means: the transaction was answered, and as many replicas as the run demands had it (`WAIT` on the same connection).
Trades go in the order of their numbers and none begins before all earlier ones are confirmed, so the order of
acceptance is the order of numbers, whatever was repeated.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, time_ns
from typing import Any, Final, NamedTuple

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.names import redis_keys
from tests.chaos.ledger import Ledger

Address = tuple[str, int]
Fields = dict[Any, Any]
"""Of text, all of them; so wide is the library's own annotation, and a dict is invariant."""

TICK_S: Final = 0.02
MOST_AT_ONCE: Final = 500
"""In one transaction, after an outage."""

ANSWER_S: Final = 2.0
CONFIRM_MS: Final = 1000
RETRY_S: Final = 0.1
FEED_LENGTH: Final = 100_000
"""As the README tells upstreams to cap their stream."""


class Upstream(NamedTuple):
    """The Redis that trades go to.

    Attributes:
        find_master: where the feed's stream is written now.
        replicas: how many must confirm.
    """

    find_master: Callable[[], Awaitable[Address]]
    replicas: int


class Feeder:
    """One run's upstream.

    Args:
        upstream: where trades go.
        ledger: gets those that were accepted.
        symbols: trades go round them.
        rate: trades a second.
        after: the last number already used.

    Attributes:
        repeated: transactions that were written again.
        sent: the last number that was handed to Redis.
    """

    def __init__(
        self, upstream: Upstream, ledger: Ledger, symbols: Sequence[str], rate: float, *, after: int = 0
    ) -> None:
        self.repeated = 0
        self.sent = after
        self._ledger = ledger
        self._upstream = upstream
        self._symbols = symbols
        self._rate = rate
        self._stopping = False
        self._client: redis.Redis | None = None

    async def run(self) -> None:
        """Feed until told to stop; returns when everything that was begun is confirmed."""
        began, first = monotonic(), self.sent
        while not self._stopping:
            due = first + int((monotonic() - began) * self._rate)
            if self.sent < due:
                await self._deliver(min(due - self.sent, MOST_AT_ONCE))
            else:
                await asyncio.sleep(TICK_S)
        await self._disconnect()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping = True

    async def _deliver(self, number_of_trades: int) -> None:
        """Write the next trades until they are confirmed, however long that takes."""
        numbers = range(self.sent + 1, self.sent + 1 + number_of_trades)
        self.sent = numbers[-1]
        now_ms = str(time_ns() // 1_000_000)
        trades = [self._trade(number, now_ms) for number in numbers]
        while not await self._is_confirmed(trades):
            self.repeated += 1
            await asyncio.sleep(RETRY_S)
        at = monotonic()
        for number in numbers:
            self._ledger.accept(number, self._symbol(number), at)

    async def _is_confirmed(self, trades: Sequence[Fields]) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                client = await self._connected()
                async with client.pipeline(transaction=True) as pipe:
                    for trade in trades:
                        pipe.xadd(redis_keys.FEED_TRADES, trade, maxlen=FEED_LENGTH, approximate=True)
                    await pipe.execute()
                needed = self._upstream.replicas
                if needed == 0 or int(await client.execute_command("WAIT", needed, CONFIRM_MS)) >= needed:  # type: ignore[no-untyped-call]
                    return True
        except (RedisError, OSError):
            pass
        await self._disconnect()  # the next one may find another master
        return False

    async def _connected(self) -> redis.Redis:
        if self._client is None:
            host, port = await self._upstream.find_master()
            self._client = redis.Redis(
                host=host,
                port=port,
                single_connection_client=True,
                retry=Retry(NoBackoff(), 0),  # what it repeated by itself would be out of order
                client_name="upstream",
            )
        return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.aclose()
            except (RedisError, OSError):
                return

    def _symbol(self, number: int) -> str:
        return self._symbols[number % len(self._symbols)]

    def _trade(self, number: int, now_ms: str) -> Fields:
        """Its price is its number: the newest price of a symbol tells which trade it is of."""
        return {
            "id": str(number),
            "symbol": self._symbol(number),
            "price": str(number),
            "amount": "1",
            "side": "buy" if number % 2 else "sell",
            "ts": now_ms,
        }
