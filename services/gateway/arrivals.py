"""How a client comes in, for the first time or back, whom it speaks for, and how it is kept so that it can come back.

Used by `handlers.py`. What a client sees when it comes in: what it missed, if it is recovered; the CONNECT reply;
`hello`; `authenticated`; current prices and bars.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from protocol.socketio.packets import Value
from services.gateway.chart_requests import ChartRequests
from services.gateway.client import INVALID_NAMESPACE, Client
from services.gateway.cursor import position_of
from services.gateway.delayed_subscriber import DelayedSubscriber
from services.gateway.delayed_trades import DelayedTrades
from services.gateway.hub import Hub
from services.gateway.limits import ClientLimits
from services.gateway.member import Member
from services.gateway.outbox import Outbox
from services.gateway.pace import SLOW_ENDINGS, Pace, PaceRecord
from services.gateway.pacing import Pacer
from services.gateway.payloads import Payload, error_payload, identity_payload
from services.gateway.recovery import Claim, Gap, Missed, Recovery, Restored
from services.gateway.requests import Lost, RequestError
from services.gateway.sessions import Session, Sessions
from services.gateway.subscriptions import Delivery, Subscriptions
from services.gateway.tokens import Tokens
from services.gateway.trade_feed import TradeFeed
from services.gateway.users import Users
from shared.clock import Clock
from shared.identity import Identity
from shared.names import error_codes, events
from shared.names.close_reasons import CloseReason
from shared.names.error_codes import NOT_ALLOWED, NOT_WHILE_DELAYED, TOO_MANY_DELAYED
from shared.names.events import NAMESPACE, ClientEvent, ServerEvent
from shared.rights import Rights

SID_BYTES: Final = 15

RECOVER: Final = "recover"
"""Key of the auth payload: False opts out of recovery, and of cursors."""

_UNCHANGING: Final = frozenset({ClientEvent.RESYNC_PRICE})


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
        subscriber: DelayedSubscriber,
        delayed_trades: DelayedTrades,
        pacer: Pacer,
        charts: ChartRequests,
        feed: TradeFeed,
        sessions: Sessions,
        recovery: Recovery,
        tokens: Tokens,
        auth_mode: Literal["optional", "required"],
        users: Users,
    ) -> None:
        self._users = users
        self._greeting = greeting
        self._clock = clock
        self._hub = hub
        self._subscriber = subscriber
        self._delayed_trades = delayed_trades
        self._pacer = pacer
        self._charts = charts
        self._feed = feed
        self._sessions = sessions
        self._recovery = recovery
        self._tokens = tokens
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
        identity = None if token is None else self._tokens.check(token)
        pid, offset = auth.get("pid"), auth.get("offset")
        if identity is not None:
            self._users.admit(
                None, identity.user_id, identity.rights.connections, pid if isinstance(pid, str) else None
            )
        outbox = client.outbox
        is_live = identity is None or not identity.rights.delay_s
        outbox.recovers = is_live and auth.get(RECOVER) is not False and not client.connection.is_from_python
        if not outbox.recovers or not isinstance(pid, str):
            self._enter(client, limits, identity, None)
            return
        offset = offset if isinstance(offset, str) else None
        claim = Claim(outbox, lambda: client.is_open, pid, offset, identity)
        self._recovery.begin(
            claim,
            lambda outcome: self._enter(client, limits, identity, outcome, pid),
            lambda missed: self._join_log(client, missed),
        )

    def become(self, client: Client, member: Member, identity: Identity) -> list[Lost]:
        """Take an identity, leaving the rooms of the one before, and keep to its rights.

        Returns:
            What was subscribed and is not granted any more; the client has been told.
        """
        session = member.session
        if member.identity is not None:
            self._leave(member, events.user_room(member.identity.user_id))
            self._hub.leave(events.ADMIN_ROOM, client.outbox)
        number = self._feed.user_log(identity.user_id)
        position = self._feed.positions[number]
        if session is not None and session.user != identity.user_id:
            session.user_since = position
        self._join(member, events.user_room(identity.user_id), number, position)
        if identity.is_admin:
            self._hub.join(events.ADMIN_ROOM, client.outbox)
        lost = self._take(client, member, identity)
        client.emit(NAMESPACE, ServerEvent.AUTHENTICATED, identity_payload(identity))
        return lost

    def renew(self, client: Client, member: Member, identity: Identity) -> list[Lost]:
        """Take a newer token of the same user: no notification is missed. Returns as `become`.

        Raises:
            RequestError: it is another user's, or the client has none yet.
        """
        if member.identity is None or member.identity.user_id != identity.user_id:
            raise RequestError(error_codes.WRONG_USER)
        lost: list[Lost] = []
        if not identity.is_admin and self._hub.leave(events.ADMIN_ROOM, client.outbox):
            lost = [Lost(ClientEvent.SUBSCRIBE_METRICS, None, NOT_ALLOWED)]
            _tell_lost(client, lost)
        elif identity.is_admin and not member.identity.is_admin:  # who had the role may have left the room
            self._hub.join(events.ADMIN_ROOM, client.outbox)
        return lost + self._take(client, member, identity)

    def _keep_back(self, member: Member, delay_s: int) -> list[Lost]:
        """Give a client its prices and trades so much later from now on, 0: live. Called with each identity.

        A client that is kept back loses its charts and cannot be recovered: a cursor says where it is in what it does
        not get yet.

        Returns:
            What it has lost.
        """
        subscriptions, outbox = member.subscriptions, member.subscriptions.outbox
        if not delay_s and not subscriptions.delay_s:
            return []
        reached = {symbol: self._leave_trades(member, symbol) for symbol in list(subscriptions.trades())}
        prices = self._subscriber.change_delay(subscriptions, delay_s)
        lost = [Lost(ClientEvent.SUBSCRIBE_PRICE, symbol, TOO_MANY_DELAYED) for symbol in prices]
        if delay_s:
            charts = self._charts.leave_all(subscriptions)
            lost += [
                Lost(ClientEvent.SUBSCRIBE_CHART, symbol, NOT_WHILE_DELAYED) for symbol in {it for it, _ in charts}
            ]
            outbox.recovers = False
            if member.session is not None:
                session, member.session = member.session, None
                self._sessions.forget(session)
        for symbol, position in reached.items():
            self.join_trades(member, symbol, position)
        return lost

    def join_trades(self, member: Member, symbol: str, reached: int = 0) -> None:
        """Subscribe trades from here on, delayed ones behind what it has `reached`; harmless when subscribed."""
        trades = member.subscriptions.trades()
        if symbol in trades:
            return
        if member.subscriptions.delay_s:
            self._delayed_trades.join(member.subscriptions, symbol, reached)
        else:
            number = self._feed.trades_log(symbol)
            trades[symbol] = self._feed.positions[number]
            self._join(member, events.trades_room(symbol), number, trades[symbol])

    def leave_trades(self, member: Member, symbol: str) -> None:
        """Unsubscribe trades; harmless when not subscribed."""
        if symbol in member.subscriptions.trades():
            self._leave_trades(member, symbol)

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

    def left(self, client: Client, member: Member, ended: CloseReason | None) -> None:
        """A client's connection has ended, or it has left for good."""
        self._tokens.forget(client)
        if member.presence is not None:
            self._users.leave(member.presence)
        outbox = member.subscriptions.outbox
        if member.missed is not None:
            member.missed.abandoned = True
            outbox.replaying = False
        if ended in SLOW_ENDINGS and outbox.pace is not None:
            outbox.pace.note_close(self._clock.now_ms())
            if member.session is not None:
                self._sessions.save(member.session)
        if member.session is not None:
            self._sessions.end(member.session, for_good=ended is None)

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
            outbox.replaying = True
            if outcome.frames:
                outbox.send(outcome.frames)
        elif outbox.recovers:
            session = self._sessions.begin(sid, subscriptions)
            cursor = self._feed.cursor
        client.accept(NAMESPACE, sid, None if session is None else session.pid)
        member = client.member = Member(subscriptions, limits, session)
        member.sid = sid
        if isinstance(outcome, Restored):
            member.missed = outcome.missed
        client.emit(NAMESPACE, ServerEvent.HELLO, self._hello(outcome), cursor=cursor)
        self._subscriber.arrive(outbox)
        if identity is not None:
            if isinstance(outcome, Restored) and session is not None:
                session.identity = identity
            self.become(client, member, identity)
        if isinstance(outcome, Restored):
            self._restore(member, outcome, client.connection.now)
            _tell_lost(client, outcome.lost)
        if session is not None:
            self._sessions.save(session)

    def _leave_trades(self, member: Member, symbol: str) -> int:
        """Unsubscribe trades: the position in their log up to which the client has them."""
        subscriptions = member.subscriptions
        if subscriptions.delay_s:
            return self._delayed_trades.leave(subscriptions, symbol)
        number, room = self._feed.trades_log(symbol), events.trades_room(symbol)
        reached = self._feed.reached(number, room, subscriptions.outbox.log_position)
        if member.missed is not None:
            reached = member.missed.behind.get(room, reached)
        subscriptions.trades().pop(symbol, None)
        self._leave(member, room)
        return reached

    def _take(self, client: Client, member: Member, identity: Identity) -> list[Lost]:
        member.identity = identity
        if member.session is not None:
            member.session.identity = identity
        pid = None if member.session is None else member.session.pid
        member.presence = self._users.arrive(
            member.presence, identity.user_id, identity.rights.connections, client, member.subscriptions, pid
        )
        lost = self._keep_to(member, identity.rights)
        _tell_lost(client, lost)
        self._tokens.watch(client, member)
        return lost

    def _keep_to(self, member: Member, rights: Rights) -> list[Lost]:
        """Take rights, leaving what they do not grant."""
        subscriptions = member.subscriptions
        lost = [
            Lost(ClientEvent.SUBSCRIBE_PRICE, symbol)
            for symbol in self._subscriber.change_rights(subscriptions, rights)
        ]
        for symbol in [symbol for symbol in subscriptions.trades() if not rights.allows(symbol)]:
            self.leave_trades(member, symbol)
            lost.append(Lost(ClientEvent.SUBSCRIBE_TRADES, symbol))
        for symbol in {symbol for symbol, _ in subscriptions.charts() if not rights.allows(symbol)}:
            self._charts.leave(subscriptions, symbol)
            lost.append(Lost(ClientEvent.SUBSCRIBE_CHART, symbol))
        return lost + self._keep_back(member, rights.delay_s)

    def _join(self, member: Member, room: str, number: int, position: int) -> None:
        """Join a room of the log, or have its entries join what the client is still being given."""
        if member.missed is None:
            self._feed.join(room, member.subscriptions.outbox)
        else:
            member.missed.want(room, number, position)

    def _leave(self, member: Member, room: str) -> None:
        self._hub.leave(room, member.subscriptions.outbox)
        if member.missed is not None:
            member.missed.leave(room)

    def _join_log(self, client: Client, missed: Missed) -> None:
        """A client that came back has got everything up to this moment."""
        member = client.member
        if isinstance(member, Member) and member.missed is missed:
            member.missed = None
            client.outbox.replaying = False
            for room in missed.behind:
                self._feed.join(room, client.outbox)

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

    def _restore(self, member: Member, outcome: Restored, now: float) -> None:
        """Join what it was in, and say how that stands now; the rooms of its log when it has got all that it missed."""
        subscriptions, saved = member.subscriptions, outcome.saved
        pace = Pace.restored(PaceRecord(saved.pace, tuple(saved.closes)), now, self._clock.now_ms())
        self._pacer.restore(subscriptions.outbox, pace)
        for symbol, joined in saved.trades.items():
            subscriptions.trades()[symbol] = position_of(joined)
        by_form: dict[bool, list[str]] = {False: [], True: []}
        for symbol, (as_batch, interval_ms) in saved.prices.items():
            delivery = self._subscriber.granted(subscriptions, Delivery(as_batch, interval_ms))
            self._subscriber.join_price(subscriptions, symbol, delivery)
            by_form[as_batch].append(symbol)
        for as_batch, symbols in by_form.items():
            self._subscriber.send_current(subscriptions, symbols, as_batch=as_batch)
        for symbol, interval in saved.charts:
            self._charts.restore(subscriptions, symbol, interval, outcome.since_ms)
        if saved.metrics and member.identity is not None and member.identity.is_admin:
            self._hub.join(events.ADMIN_ROOM, subscriptions.outbox)


def _tell_lost(client: Client, lost: Iterable[Lost]) -> None:
    for item in lost:
        client.emit(NAMESPACE, ServerEvent.ERROR, error_payload(item.error, **item.name))
