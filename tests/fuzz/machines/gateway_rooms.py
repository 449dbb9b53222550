"""A whole gateway without sockets against a model of who is subscribed to what (T26), and who then gets what (T25).

Clients of both parsers subscribe, leave, authenticate as this user or that, ask for what is no symbol or is not theirs,
and go away; prices, trades and notifications arrive meanwhile. Rooms exist while somebody is in them, and hold whom the
model says; each event reaches exactly its room.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocol.socketio.packets import Value
from services.gateway.hub import PARSERS
from shared.names import error_codes, events
from shared.names.close_reasons import PEER_GONE
from shared.symbols import is_symbol
from tests.support.fakes_gateway import GatewayParts, Peer, make_token, make_trade

CLIENTS: Final = st.integers(0, 2)
MOST: Final = 4
"""Subscriptions of one client; in one request there may be five (`GatewayParts`)."""

SYMBOL: Final = st.sampled_from(["A", "B", "user:u1", "C/D"])
ITEMS: Final = st.lists(
    SYMBOL | st.sampled_from(["", "*", "A*", "A\r\nB", "é", "x" * 33, "{A}", 7, None, ["A"]]), min_size=1, max_size=6
)
USERS: Final = st.sampled_from(["u1", "u2"])


@dataclass
class Present:
    """A client of the model."""

    peer: Peer
    prices: set[str] = field(default_factory=set)
    trades: set[str] = field(default_factory=set)
    user: str | None = None
    is_admin: bool = False
    watches: bool = False

    def rooms(self) -> set[str]:
        """Where it must be."""
        found = {events.price_room(symbol) for symbol in self.prices}
        found |= {events.trades_room(symbol) for symbol in self.trades}
        found |= {events.user_room(self.user)} if self.user else set()
        return found | ({events.ADMIN_ROOM} if self.watches else set())


class OneGateway(RuleBasedStateMachine):
    """A gateway and three clients."""

    @initialize()
    def begin(self) -> None:
        self.parts = GatewayParts(max_subscriptions=MOST, rate=1_000_000)
        self.here = [self.arrive(number) for number in range(3)]
        self.seq = 0

    def arrive(self, number: int) -> Present:
        peer = Peer(self.parts, "json" if number % PARSERS == 0 else "msgpack")
        peer.join()
        return Present(peer)

    @rule(number=CLIENTS, items=ITEMS, is_price=st.booleans())
    def subscribe_many(self, number: int, items: list[Value], *, is_price: bool) -> None:
        one = self.here[number]
        joined = one.prices if is_price else one.trades
        answer = one.peer.ask(f"subscribe:{'price' if is_price else 'trades'}", items)
        if len(items) > 5:
            assert answer["error"]["code"] == error_codes.TOO_MANY_ITEMS.code
            return
        for item, verdict in zip(items, answer["results"], strict=True):
            if not isinstance(item, str) or not is_symbol(item):
                assert verdict["error"]["code"] == error_codes.INVALID_SYMBOL.code
            elif item not in joined and len(one.prices) + len(one.trades) == MOST:
                assert verdict["error"]["code"] == error_codes.SUBSCRIPTION_LIMIT.code
            else:
                assert verdict["ok"] is True
                joined.add(item)

    @rule(number=CLIENTS, symbol=SYMBOL, is_price=st.booleans())
    def unsubscribe(self, number: int, symbol: str, *, is_price: bool) -> None:
        one = self.here[number]
        assert one.peer.ask(f"unsubscribe:{'price' if is_price else 'trades'}", symbol)["ok"] is True
        (one.prices if is_price else one.trades).discard(symbol)

    @rule(number=CLIENTS, user=USERS, is_admin=st.booleans())
    def authenticate(self, number: int, user: str, *, is_admin: bool) -> None:
        one = self.here[number]
        answer = one.peer.ask("authenticate", make_token(user, "admin" if is_admin else None))
        assert answer["ok"] is True
        one.user, one.is_admin, one.watches = user, is_admin, is_admin

    @rule(number=CLIENTS)
    def subscribe_metrics(self, number: int) -> None:
        one = self.here[number]
        answer = one.peer.ask("subscribe:metrics")
        assert answer["ok"] is one.is_admin
        one.watches = one.is_admin

    @rule(number=CLIENTS)
    def unsubscribe_metrics(self, number: int) -> None:
        assert self.here[number].peer.ask("unsubscribe:metrics")["ok"] is True
        self.here[number].watches = False

    @rule(number=CLIENTS, event=st.sampled_from(["subscribe:user", "subscribe:price", "join", "", "authenticate"]))
    def nonsense(self, number: int, event: str) -> None:
        assert self.here[number].peer.ask(event, {"room": "admin"})["ok"] is False

    @rule(number=CLIENTS)
    def go_and_come(self, number: int) -> None:
        self.here[number].peer.connection.carrier_lost(PEER_GONE)
        self.parts.loop.turn()
        self.here[number] = self.arrive(number)

    @rule(symbol=SYMBOL)
    def a_price(self, symbol: str) -> None:
        self.forget()
        self.seq += 1
        self.parts.publish(symbol, self.seq)
        self.reached("price:update", symbol, [symbol in one.prices for one in self.here])

    @rule(symbol=SYMBOL)
    def a_trade(self, symbol: str) -> None:
        self.forget()
        self.seq += 1
        self.parts.trade(symbol, make_trade(self.seq, symbol))
        self.reached("trade:new", symbol, [symbol in one.trades for one in self.here])

    @rule(symbol=SYMBOL, user=USERS)
    def a_notification(self, symbol: str, user: str) -> None:
        self.forget()
        self.seq += 1
        self.parts.notification(user, make_trade(self.seq, symbol))
        self.reached("trade:notification", symbol, [one.user == user for one in self.here])

    def forget(self) -> None:
        """What came before is not looked at."""
        for one in self.here:
            one.peer.packets()

    def reached(self, event: str, symbol: str, expected: list[bool]) -> None:
        """Exactly these clients have got exactly this event."""
        self.parts.loop.turn()
        heard: list[list[tuple[Any, ...]]] = [one.peer.events() for one in self.here]
        assert [[(name, payload["symbol"]) for name, payload in each] for each in heard] == [
            [(event, symbol)] if is_in else [] for is_in in expected
        ]

    @invariant()
    def rooms_hold_whom_the_model_says(self) -> None:
        for one in self.here:
            assert one.peer.outbox.rooms == one.rooms()
        expected = set().union(*(one.rooms() for one in self.here))
        assert self.parts.hub._rooms.keys() == expected
        for name, room in self.parts.hub._rooms.items():
            members = {one.peer.outbox for one in self.here if name in one.rooms()}
            assert set().union(*room.members) == members

    @invariant()
    def the_market_is_watched_for_subscribers_alone(self) -> None:
        assert self.parts.market._watchers.keys() == set().union(*(one.prices for one in self.here))

    def teardown(self) -> None:
        for one in getattr(self, "here", []):
            one.peer.connection.carrier_lost(PEER_GONE)
        if hasattr(self, "parts"):
            assert len(self.parts.hub) == 0
            assert self.parts.market._watchers == {}
