"""What each client event means: the market application on top of `Client`.

A handler reads its arguments, acts at once (nothing here waits for Redis) and answers exactly once; then the current
prices follow, so that a client always sees: ack, snapshot, updates. Charts alone are answered later where they have to
be read first: see `chart_requests.py`.
"""

from collections.abc import Callable, Mapping
from typing import Final

from protocol.socketio.happenings import AckReceived, EventReceived
from protocol.socketio.packets import Value
from services.gateway.arrivals import Arrivals
from services.gateway.catalogue import Catalogue
from services.gateway.catch_up import CatchUp
from services.gateway.chart_requests import ChartRequests
from services.gateway.client import Client
from services.gateway.hub import Hub
from services.gateway.limits import ClientLimits, EventRates
from services.gateway.member import Member
from services.gateway.outbox import Outbox
from services.gateway.pacing import Pacer
from services.gateway.payloads import Payload, identity_payload
from services.gateway.requests import Request, RequestError, check_room_for_one, check_symbol, shown_symbol
from services.gateway.subscriptions import IMMEDIATE, Delivery, Subscriber
from services.gateway.tokens import Tokens, lost_items
from services.gateway.users import SCOPE, Users
from services.gateway.windows import Windows
from shared.log import get_logger
from shared.names import error_codes, events
from shared.names.close_reasons import KEYS_AWAITED, USER_FULL, CloseReason
from shared.names.error_codes import ErrorCode
from shared.names.events import ClientEvent

log = get_logger(__name__)

PRICE_OPTIONS: Final = frozenset({"deliver", "max_hz"})
OTHER_EVENT: Final = "other"
"""Metric label and rate limit of every event that does not exist: clients must not make either grow."""

_COME_BACK: Final = {error_codes.KEYS_AWAITED: KEYS_AWAITED, error_codes.CONNECTIONS_HELD: USER_FULL}
"""What a CONNECT fails for today, and may not in a moment."""

ERRORS: Final = "error:"
"""With a code behind it, the rate limit of that error's events: a flood is not answered by a flood, and is told so."""


class Handlers:
    """Serves every client of a gateway; implements `Namespaces`."""

    def __init__(  # noqa: PLR0913 - the parts of one gateway
        self,
        *,
        hub: Hub,
        windows: Windows,
        subscriber: Subscriber,
        charts: ChartRequests,
        catch_up: CatchUp,
        pacer: Pacer,
        arrivals: Arrivals,
        tokens: Tokens,
        catalogue: Catalogue,
        rates: EventRates,
        max_subscriptions: int,
        max_symbols: int,
        users: Users,
    ) -> None:
        self._users = users
        self._hub = hub
        self._windows = windows
        self._subscriber = subscriber
        self._charts = charts
        self._catch_up = catch_up
        self._pacer = pacer
        self._arrivals = arrivals
        self._tokens = tokens
        self._catalogue = catalogue
        self._rates = rates
        self._max_subscriptions = max_subscriptions
        self._max_symbols = max_symbols
        self._by_event = self._make_table()
        self.received: dict[str, int] = dict.fromkeys([*ClientEvent, OTHER_EVENT], 0)
        self.errors: dict[ErrorCode, int] = dict.fromkeys(error_codes.ALL, 0)

    def _make_table(self) -> Mapping[str, Callable[[Request, Member], None]]:
        charts = self._charts
        return {
            ClientEvent.AUTHENTICATE: self._authenticate,
            ClientEvent.AUTH_REFRESH: self._refresh,
            ClientEvent.SUBSCRIBE_PRICE: self._subscribe_price,
            ClientEvent.UNSUBSCRIBE_PRICE: self._unsubscribe_price,
            ClientEvent.RESYNC_PRICE: self._resync_price,
            ClientEvent.SUBSCRIBE_TRADES: self._subscribe_trades,
            ClientEvent.UNSUBSCRIBE_TRADES: self._unsubscribe_trades,
            ClientEvent.SUBSCRIBE_CHART: lambda request, member: charts.subscribe(
                request, member.subscriptions, lambda: self._users.check_room_for_one(member.presence)
            ),
            ClientEvent.UNSUBSCRIBE_CHART: lambda request, member: charts.unsubscribe(request, member.subscriptions),
            ClientEvent.SUBSCRIBE_METRICS: self._subscribe_metrics,
            ClientEvent.UNSUBSCRIBE_METRICS: self._unsubscribe_metrics,
        }

    # `Namespaces`

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Value]) -> None:
        """Check the token, if there is one, and let the client in, now or when it has got what it missed."""
        try:
            self._arrivals.connect(client, namespace, auth, ClientLimits(self._rates))
        except RequestError as error:
            self._count_error(error.error)
            if error.error in _COME_BACK:  # a refusal would keep it away for good
                client.connection.end(_COME_BACK[error.error])
            else:
                client.refuse(namespace, error.error.message, error.payload)

    def event(self, client: Client, received: EventReceived) -> None:
        """Count, limit and answer one event."""
        member = client.member
        assert isinstance(member, Member)
        request = Request(client, received, self._count_error)
        handler = self._by_event.get(received.name) if isinstance(received.name, str) else None
        known = OTHER_EVENT if handler is None else str(received.name)
        self.received[known] += 1
        now = client.connection.now
        wait = member.limits.take(known, now)
        try:
            if wait:
                raise RequestError(error_codes.RATE_LIMITED, event=request.event, retry_after_ms=int(wait * 1000) + 1)
            wait = self._users.take(member.presence, now)
            if wait:
                retry_after_ms = int(wait * 1000) + 1
                raise RequestError(
                    error_codes.RATE_LIMITED, event=request.event, scope=SCOPE, retry_after_ms=retry_after_ms
                )
            if handler is None:
                raise RequestError(error_codes.UNKNOWN_EVENT, event=request.event)
            with self._arrivals.changing(member, known):
                handler(request, member)
            self._users.subscriptions_changed(member.presence)
        except RequestError as error:
            if request.wants_ack or not member.limits.take(f"{ERRORS}{error.error.code}", now):
                request.fail(error)
            else:
                self._count_error(error.error)

    @property
    def paced(self) -> int:
        """How many clients get prices less often than they asked for."""
        return len(self._pacer)

    def answered(self, client: Client, received: AckReceived) -> None:
        """Nothing is ever asked of a client."""

    def left(self, client: Client, namespace: str, ended: CloseReason | None) -> None:
        """Leave every room."""
        member, client.member = client.member, None
        if isinstance(member, Member):
            self._arrivals.left(client, member, ended)
            self._charts.depart(member.subscriptions)
            self._subscriber.depart(member.subscriptions)
            log.debug("client_left", namespace=namespace)

    def woken(self, client: Client) -> None:
        """Its token wants to be looked at."""
        self._tokens.look(client)

    def drained(self, outbox: Outbox) -> None:
        """Bring a client that was behind up to date."""
        if outbox.resume():
            self._catch_up.catch_up(outbox)
            self._charts.drained(outbox)
            self._arrivals.drained(outbox)
        self._pacer.drained(outbox)

    # The events

    def _authenticate(self, request: Request, member: Member) -> None:
        identity = self._tokens.check(request.text(0, "token"))
        self._users.admit(member.presence, identity.user_id, identity.rights.connections, None)
        request.succeed(identity_payload(identity))
        self._arrivals.become(request.client, member, identity)

    def _refresh(self, request: Request, member: Member) -> None:
        identity = self._tokens.check(request.text(0, "token"))
        lost = self._arrivals.renew(request.client, member, identity)
        request.succeed({**identity_payload(identity), "unsubscribed": lost_items(lost)})

    def _subscribe_price(self, request: Request, member: Member) -> None:
        asked = self._delivery(request.options(1, PRICE_OPTIONS))
        delivery = self._subscriber.granted(member.subscriptions, asked)
        joined: dict[str, None] = {}  # a symbol may be named twice

        def join(symbol: str) -> Payload:
            subscriptions = member.subscriptions
            self._catalogue.check(symbol, subscriptions.rights)
            if symbol not in subscriptions.prices():
                check_room_for_one(len(subscriptions), self._max_subscriptions)
                self._users.check_room_for_one(member.presence)
            self._subscriber.join_price(subscriptions, symbol, delivery)
            joined[symbol] = None
            verdict: Payload = {"interval_ms": self._subscriber.granted_ms(subscriptions, delivery)}
            if self._subscriber.is_pending(subscriptions, symbol):
                verdict["pending"] = True  # the price follows as soon as this gateway has it
            return verdict

        self._each_symbol(request, join)
        self._subscriber.send_current(member.subscriptions, list(joined), as_batch=delivery.as_batch)

    def _unsubscribe_price(self, request: Request, member: Member) -> None:
        def leave(symbol: str) -> Payload:
            self._subscriber.leave_price(member.subscriptions, symbol)
            return {}

        self._each_symbol(request, leave)

    def _resync_price(self, request: Request, member: Member) -> None:
        symbol = check_symbol(request.argument(0))
        delivery = member.subscriptions.prices().get(symbol)
        if delivery is None:
            raise RequestError(error_codes.NOT_SUBSCRIBED, symbol=symbol)
        request.succeed({"symbol": symbol})
        self._subscriber.send_current(member.subscriptions, [symbol], as_batch=delivery.as_batch)

    def _subscribe_trades(self, request: Request, member: Member) -> None:
        def join(symbol: str) -> Payload:
            self._catalogue.check(symbol, member.subscriptions.rights)
            if symbol not in member.subscriptions.trades():
                check_room_for_one(len(member.subscriptions), self._max_subscriptions)
                self._users.check_room_for_one(member.presence)
            self._arrivals.join_trades(member, symbol)
            return {}

        self._each_symbol(request, join)

    def _unsubscribe_trades(self, request: Request, member: Member) -> None:
        def leave(symbol: str) -> Payload:
            self._arrivals.leave_trades(member, symbol)
            return {}

        self._each_symbol(request, leave)

    def _subscribe_metrics(self, request: Request, member: Member) -> None:
        if member.identity is None or not member.identity.is_admin:
            raise RequestError(error_codes.NOT_ALLOWED, required='a token with role "admin"')
        self._hub.join(events.ADMIN_ROOM, request.client.outbox)
        request.succeed({})

    def _unsubscribe_metrics(self, request: Request, _member: Member) -> None:
        self._hub.leave(events.ADMIN_ROOM, request.client.outbox)
        request.succeed({})

    # What they share

    def _each_symbol(self, request: Request, act: Callable[[str], Payload]) -> None:
        """Do something for each symbol of a request and answer it: one verdict, or one for each."""
        items, many = request.symbols(self._max_symbols)
        if not many:
            symbol = check_symbol(items[0])
            request.succeed({"symbol": symbol, **act(symbol)})
            return
        results: list[Payload] = []
        for item in items:
            try:
                symbol = check_symbol(item)
                results.append({"symbol": symbol, "ok": True, **act(symbol)})
            except RequestError as error:
                request.count_item_error(error.error)
                results.append({"symbol": shown_symbol(item), "ok": False, "error": error.payload})
        request.answer_items(results)

    def _delivery(self, options: Mapping[str, Value]) -> Delivery:
        deliver = options.get("deliver", "update")
        if deliver not in ("update", "batch"):
            raise RequestError(error_codes.BAD_ARGUMENT, field="deliver", expected='"update" or "batch"')
        as_batch = deliver == "batch"
        max_hz = options.get("max_hz")
        if max_hz is None:
            return Delivery(as_batch=True, interval_ms=self._windows.batch_ms) if as_batch else IMMEDIATE
        if isinstance(max_hz, bool) or not isinstance(max_hz, int | float) or max_hz <= 0:
            raise RequestError(error_codes.BAD_ARGUMENT, field="max_hz", expected="a number above 0")
        return Delivery(as_batch=as_batch, interval_ms=self._windows.granted(max_hz))

    def _count_error(self, error: ErrorCode) -> None:
        self.errors[error] += 1
