"""What the gateway keeps of one client in the namespace. Made by `arrivals.py`, read by whatever serves the client."""

from services.gateway.limits import ClientLimits
from services.gateway.presence import Presence
from services.gateway.recovery import Missed
from services.gateway.sessions import Session
from services.gateway.subscriptions import Subscriptions
from shared.identity import Identity


class Member:
    """One client.

    Attributes:
        identity: whom it speaks for.
        limits: how much it may ask for.
        missed: what it has not got yet since it came back; then it joins the rooms of its log later.
        presence: its place among its user's connections.
        session: what it can come back to, if it wants.
        sid: its Socket.IO id, which its user can read; no secret.
        subscriptions: what it gets.
        warn_at: seconds before its token expires at which it is told so; None when it has been.
    """

    __slots__ = ("identity", "limits", "missed", "presence", "session", "sid", "subscriptions", "warn_at")

    def __init__(self, subscriptions: Subscriptions, limits: ClientLimits, session: Session | None) -> None:
        self.identity: Identity | None = None
        self.limits = limits
        self.missed: Missed | None = None
        self.presence: Presence | None = None
        self.session = session
        self.sid = ""
        self.subscriptions = subscriptions
        self.warn_at: float | None = None
