"""One line of redis-cli at one end, a subscribed client at the other: the words of the README, digit for digit."""

from typing import Final

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey
from shared.clock import SystemClock
from tests.support.cluster import Cluster, Service, token
from tests.support.redis_cli import redis_cli
from tests.support.stock_clients import Clients, Kind
from tests.support.wire_socket import WireSocket, joined

pytestmark = pytest.mark.interop

PRICE_LINE: Final = "XADD feed:prices '*' symbol {symbol} price 64000.10"
TRADE_LINE: Final = (
    "XADD feed:trades '*' id 42 symbol {symbol} amount 0.50 price 64000.10 side buy ts 1763800000000 user_id ann"
)


async def test_a_typed_price_and_a_typed_trade_reach_real_clients(
    clients: Clients, kind: Kind, gateway: Service, valkey: EmbeddedValkey
) -> None:
    symbol = f"BTC-{kind.upper()}"
    client = await clients.make(kind)
    await client.connect(gateway.url, {"token": token("ann", now_ms=SystemClock().now_ms())})
    await client.event("authenticated")
    await client.ask("subscribe:price", symbol)
    await client.ask("subscribe:trades", symbol)
    entry = redis_cli(valkey.url, PRICE_LINE.format(symbol=symbol))
    (update,) = await client.event("price:update")
    assert (update["symbol"], update["price"]) == (symbol, 64000.1)
    assert update["ts"] == int(entry.partition("-")[0]), "without a ts it is when Redis got the entry"
    redis_cli(valkey.url, TRADE_LINE.format(symbol=symbol))
    trade = {"id": "42", "symbol": symbol, "amount": 0.5, "price": 64000.1, "side": "buy", "ts": 1763800000000}
    assert await client.event("trade:new") == [trade]
    assert await client.event("trade:notification") == [{**trade, "user_id": "ann"}]


@pytest.mark.parametrize(
    ("decimals", "price", "amount"), [("number", "64000.10", "0.50"), ("string", '"64000.10"', '"0.50"')]
)
async def test_json_has_the_digits_that_were_typed(
    cluster: Cluster, valkey: EmbeddedValkey, decimals: str, price: str, amount: str
) -> None:
    gateway = await cluster.start("gateway", DECIMALS=decimals)
    symbol = f"DIGITS-{decimals.upper()}"
    async with joined(gateway.port) as client:
        await client.call("subscribe:price", symbol)
        await client.call("subscribe:trades", symbol)
        redis_cli(valkey.url, PRICE_LINE.format(symbol=symbol))
        assert f'"price":{price},' in await _text(client, "price:update", symbol)
        assert f'["{symbol}",{price}]' in await _text(client, "price:batch", symbol)
        redis_cli(valkey.url, TRADE_LINE.format(symbol=symbol))
        trade = await _text(client, "trade:new", symbol)
        assert f'"amount":{amount},"price":{price},' in trade


async def _text(client: WireSocket, event: str, symbol: str) -> str:
    """The next such event of this symbol, as it is on the wire."""
    while symbol not in (text := await client.next_text(f'42["{event}"')):
        pass
    return text
