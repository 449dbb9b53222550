"""Two gateways' price feeds on a real Valkey: the server's subscribers are the union of the models (T26, T36).

Clients of each watch and leave symbols, connections to Redis are cut; when all has settled, each shard's channel has as
many subscribers as there are gateways with a client that watches one of its symbols, and no other channel has any.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from services.gateway import price_feed
from services.gateway.market import Market
from services.gateway.price_feed import PriceFeed
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.names import redis_keys
from shared.tasks import TaskGroup
from tests.support.waiting import PATIENCE_S, eventually

SHARDS: Final = 3
SYMBOLS: Final = st.sampled_from("ABCDEFG")
GATEWAYS: Final = st.integers(0, 1)
CHANNELS: Final = [redis_keys.price_channel(shard) for shard in range(SHARDS)]
T = TypeVar("T")


class Loop:
    """An event loop in a thread, in which feeds go on between the steps of a machine."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run it meanwhile."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """End the thread, once what was closed is gone: transports take a turn of their loop for that."""
        self.run(asyncio.sleep(0.01))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Gateway:
    """A price feed that runs, and its model: symbol -> how many clients watch it."""

    def __init__(self, url: str) -> None:
        self.bus = RedisBus(url, "machine")
        self.market = Market(everything=False)
        self.feed = PriceFeed(
            *(self.bus, SystemClock(), self.market, lambda _: None),
            shards=SHARDS,
            everything=False,
            observe_age=lambda _: None,
        )
        self.stopping = asyncio.Event()
        self.watched: Counter[str] = Counter()

    async def run(self) -> None:
        """Until it is told to stop."""
        async with TaskGroup() as tasks:
            running = tasks.spawn("feed", self.feed.run())
            await self.stopping.wait()
            running.cancel()
        await self.bus.close()

    async def stop(self) -> None:
        """Tell it to."""
        self.stopping.set()


class GatewaysWatch(RuleBasedStateMachine):
    """Two gateways and what their clients watch."""

    url: ClassVar[str]
    """Of a server of its own; set by who runs this."""

    patience: ClassVar[float] = PATIENCE_S
    """Seconds until all must have settled."""

    @initialize()
    def begin(self) -> None:
        self.lingered, price_feed.LINGER_S = price_feed.LINGER_S, 0.01  # type: ignore[misc]
        self.loop = Loop()
        self.gateways = self.loop.run(self._start())
        self.running = [self.loop.begin(gateway.run()) for gateway in self.gateways]

    async def _start(self) -> list[Gateway]:
        return [Gateway(self.url) for _ in range(2)]

    @rule(number=GATEWAYS, symbols=st.lists(SYMBOLS, min_size=1, max_size=4))
    def watch(self, number: int, symbols: list[str]) -> None:
        self._each(self.gateways[number].feed.watch, symbols)
        self.gateways[number].watched.update(symbols)

    @rule(number=GATEWAYS, symbols=st.lists(SYMBOLS, min_size=1, max_size=4, unique=True))
    def unwatch(self, number: int, symbols: list[str]) -> None:
        gateway = self.gateways[number]
        watched = [symbol for symbol in symbols if gateway.watched[symbol]]
        self._each(gateway.feed.unwatch, watched)
        gateway.watched.subtract(watched)

    @rule()
    def cut(self) -> None:
        """Redis drops everybody's subscriptions."""
        self.loop.run(self._ask("CLIENT", "KILL", "TYPE", "pubsub"))

    @rule()
    def settle(self) -> None:
        wanted = [
            sum(
                any(redis_keys.shard_of(symbol, SHARDS) == shard for symbol in +gateway.watched)
                for gateway in self.gateways
            )
            for shard in range(SHARDS)
        ]
        self.loop.run(
            eventually(
                self._subscribers, "subscribers of each shard", lambda found: found == wanted, patience=self.patience
            )
        )

    async def _subscribers(self) -> list[int]:
        flat = await self._ask("PUBSUB", "SHARDNUMSUB", *CHANNELS)
        counts = dict(zip(flat[::2], flat[1::2], strict=True))
        return [int(counts[channel.encode()]) for channel in CHANNELS]

    async def _ask(self, *command: str) -> Any:
        return await self.gateways[0].bus._client.execute_command(*command)  # type: ignore[no-untyped-call]

    def _each(self, step: Callable[[str], None], symbols: Sequence[str]) -> None:
        async def take_all() -> None:
            for symbol in symbols:
                step(symbol)

        self.loop.run(take_all())

    def teardown(self) -> None:
        if not hasattr(self, "running"):
            return
        try:
            self.settle()
        finally:
            for gateway in self.gateways:
                self.loop.run(gateway.stop())
            for running in self.running:
                running.result(30)
            self.loop.close()
            price_feed.LINGER_S = self.lingered  # type: ignore[misc]
