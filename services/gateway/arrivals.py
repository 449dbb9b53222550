"""How a client comes in, for the first time or back, whom it speaks for, and how it is kept so that it can come back.

Used by `handlers.py`. What a client sees when it comes in: what it missed, if it is recovered; the CONNECT reply;
`hello`; `authenticated`; current prices and bars.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from protocol.socketio.packets import Value
from services.gateway.catch_up import CatchUp
from services.gateway.chart_requests import ChartRequests
from services.gateway.client import INVALID_NAMESPACE, Client
from services.gateway.cursor import position_of
from services.gateway.hub import Hub
from services.gateway.limits import ClientLimits
from services.gateway.outbox import Outbox
from services.gateway.payloads import Payload, identity_payload
from services.gateway.recovery import Claim, Gap, Recovery, Restored
from services.gateway.requests import RequestError
from services.gateway.sessions import Session, Sessions
from services.gateway.subscriptions import Delivery, Subscriber, Subscriptions
from services.gateway.trade_feed import TradeFeed
from shared.clock import Clock
from shared.identity import AuthError, AuthFailure, Identity, TokenVerifier
from shared.messages import SavedSession
from shared.names import error_codes, events
from shared.names.events import NAMESPACE, ClientEvent, ServerEvent

SID_BYTES: Final = 15

RECOVER: Final = "recover"
"""Key of the auth payload: False opts out of recovery, and of cursors."""

_UNCHANGING: Final = frozenset({ClientEvent.RESYNC_PRICE})


class Member:
    """What the gateway keeps of one client in the namespace.

    Attributes:
        identity: whom it speaks for.
        limits: how much it may ask for.
        session: what it can come back to, if it wants.
        subscriptions: what it gets.
    """

    __slots__ = ("identity", "limits", "session", "subscriptions")

    def __init__(self, subscriptions: Subscriptions, limits: ClientLimits, session: Session | None) -> None:
        self.identity: Identity | None = None
        self.limits = limits
        self.session = session
        self.subscriptions = subscriptions


@dataclass(frozen=True, slots=True)
class Greeting:
    """What `hello` says of the gateway."""

    gateway: str
    version: str


class Arrivals:
    """Lets every client of a gateway in."""

    def __init__(  # noqa: PLR0913 - the parts of one gateway
        self,
        *,
        greeting: Greeting,
        clock: Clock,
        hub: Hub,
        subscriber: Subscriber,
        catch_up: CatchUp,
        charts: ChartRequests,
        feed: TradeFeed,
        sessions: Sessions,
        recovery: Recovery,
        verifier: TokenVerifier,
        auth_mode: Literal["optional", "required"],
    ) -> None:
        self._greeting = greeting
        self._clock = clock
        self._hub = hub
        self._subscriber = subscriber
        self._catch_up = catch_up
        self._charts = charts
        self._feed = feed
        self._sessions = sessions
        self._recovery = recovery
        self._verifier = verifier
        self._token_required = auth_mode == "required"

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Value], limits: ClientLimits) -> None:
        """Let a client in, now or when it has got what it missed.

        Raises:
            RequestError: its token is not accepted, or it has none and needs one.
        """
        if namespace != NAMESPACE:
            client.refuse(namespace, INVALID_NAMESPACE)
            return
        token = auth.get("token")
        if token is None and self._token_required:
            raise RequestError(error_codes.AUTHENTICATION_REQUIRED)
        identity = None if token is None else self.identify(token)
        pid, offset = auth.get("pid"), auth.get("offset")
        outbox = client.outbox
        outbox.recovers = auth.get(RECOVER) is not False and not client.connection.is_from_python
        if not outbox.recovers or not isinstance(pid, str):
            self._enter(client, limits, identity, None)
            return
        user = None if identity is None else identity.user_id
        claim = Claim(outbox, lambda: client.is_open, pid, offset if isinstance(offset, str) else None, user)
        self._recovery.begin(claim, lambda outcome: self._enter(client, limits, identity, outcome, pid))

    def identify(self, token: Value) -> Identity:
        """Check a token.

        Raises:
            RequestError: it is not accepted.
        """
        try:
            if not isinstance(token, str):
                raise AuthError(AuthFailure.MALFORMED)
            return self._verifier.verify(token, self._clock.now_ms())
        except AuthError as error:
            raise RequestError(error_codes.AUTHENTICATION_FAILED, reason=error.reason.value) from None

    def become(self, client: Client, member: Member, identity: Identity) -> None:
        """Take an identity, leaving the rooms of the one before."""
        outbox, session = client.outbox, member.session
        if member.identity is not None:
            self._hub.leave(events.user_room(member.identity.user_id), outbox)
            self._hub.leave(events.ADMIN_ROOM, outbox)
        member.identity = identity
        if session is not None:
            if session.user != identity.user_id:
                session.user_since = self._feed.positions[self._feed.user_log(identity.user_id)]
            session.identity = identity
        self._hub.join(events.user_room(identity.user_id), outbox)
        if identity.is_admin:
            self._hub.join(events.ADMIN_ROOM, outbox)
        client.emit(NAMESPACE, ServerEvent.AUTHENTICATED, identity_payload(identity))

    def join_trades(self, member: Member, symbol: str) -> None:
        """Subscribe trades from here on."""
        self._subscriber.join_trades(member.subscriptions, symbol, self._feed.positions[self._feed.trades_log(symbol)])

    @contextmanager
    def changing(self, member: Member, event: str) -> Iterator[None]:
        """An event is served: what comes of it is saved before the client hears of it."""
        session = member.session
        if session is None or event in _UNCHANGING:
            yield
            return
        self._sessions.hold(session)
        try:
            yield
        finally:
            self._sessions.save(session)

    def left(self, member: Member, *, for_good: bool) -> None:
        """A client has left."""
        if member.session is not None:
            self._sessions.end(member.session, for_good=for_good)

    def drained(self, outbox: Outbox) -> None:
        """A client takes more."""
        self._recovery.drained(outbox)

    def _enter(
        self,
        client: Client,
        limits: ClientLimits,
        identity: Identity | None,
        outcome: Restored | Gap | None,
        pid: str = "",
    ) -> None:
        outbox = client.outbox
        subscriptions = Subscriptions(outbox)
        session: Session | None = None
        cursor: str | None = None
        sid = secrets.token_urlsafe(SID_BYTES)
        if isinstance(outcome, Restored):
            sid = outcome.saved.sid
            session = self._sessions.resume(pid, sid, outcome.owner, subscriptions)
            session.user_since = position_of(outcome.saved.user_since)
            cursor = outcome.cursor
            if outcome.frames:
                outbox.send(outcome.frames)
        elif outbox.recovers:
            session = self._sessions.begin(sid, subscriptions)
            cursor = self._feed.cursor
        client.accept(NAMESPACE, sid, None if session is None else session.pid)
        member = client.member = Member(subscriptions, limits, session)
        client.emit(NAMESPACE, ServerEvent.HELLO, self._hello(outcome), cursor=cursor)
        self._subscriber.arrive(outbox)
        if identity is not None:
            if isinstance(outcome, Restored) and session is not None:
                session.identity = identity
            self.become(client, member, identity)
        if isinstance(outcome, Restored):
            self._restore(member, outcome.saved, outcome.since_ms)
            outbox.log_position = outcome.rest
            self._catch_up.catch_up(outbox)
        if session is not None:
            self._sessions.save(session)

    def _hello(self, outcome: Restored | Gap | None) -> Payload:
        now = self._clock.now_ms()
        hello: Payload = {
            "server_time": now,
            "gateway": self._greeting.gateway,
            "version": self._greeting.version,
            "recovered": isinstance(outcome, Restored),
        }
        if isinstance(outcome, Gap):
            hello["gap"] = {"reason": outcome.reason.value, "from": outcome.since_ms, "to": now}
        return hello

    def _restore(self, member: Member, saved: SavedSession, since_ms: int) -> None:
        """Join what it was in, and say how that stands now."""
        subscriptions = member.subscriptions
        for symbol, joined in saved.trades.items():
            self._subscriber.join_trades(subscriptions, symbol, position_of(joined))
        by_form: dict[bool, list[str]] = {False: [], True: []}
        for symbol, (as_batch, interval_ms) in saved.prices.items():
            self._subscriber.join_price(subscriptions, symbol, Delivery(as_batch, interval_ms))
            by_form[as_batch].append(symbol)
        for as_batch, symbols in by_form.items():
            self._subscriber.send_current(subscriptions, symbols, as_batch=as_batch)
        for symbol, interval in saved.charts:
            self._charts.restore(subscriptions, symbol, interval, since_ms)
        if saved.metrics and member.identity is not None and member.identity.is_admin:
            self._hub.join(events.ADMIN_ROOM, subscriptions.outbox)
