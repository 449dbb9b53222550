"""What the board's client makes of events."""

from services.launcher.observe import PriceListener
from services.launcher.view import ClusterView
from shared.clock import SystemClock


async def ask(_event: str, _argument: object) -> dict[str, object]:
    raise AssertionError("the board asks for nothing")


async def test_batches_fill_the_price_table_and_other_events_do_not():
    view = ClusterView([], 0.0)
    listener = PriceListener(view, SystemClock())
    await listener.opened("http://x", ask)
    listener.received("hello", ({"gateway": "g"},))
    listener.received("price:update", ({"symbol": "B", "price": 1},))
    listener.received("price:batch", ([["A", 1.5]], {"ts": 1}))
    assert [(price.symbol, price.text) for price in view.prices.in_order()] == [("A", "1.5")]
    assert (view.connected, view.link) == (True, "price:batch as a client receives it, from http://x")


async def test_a_lost_connection_is_shown_with_its_reason():
    view = ClusterView([], 0.0)
    listener = PriceListener(view, SystemClock())
    await listener.opened("http://x", ask)
    listener.lost("http://x", "Connection refused")
    assert (view.connected, view.link) == (False, "no prices: Connection refused at http://x")
