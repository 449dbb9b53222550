"""A whole gateway in this process, on a real Redis and a real socket: the parts are joined as they should be."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from shared.bus.redis_bus import RedisBus
from shared.clock import SystemClock
from shared.health import Health
from shared.identity import AuthSettings
from shared.lifecycle import Runtime
from shared.messages import VERSION, PriceBatch, encode
from shared.names import redis_keys
from shared.settings import CommonSettings
from shared.tasks import TaskGroup
from shared.telemetry import Telemetry
from tests.support.fakes_gateway import make_price, make_trade

SYMBOL = "BTC-USDT"
COMMON = CommonSettings()


@pytest.fixture(name="app")
async def running_gateway(bus: RedisBus) -> AsyncIterator[GatewayApp]:
    telemetry = Telemetry()
    async with TaskGroup() as tasks:
        runtime = Runtime("gateway", "gateway-1", COMMON, bus, SystemClock(), telemetry, Health(telemetry), tasks)
        made = GatewayApp(runtime, GatewaySettings(gateway_host="127.0.0.1", gateway_port=0), AuthSettings())
        await made.start()
        yield made
        await made.stop()


def address(app: GatewayApp) -> str:
    report: dict[str, Any] = {}
    app.fill_report(report)
    return f"ws://{report['address']}/socket.io/?EIO=4&transport=websocket"


async def next_event(client: ClientConnection, name: str) -> list[Any]:
    """The next event of this name; others are passed over."""
    while True:
        message = await client.recv()
        assert isinstance(message, str)
        if message.startswith("42"):
            found: list[Any] = json.loads(message[2:])
            if found[0] == name:
                return found


async def test_prices_and_trades_go_from_redis_to_a_client(app: GatewayApp, bus: RedisBus) -> None:
    async with asyncio.timeout(20), connect(address(app)) as client:
        opened = await client.recv()
        assert isinstance(opened, str)
        assert json.loads(opened[1:])["pingInterval"] == 25_000
        await client.send("40")
        assert (await next_event(client, "hello"))[1]["gateway"] == "gateway-1"
        await client.send(f'421["subscribe:price","{SYMBOL}"]')
        await client.send(f'422["subscribe:trades","{SYMBOL}"]')
        assert await client.recv() == f'431[{{"ok":true,"symbol":"{SYMBOL}","interval_ms":0,"pending":true}}]'
        assert await client.recv() == f'432[{{"ok":true,"symbol":"{SYMBOL}"}}]'
        log = redis_keys.trade_log(redis_keys.shard_of(SYMBOL, COMMON.trade_shards))
        await bus.append(log, [{"s": SYMBOL, "d": encode(make_trade(1))}], 1000)
        assert (await next_event(client, "trade:new"))[1]["id"] == "1"
        shard = redis_keys.shard_of(SYMBOL, COMMON.price_shards)
        prices = {SYMBOL: msgspec.Raw(encode(make_price(1)))}
        await bus.hash_set(redis_keys.price_snapshot(shard), {SYMBOL: encode(make_price(1))})
        await bus.publish([(redis_keys.price_channel(shard), encode(PriceBatch(VERSION, "e", 0, prices)))])
        assert (await next_event(client, "price:update"))[1]["seq"] == 1
        assert (await next_event(client, "price:batch"))[1] == [[SYMBOL, 1.1]]


async def test_a_stop_says_goodbye(app: GatewayApp) -> None:
    async with asyncio.timeout(20), connect(address(app)) as client, TaskGroup() as tasks:
        await client.recv()
        stopping = tasks.spawn("stop", app.stop())
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        await stopping
