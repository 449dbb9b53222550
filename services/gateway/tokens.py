"""Tokens on open connections: checked when they come, watched while they last.

A token that nobody replaces is announced as `auth:expiring`, then ends its connection in the way that brings a stock
client back, with a new token from its `auth` function; a dead token is refused there for good, so there is no loop. A
revoked one ends its connections in the way that keeps clients away. Used by `arrivals.py`; `Revocations` feeds it.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from protocol.socketio.packets import Value
from services.gateway.client import Client
from services.gateway.member import Member
from services.gateway.requests import Lost, RequestError
from shared.clock import Clock
from shared.identity import AuthError, AuthFailure, Identity
from shared.log import get_logger
from shared.names import error_codes
from shared.names.close_reasons import TOKEN_EXPIRED, TOKEN_REVOKED
from shared.names.events import NAMESPACE, ServerEvent

log = get_logger(__name__)

WARNING_S: Final = 60
"""A client is told so long before its token expires; where it lives for less than twice as long, at half its life."""

SHORTEST_LIFE_S: Final = 1.0
"""What ends sooner is not worth a word."""


class Verifier(Protocol):
    """Proves identities: `shared.identity.TokenVerifier`."""

    def verify(self, token: str, now_ms: int) -> Identity:
        """Who the token speaks for.

        Raises:
            AuthError: nobody.
        """


class Tokens:
    """Of all clients of a gateway.

    Args:
        verifier: checks signatures and claims.
        is_revoked: whether a valid token counts no more.
        clock: compared with the tokens' times.
        grace_s: how long a connection outlives its token.
        max_delay_s: the longest `delay_s` that can be served.

    Attributes:
        refused: tokens that were not accepted, by reason.
    """

    def __init__(
        self,
        verifier: Verifier,
        is_revoked: Callable[[Identity], bool],
        clock: Clock,
        grace_s: float,
        max_delay_s: int,
    ) -> None:
        self._verifier = verifier
        self._is_revoked = is_revoked
        self._clock = clock
        self._grace_s = grace_s
        self._max_delay_s = max_delay_s
        self._holders: dict[Client, Member] = {}
        self.refused: dict[str, int] = dict.fromkeys(AuthFailure, 0)

    def __len__(self) -> int:
        """How many clients hold one."""
        return len(self._holders)

    def check(self, token: Value) -> Identity:
        """Whom a token speaks for.

        Raises:
            RequestError: it is not accepted.
        """
        try:
            if not isinstance(token, str):
                raise AuthError(AuthFailure.MALFORMED)
            identity = self._verifier.verify(token, self._clock.now_ms())
            if self._left(identity) <= -self._grace_s:  # an open connection would be ended at once, again and again
                raise AuthError(AuthFailure.EXPIRED)
            if self._is_revoked(identity):
                raise AuthError(AuthFailure.REVOKED)
            if identity.rights.delay_s > self._max_delay_s:
                raise AuthError(AuthFailure.BAD_CLAIM, "delay_s")
        except AuthError as error:
            self.refused[error.reason] += 1
            if error.reason is AuthFailure.KEYS_AWAITED:
                raise RequestError(error_codes.KEYS_AWAITED) from None
            about: dict[str, Value] = {} if error.claim is None else {"claim": error.claim}
            raise RequestError(error_codes.AUTHENTICATION_FAILED, reason=error.reason.value, **about) from None
        return identity

    def watch(self, client: Client, member: Member) -> None:
        """A client has taken an identity, or a newer token of the one that it had."""
        self._holders[client] = member
        if member.identity is not None:
            left = self._left(member.identity)
            # At half its life at most: a client that brings the same token again is not told at once.
            member.warn_at = min(WARNING_S, left / 2) if left >= SHORTEST_LIFE_S else None
        self.look(client)

    def forget(self, client: Client) -> None:
        """A client is gone."""
        self._holders.pop(client, None)

    def look(self, client: Client) -> None:
        """The time that `watch` or this has named has come: warn the client, or let it go."""
        member = self._holders.get(client)
        if member is None or member.identity is None:
            return
        exp = member.identity.expires
        left = self._left(member.identity)
        if left <= -self._grace_s:
            client.emit(NAMESPACE, ServerEvent.AUTH_EXPIRED, {"exp": exp})
            client.end(TOKEN_EXPIRED)
            return
        if member.warn_at is not None and left <= member.warn_at:
            member.warn_at = None
            client.emit(NAMESPACE, ServerEvent.AUTH_EXPIRING, {"exp": exp})
        # The wall clock may jump meanwhile: so it is looked at again then, and the rest is waited for.
        client.wake_after(left + self._grace_s if member.warn_at is None else left - member.warn_at)

    def _left(self, identity: Identity) -> float:
        """Seconds until a token expires."""
        return identity.expires - self._clock.now_ms() / 1000

    def end_revoked(self) -> None:
        """Something more is revoked: put out all clients that it concerns."""
        revoked = [client for client, member in self._holders.items() if _is_held(member, self._is_revoked)]
        for client in revoked:
            client.emit(NAMESPACE, ServerEvent.AUTH_REVOKED, {})
            client.kick(TOKEN_REVOKED)
        if revoked:
            log.info("clients_revoked", clients=len(revoked))


def _is_held(member: Member, is_revoked: Callable[[Identity], bool]) -> bool:
    return member.identity is not None and is_revoked(member.identity)


def lost_items(lost: Iterable[Lost]) -> list[Value]:
    """What an ack says of subscriptions that a new token does not grant."""
    return [item.name for item in lost]
