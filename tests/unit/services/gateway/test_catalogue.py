"""Names that do not exist are refused before anything is kept for them."""

import pytest

from services.gateway.catalogue import Catalogue
from services.gateway.requests import RequestError
from shared.bus.redis_bus import RedisBus
from shared.names import error_codes, redis_keys
from shared.rights import Rights, SymbolPatterns
from shared.tasks import TaskGroup
from tests.support.fakes_gateway import GatewayParts, Peer, make_token
from tests.support.waiting import eventually

ALL = Rights()
BITCOIN = Rights(symbols=SymbolPatterns(("BTC-*",)))


def verdict(catalogue: Catalogue, symbol: str, rights: Rights = ALL) -> int:
    """The code of the refusal, 0 for none."""
    try:
        catalogue.check(symbol, rights)
    except RequestError as error:
        return error.error.code
    return 0


async def test_without_a_catalogue_any_symbol_may_be_named(bus: RedisBus) -> None:
    catalogue = Catalogue(bus, ())
    await catalogue.start()
    assert verdict(catalogue, "ANY") == 0
    assert verdict(catalogue, "ETH-USDT", BITCOIN) == error_codes.SYMBOL_NOT_GRANTED.code


async def test_patterns_say_what_there_is(bus: RedisBus) -> None:
    catalogue = Catalogue(bus, ("BTC-*", "ETH-USDT"))
    await catalogue.start()
    unknown = error_codes.UNKNOWN_SYMBOL.code
    asked = ["BTC-USDT", "ETH-USDT", "ETH-EUR", "btc-USDT"]
    assert [verdict(catalogue, symbol) for symbol in asked] == [0, 0, unknown, unknown]
    not_granted = error_codes.SYMBOL_NOT_GRANTED.code
    assert verdict(catalogue, "DOES-NOT-EXIST", BITCOIN) == not_granted, "nobody learns what is not granted"


async def test_known_symbols_are_those_that_price_ingest_numbers_and_new_ones_are_known_soon(bus: RedisBus) -> None:
    await bus.hash_set(redis_keys.PRICE_HOMES, {"BTC-USDT": b"1"})
    catalogue = Catalogue(bus, ("known",))
    await catalogue.start()
    assert verdict(catalogue, "BTC-USDT") == 0
    assert verdict(catalogue, "NEW-USDT") == error_codes.UNKNOWN_SYMBOL.code
    async with TaskGroup() as tasks:
        tasks.spawn("catalogue", catalogue.run())
        await bus.hash_set(redis_keys.PRICE_HOMES, {"NEW-USDT": b"2"})
        await eventually(lambda: verdict(catalogue, "NEW-USDT"), "known", lambda code: code == 0)


@pytest.mark.parametrize("event", ["subscribe:price", "subscribe:trades", "subscribe:chart"])
@pytest.mark.threat("T26")
def test_names_that_do_not_exist_leave_nothing_behind(event: str) -> None:
    interval = ["1m"] if event == "subscribe:chart" else []
    parts = GatewayParts(symbols=("BTC-USDT",), rate=1e9)
    peer = Peer(parts)
    peer.join()
    for number in range(1_000):
        (answer,) = peer.tell(event, f"X{number}", *interval)
        assert answer[1]["code"] == error_codes.UNKNOWN_SYMBOL.code
    assert len(parts.hub) == 0
    assert parts.market._watchers == {}
    assert parts.chart_source.charts == {}


@pytest.mark.threat("T25")
def test_each_symbol_of_a_request_gets_its_own_verdict() -> None:
    parts = GatewayParts(symbols=("BTC-USDT", "ETH-USDT"))
    peer = Peer(parts)
    peer.join(token=make_token(symbols=["BTC-*", "NO-*"]))
    answer = peer.ask("subscribe:trades", ["BTC-USDT", "ETH-USDT", "NO-SUCH"])
    codes = [result.get("error", {}).get("code") for result in answer["results"]]
    assert codes == [None, error_codes.SYMBOL_NOT_GRANTED.code, error_codes.UNKNOWN_SYMBOL.code]
    assert peer.outbox.rooms == {"user:alice", "trades:BTC-USDT"}
