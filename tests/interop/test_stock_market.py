"""The market as the real clients see it: every event of the design's table, through all four services."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any, Final

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.clock import SystemClock
from tests.support.cluster import Cluster, Service, token
from tests.support.redis_cli import redis_cli
from tests.support.stock_clients import Clients, Kind, NodeClient, StockClient
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.interop

SERVICES: Final = {"gateway", "price-ingest", "trade-notifier", "metrics"}
_numbers: Final = count(1)


@pytest.fixture
def symbol() -> str:
    """A symbol that no other test of the module uses."""
    return f"TEST{next(_numbers)}-USDT"


@pytest.fixture
def feed(valkey: EmbeddedValkey) -> Callable[[str], str]:
    """Send a command line to Redis, as an upstream."""
    return lambda line: redis_cli(valkey.url, line)


@pytest.fixture
async def client(clients: Clients, kind: Kind, gateway: Service) -> StockClient:
    """A client that has connected without a token."""
    made = await clients.make(kind)
    await made.connect(gateway.url)
    await made.life("connect")
    return made


def token_of(user: str, role: str | None = None) -> str:
    return token(user, role=role, now_ms=SystemClock().now_ms())


async def test_a_good_token_at_connect_brings_hello_then_authenticated(
    clients: Clients, kind: Kind, gateway: Service
) -> None:
    client = await clients.make(kind)
    await client.connect(gateway.url, {"token": token_of("ann")})
    await client.life("connect")
    (hello,) = await client.event("hello")
    assert hello["gateway"] == gateway.instance
    assert abs(hello["server_time"] - SystemClock().now_ms()) < 60_000
    (identity,) = await client.event("authenticated")
    assert (identity["sub"], identity["role"]) == ("ann", None)


async def test_a_token_can_be_given_later(client: StockClient) -> None:
    answer = await client.ask("authenticate", token_of("ann", "trader"))
    (identity,) = await client.event("authenticated")
    assert answer == {"ok": True, **identity}
    assert (identity["sub"], identity["role"]) == ("ann", "trader")


async def test_a_bad_token_given_later_is_refused_and_the_client_stays(client: StockClient) -> None:
    answer = await client.ask("authenticate", "no token")
    assert answer["ok"] is False
    assert (answer["error"]["message"], answer["error"]["reason"]) == ("Authentication failed", "malformed")
    assert (await client.ask("subscribe:trades", "BTC-USDT"))["ok"] is True


async def test_a_bad_token_at_connect_is_refused_for_good(clients: Clients, kind: Kind, gateway: Service) -> None:
    client = await clients.make(kind)
    await client.connect(gateway.url, {"token": token_of("ann")[:-4] + "AAAA"}, reconnection=False)
    message, data, *_ = await client.life("connect_error")
    assert message == "Authentication failed"
    assert (data["code"], data["reason"]) == (401, "bad_signature")


async def test_another_namespace_is_refused(clients: Clients, kind: Kind, gateway: Service) -> None:
    client = await clients.make(kind)
    await client.connect(gateway.url, namespace="/elsewhere", reconnection=False)
    message, *_ = await client.life("connect_error")
    assert message == "Invalid namespace"


async def test_subscriptions_are_acknowledged_symbol_by_symbol(client: StockClient) -> None:
    for event in ("subscribe:price", "subscribe:trades", "unsubscribe:price", "unsubscribe:trades"):
        one = await client.ask(event, "BTC-USDT")
        assert (one["ok"], one["symbol"]) == (True, "BTC-USDT")
        many = await client.ask(event, ["BTC-USDT", "no symbol", "ETH-USDT", 7])
        assert many["ok"] is True
        assert [(item["symbol"], item["ok"]) for item in many["results"]] == [
            ("BTC-USDT", True),
            ("no symbol", False),
            ("ETH-USDT", True),
            (None, False),
        ]
        assert {item["error"]["message"] for item in many["results"] if not item["ok"]} == {"Invalid symbol"}


async def test_the_current_price_follows_the_ack_and_then_every_change(
    client: StockClient, symbol: str, feed: Callable[[str], str], clients: Clients, gateway: Service
) -> None:
    feed(f"XADD feed:prices * symbol {symbol} price 64000.10 ts 1763800000000 bid 64000 ask 64000.2")
    await _wait_for_price(clients, client.kind, gateway, symbol)
    assert (await client.ask("subscribe:price", symbol))["ok"] is True
    (first,) = await client.event("price:update")
    assert (first["symbol"], first["price"], first["ts"], first["snap"]) == (symbol, 64000.1, 1763800000000, 1)
    assert (first["bid"], first["ask"]) == (64000, 64000.2)
    feed(f"XADD feed:prices * symbol {symbol} price 64000.20 ts 1763800000001")
    (second,) = await client.event("price:update")
    assert (second["price"], second["n"], second["seq"]) == (64000.2, 1, first["seq"] + 1)
    await client.ask("resync:price", symbol)
    (again,) = await client.event("price:update")
    assert (again["price"], again["seq"], again["snap"]) == (64000.2, second["seq"], 1)


async def test_every_client_gets_the_market_in_batches(
    client: StockClient, symbol: str, feed: Callable[[str], str]
) -> None:
    feed(f"XADD feed:prices * symbol {symbol} price 0.00000638")
    pairs: list[list[object]] = []
    while not any(pair[0] == symbol for pair in pairs):
        pairs, extras = await client.event("price:batch")
    assert [symbol, 0.00000638] in pairs
    assert len(extras["seqs"]) == len(extras["ns"]) == len(pairs)


async def test_a_client_can_ask_for_batches_of_its_own_symbols_alone(
    client: StockClient, symbol: str, feed: Callable[[str], str]
) -> None:
    await client.ask("subscribe:price", symbol, {"deliver": "batch"})
    while client.count("price:batch"):
        await client.event("price:batch")
    feed(f"XADD feed:prices * symbol OTHER-{symbol} price 1")
    feed(f"XADD feed:prices * symbol {symbol} price 2.5")
    pairs, extras = await client.event("price:batch")
    assert (pairs, extras["ns"]) == ([[symbol, 2.5]], [0])  # it builds on nothing
    feed(f"XADD feed:prices * symbol {symbol} price 2.25")
    pairs, extras = await client.event("price:batch")
    assert (pairs, extras["ns"]) == ([[symbol, 2.25]], [1])
    assert client.count("price:update") == 0


async def test_trades_reach_subscribers_and_notifications_only_the_user_named(
    client: StockClient, clients: Clients, symbol: str, feed: Callable[[str], str], gateway: Service
) -> None:
    ann, bob = await clients.make(client.kind), await clients.make(client.kind)
    for user, other in (("ann", ann), ("bob", bob)):
        await other.connect(gateway.url, {"token": token_of(f"{user}-{symbol}")})
        await other.event("authenticated")
    await client.ask("subscribe:trades", symbol)
    for number in range(3):
        feed(
            f"XADD feed:trades * id {number} symbol {symbol} amount 0.5 price 64000.10 side buy "
            f"ts 1763800000000 user_id nobody,ann-{symbol}"
        )
    feed(f"XADD feed:trades * id 3 symbol {symbol} amount 0.5 price 64000.10 side buy user_id bob-{symbol}")
    trades = [(await client.event("trade:new"))[0] for _ in range(4)]
    assert [trade["id"] for trade in trades] == ["0", "1", "2", "3"]
    expected = {"id": "0", "symbol": symbol, "amount": 0.5, "price": 64000.1, "side": "buy", "ts": 1763800000000}
    assert trades[0] == expected
    notified = [(await ann.event("trade:notification"))[0] for _ in range(3)]
    assert notified[0] == {**expected, "user_id": f"ann-{symbol}"}
    (only,) = await bob.event("trade:notification")
    assert (only["id"], only["user_id"]) == ("3", f"bob-{symbol}")
    assert [other.count("trade:notification") for other in (client, ann, bob)] == [0, 0, 0]
    assert [other.count("trade:new") for other in (client, ann, bob)] == [0, 0, 0]


async def test_the_clusters_figures_are_for_admins(client: StockClient, clients: Clients, gateway: Service) -> None:
    refused = await client.ask("subscribe:metrics")
    assert (refused["ok"], refused["error"]["message"]) == (False, "Not allowed")
    admin = await clients.make(client.kind)
    await admin.connect(gateway.url, {"token": token_of("root", "admin")})
    await admin.event("authenticated")
    assert (await admin.ask("subscribe:metrics"))["ok"] is True
    figures: dict[str, Any] = {"connections": 0, "services": []}
    async with asyncio.timeout(PATIENCE_S):  # what services report is seconds old
        while figures["connections"] < 2 or {item["service"] for item in figures["services"]} != SERVICES:
            (figures,) = await admin.event("metrics")
    assert [item["gateway"] for item in figures["gateways"]] == [gateway.instance]
    assert client.count("metrics") == 0


async def test_binary_arguments_are_taken_and_answered(client: StockClient) -> None:
    for event, code in (("no:such:event", 102), ("subscribe:price", 103), ("subscribe:trades", 103)):
        answer = await client.ask(event, b"\x00\xff", {"more": b"\x01"})
        assert (answer["ok"], answer["error"]["code"]) == (False, code)
    many = await client.ask("subscribe:trades", [b"\x00", "BTC-USDT"])
    assert [item["ok"] for item in many["results"]] == [False, True]


async def test_an_event_without_ack_that_fails_brings_an_error_event(client: StockClient) -> None:
    await client.emit("no:such:event", b"\x00")
    (error,) = await client.event("error")
    assert error == {"code": 102, "message": "Unknown event", "event": "no:such:event"}


async def test_volatile_events_are_served_like_others(client: StockClient) -> None:
    if not isinstance(client, NodeClient):
        pytest.skip("python-socketio's client has no volatile events")
    await client.emit_volatile("no:such:event", "volatile")
    (error,) = await client.event("error")
    assert error["event"] == "no:such:event"


async def test_clients_come_back_to_a_gateway_that_was_stopped_and_started_again(
    clients: Clients, kind: Kind, cluster: Cluster, symbol: str, feed: Callable[[str], str]
) -> None:
    first = await cluster.start("gateway")
    client = await clients.make(kind)
    await client.connect(first.url, {"token": token_of("ann")})
    await client.event("authenticated")
    await client.ask("subscribe:trades", symbol)
    assert await first.stop() == 0
    await client.life("disconnect")
    second = await cluster.start("gateway", GATEWAY_PORT=str(first.port))
    hellos = [(await client.event("hello"))[0]["gateway"] for _ in range(2)]
    assert hellos == [first.instance, second.instance]
    await client.event("authenticated")
    await client.ask("subscribe:trades", symbol)
    feed(f"XADD feed:trades * id 1 symbol {symbol} amount 1 price 2 side sell")
    assert (await client.event("trade:new"))[0]["id"] == "1"
    await client.disconnect()
    assert await second.stop() == 0


async def test_a_client_that_disconnects_is_gone_from_the_gateway(client: StockClient, gateway: Service) -> None:
    before = (await gateway.scrape())['tickwire_disconnects_total{reason="client_left"}']
    await client.disconnect()

    async def left() -> bool:
        return (await gateway.scrape())['tickwire_disconnects_total{reason="client_left"}'] > before

    await eventually(left, "the gateway counts a client that left")


async def _wait_for_price(clients: Clients, kind: Kind, gateway: Service, symbol: str) -> None:
    """Until the gateway knows a price, seen by another client."""
    other = await clients.make(kind)
    await other.connect(gateway.url)
    await other.life("connect")
    await other.ask("subscribe:price", symbol)
    await other.event("price:update")
    await other.disconnect()
