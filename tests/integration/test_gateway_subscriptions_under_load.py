"""Ten thousand subscriptions at random moments of a busy market: each sees ack, snapshot, updates, and misses nothing.

A symbol's price is the number of its ticks, so `price` equals `seq`, and whatever is lost, late, doubled or mixed up
shows in the first frame that it touches. Clients check each frame in the order of the wire, acks among them.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import pytest

from shared.bus.redis_bus import RedisBus
from shared.messages import Price
from shared.names import redis_keys
from shared.tasks import TaskGroup
from tests.support.cluster import Cluster
from tests.support.limits import RATE_SETTINGS
from tests.support.price_market import Fields, read_up, snapshot
from tests.support.waiting import eventually
from tests.support.wire_client import connect
from tests.support.wire_socket import ACK, EVENT, Json, WireSocket

pytestmark = pytest.mark.slow

SUBSCRIPTIONS: Final = 10_000
TICKS_A_SECOND: Final = 5_000
CUT_S: Final = 2.5
"""Above the 2 s after which a gateway that listens again forgets its back-off."""

MOST_UNANSWERED: Final = 5
MOST_SYMBOLS: Final = 6
"""In one request."""

TS: Final = 1_763_800_000_000
EARLY: Final = [f"S{number}-USD" for number in range(190)]
LATE: Final = [f"LATE{number}-USD" for number in range(10)]
"""They have no price before the test is half over."""

UNLIMITED: Final = dict.fromkeys(RATE_SETTINGS, "1000000")
PACES: Final[Sequence[dict[str, float]]] = ({}, {}, {"max_hz": 20}, {"max_hz": 5}, {"max_hz": 1})

Audience = Literal["everyone", "subscribers", "off"]


@dataclass(frozen=True)
class Crowd:
    """Clients of one gateway.

    Attributes:
        audience: the gateway's `PRICE_BATCH_AUDIENCE`.
        clients: how many.
        holds: about how many symbols each is subscribed to.
        pause_s: between two requests of a client, on average.
    """

    audience: Audience
    clients: int
    holds: int
    pause_s: float


CROWDS: Final = (
    Crowd("everyone", clients=20, holds=12, pause_s=0.08),
    Crowd("off", clients=20, holds=12, pause_s=0.08),
    Crowd("subscribers", clients=4, holds=1, pause_s=0.4),  # so few that shards are left and come back to
)


class Upstream:
    """Feeds ticks of which each symbol's n-th costs n.

    Attributes:
        ticks: of each symbol so far.
    """

    def __init__(self, bus: RedisBus, chance: random.Random) -> None:
        self._bus = bus
        self._chance = chance
        self.ticks: Counter[str] = Counter()
        self.symbols = EARLY
        self.is_open = True

    async def feed(self, symbols: Sequence[str]) -> None:
        """One tick of each."""
        await self._bus.append(redis_keys.FEED_PRICES, list(self._entries(symbols)), 100_000)

    async def trade(self) -> None:
        """Bursts of all sizes, `TICKS_A_SECOND` in all, until closed."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        while self.is_open:
            size = self._chance.choice((1, 1, 2, 10, 100))
            await self.feed(self._chance.choices(self.symbols, k=size))
            at = max(at + size / TICKS_A_SECOND, loop.time() - 0.1)
            await asyncio.sleep(at - loop.time())

    def _entries(self, symbols: Sequence[str]) -> Iterator[Fields]:
        for symbol in symbols:
            self.ticks[symbol] += 1
            yield {"symbol": symbol, "price": str(self.ticks[symbol]), "ts": str(TS + self.ticks[symbol])}


class Order(NamedTuple):
    """A request under way; `as_batch` is None where it unsubscribes."""

    number: int
    symbols: Sequence[str]
    as_batch: bool | None


@dataclass
class Held:
    """A subscription; `seq` of the last that came for it, None before the snapshot."""

    as_batch: bool
    seq: int | None = None


@dataclass
class View:
    """What one client has been told. Every method fails on the first frame that is wrong.

    Attributes:
        audience: its gateway's.
        orders: not answered yet, oldest first.
        held: its subscriptions, as of the last ack.
        newest: symbol -> highest `seq` of all that came, also outside a subscription.
        answered: symbols of the last ack.
        due: those whose snapshots have to come before anything else.
        counts: of what came.
    """

    audience: Audience
    orders: deque[Order] = field(default_factory=deque)
    held: dict[str, Held] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    answered: frozenset[str] = frozenset()
    due: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def on_ack(self, number: int | None, answer: Json) -> None:
        """The answer to the oldest order."""
        assert not self.due, f"an ack before the snapshots of {self.due}"
        order = self.orders.popleft()
        assert number == order.number, (number, order)
        self.answered = frozenset(order.symbols)
        verdicts = answer.get("results", [answer])
        assert [verdict["symbol"] for verdict in verdicts] == list(order.symbols), (answer, order)
        for verdict in verdicts:
            assert verdict["ok"], verdict
            symbol = verdict["symbol"]
            if order.as_batch is None:
                self.held.pop(symbol, None)
                continue
            self.held[symbol] = Held(order.as_batch)
            self.counts["subscriptions"] += 1
            self.counts["pending"] += "pending" in verdict
            if "pending" not in verdict and symbol not in LATE:
                self.due.add(symbol)

    def on_event(self, name: str, *args: Json) -> None:
        """A price, or the `hello` at the beginning."""
        match name:
            case "price:update":
                self._update(*args)
            case "price:batch":
                self._batch(*args)
            case _:
                assert name in ("hello", "cursor"), (name, args)

    def _update(self, update: Json) -> None:
        held = self.held.get(update["symbol"])
        assert held is not None, f"nobody asked for {update}"
        assert not held.as_batch, f"asked for in batches alone: {update}"
        self._settle({update["symbol"]})
        assert ("snap" in update) is (update["n"] == 0), update
        self._follow(update["symbol"], held, update["seq"], update["n"])
        self._see(update["symbol"], update["seq"], update["price"])

    def _batch(self, pairs: Json, extras: Json) -> None:
        self._settle({symbol for symbol, _ in pairs}, at_once=True)
        has_own = any(held.as_batch for held in self.held.values())
        for (symbol, price), seq, n in zip(pairs, extras["seqs"], extras["ns"], strict=True):
            held = self.held.get(symbol)
            if held is not None and held.as_batch:
                self._follow(symbol, held, seq, n)
            elif self.audience == "subscribers":
                assert held is not None, f"nobody asked for {symbol}"
            else:
                assert self.audience == "everyone", f"nobody asked for batches of {symbol}"
                assert not has_own, f"{symbol} to a client that gets its own batches"
            self._see(symbol, seq, price)

    def _settle(self, symbols: set[str], *, at_once: bool = False) -> None:
        """Directly behind an ack come its snapshots: updates one by one, a batch with all of them."""
        if self.due:
            assert symbols <= self.answered, f"{symbols} before the snapshots of {self.due}"
            self.due -= symbols
            assert not (at_once and self.due), f"a batch without {self.due}"

    def _follow(self, symbol: str, held: Held, seq: int, n: int) -> None:
        if held.seq is None:
            assert n == 0, f"{symbol} begins with no snapshot: {seq=} {n=}"
        else:
            assert seq == held.seq + n, f"{symbol} goes on at {seq=} {n=} after {held.seq}"
        held.seq = seq
        self.counts["followed"] += 1

    def _see(self, symbol: str, seq: int, price: float) -> None:
        assert price == seq, (symbol, price, seq)
        assert seq >= self.newest.get(symbol, 0), f"{symbol} is older than before: {seq} after {self.newest[symbol]}"
        self.newest[symbol] = seq


class Subscriber(WireSocket):
    """A client that subscribes and leaves at random, and shows its view every frame as it comes."""

    def watch(self, crowd: Crowd, chance: random.Random) -> None:
        """Begin with a view of nothing."""
        self.view = View(crowd.audience)
        self.asked: set[str] = set()
        self._crowd = crowd
        self._chance = chance

    async def read(self) -> None:
        """Show the view what comes, for ever."""
        while True:
            await self.take(patience=None)
            self.texts.clear()

    async def act(self) -> None:
        """One request, and a pause."""
        await eventually(lambda: len(self.view.orders) < MOST_UNANSWERED, "answers")
        if len(self.asked) > self._chance.random() * 2 * self._crowd.holds:
            self._order("unsubscribe:price", self._some(sorted(self.asked)))
        else:
            deliver = self._chance.choice(("update", "update", "batch"))
            symbols = self._some(EARLY + LATE)
            self._order("subscribe:price", symbols, {"deliver": deliver, **self._chance.choice(PACES)})
        await asyncio.sleep(self._chance.expovariate(1 / self._crowd.pause_s))

    def is_complete(self, final: dict[str, Price]) -> bool:
        """Whether every answer has come, and the last price of each symbol that it is subscribed to."""
        seqs = {symbol: held.seq for symbol, held in self.view.held.items()}
        return not self.view.orders and seqs == {symbol: final[symbol].seq for symbol in seqs}

    def _some(self, symbols: Sequence[str]) -> list[str]:
        most = min(MOST_SYMBOLS, len(symbols), self._crowd.holds)
        return self._chance.sample(symbols, self._chance.randint(1, most))

    def _order(self, event: str, symbols: list[str], options: Json = None) -> None:
        is_new = options is not None
        number, self._next_id = self._next_id, self._next_id + 1
        self.view.orders.append(Order(number, symbols, options["deliver"] == "batch" if is_new else None))
        self.asked = self.asked.union(symbols) if is_new else self.asked.difference(symbols)
        named = symbols[0] if len(symbols) == 1 and self._chance.random() < 0.5 else symbols
        self._send(EVENT, [event, named, options] if is_new else [event, named], number)

    def _keep(self, kind: int, data: Json, number: int | None) -> None:
        if kind == ACK:
            self.view.on_ack(number, data[0])
        elif kind == EVENT:
            self.view.on_event(*data)


async def arrive(cluster: Cluster, stack: AsyncExitStack, chance: random.Random) -> list[Subscriber]:
    """A gateway for each crowd, and their clients, every other one with msgpack."""
    subscribers: list[Subscriber] = []
    for crowd in CROWDS:
        gateway = await cluster.start("gateway", PRICE_BATCH_AUDIENCE=crowd.audience, **UNLIMITED)
        for number in range(crowd.clients):
            client = await stack.enter_async_context(await connect(gateway.port))
            subscriber = Subscriber(client, is_binary=number % 2 == 1)
            subscriber.watch(crowd, chance)
            subscriber.join()
            subscribers.append(subscriber)
    return subscribers


async def cut(bus: RedisBus) -> None:
    """End what gateways hear: what they miss until they listen again has to come out of the snapshots, and count."""
    await bus._client.client_kill_filter(_type="pubsub")


async def cut_often(bus: RedisBus) -> None:
    """Cut, for ever."""
    while True:
        await asyncio.sleep(CUT_S)
        await cut(bus)


def total(subscribers: Sequence[Subscriber]) -> Counter[str]:
    """What all views counted."""
    return sum((subscriber.view.counts for subscriber in subscribers), Counter())


async def test_each_of_ten_thousand_subscriptions_sees_ack_snapshot_and_every_step_from_there(
    cluster: Cluster, bus: RedisBus
) -> None:
    chance = random.Random(4)
    upstream = Upstream(bus, chance)
    await cluster.start("price-ingest")
    await upstream.feed(EARLY)
    await read_up(bus)
    async with AsyncExitStack() as stack, TaskGroup() as tasks:
        subscribers = await arrive(cluster, stack, chance)

        async def act(subscriber: Subscriber) -> None:
            while (made := total(subscribers)["subscriptions"]) < SUBSCRIPTIONS:
                if made > SUBSCRIPTIONS / 2:
                    upstream.symbols = EARLY + LATE
                await subscriber.act()

        cutting = tasks.spawn("cutter", cut_often(bus))
        trading = tasks.spawn("upstream", upstream.trade())
        for number, subscriber in enumerate(subscribers):
            tasks.spawn(f"reader {number}", subscriber.read())
        await asyncio.gather(*map(act, subscribers))
        upstream.is_open = False
        await trading
        cutting.cancel()
        await cut(bus)
        await upstream.feed(upstream.symbols)
        await read_up(bus)
        final = await snapshot(bus)
        assert {symbol: price.seq for symbol, price in final.items()} == upstream.ticks
        await eventually(
            lambda: [it.view for it in subscribers if not it.is_complete(final)], "all is seen", lambda left: not left
        )
    counts = total(subscribers)
    assert counts["subscriptions"] >= SUBSCRIPTIONS
    assert counts["pending"] > 0, "nobody came before a gateway had read its prices"
    assert sum(len(it.view.held) for it in subscribers) > len(subscribers), "nothing was left to compare"
