"""A client beside the one that misbehaves: it must notice nothing.

It reads and answers pings all the time. On leaving the context it is fed prices, and every one of them must arrive,
none missing, no error before them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from tests.support.redis_cli import redis_cli
from tests.support.waiting import eventually
from tests.support.wire_socket import Json, joined, listening

SYMBOL: Final = "BESIDE"
PRICES: Final = 3

_prices: Final = count(1)
"""Each is another, so that none is dropped as unchanged."""


class Bystander:
    """One client that only listens, and what it heard."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._updates: dict[float, Json] = {}
        self._errors: list[Json] = []

    def hear(self, name: str, *args: Json) -> None:
        """Take one event."""
        if name == "price:update":
            self._updates[args[0]["price"]] = args[0]
        elif name == "error":
            self._errors.append(args[0])

    async def check(self) -> None:
        """Feed prices; each must arrive, and follow on the one before."""
        seq = (await self._fed())["seq"]
        for _ in range(PRICES):
            update = await self._fed()
            assert update["seq"] - update["n"] == seq, f"a gap before {update}"
            seq = update["seq"]
        assert not self._errors

    async def _fed(self) -> Json:
        price = next(_prices)
        redis_cli(self._redis_url, f"XADD feed:prices * symbol {SYMBOL} price {price}")
        return await eventually(lambda: self._updates.get(price), f"the client beside gets price {price}")


@asynccontextmanager
async def beside(port: int, redis_url: str) -> AsyncIterator[None]:
    """A client that is there while something else happens, and is checked afterwards."""
    async with joined(port) as socket:
        await socket.call("subscribe:price", SYMBOL)
        bystander = Bystander(redis_url)
        async with listening(socket, bystander.hear):
            yield
            await bystander.check()
