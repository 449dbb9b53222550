"""How many clients a gateway lets go so that the cluster's are spread evenly again. Pure: no I/O, no clock, no chance.

Open sockets stay where they are when the cluster grows: only who reconnects is balanced. So a gateway that has over
`START` times the mean lets a few go, one by one, until it has `STOP` times the mean; what they come back to is for the
balancer to choose. It does nothing while the set of gateways changes, for then a rollout may be under way, at whose end
each client is to have moved once. Fed by `shedding.py` with the reports of the others, and with what became of those
who went: where they all come back to this gateway, as they do to a cookie of the balancer, letting go only hurts.
"""

from collections.abc import Mapping
from math import ceil, inf
from typing import Final

from shared.messages import DecodeError, decode_report
from shared.names import metrics

START: Final = 1.2
"""Times the mean, above which a gateway begins; below 1.3, which is what is promised."""

STOP: Final = 1.05
LEAST: Final = 20
"""Clients above the mean: fewer are not worth anybody's reconnection."""

FRESH_S: Final = 10.0
"""What was reported longer ago is not known any more."""

JUDGED: Final = 30
"""Clients whose return is looked at, before it is judged whether letting go helps."""

FUTILE: Final = 0.85
"""Share of them that came back here. By a fair balancer it is half, where there are only two gateways."""

PAUSE_S: Final = 600.0
"""Nobody is let go for so long where it does not help."""


class Rebalance:
    """One gateway's share.

    Args:
        percent: of its clients that it lets go in a minute at most.
        settle_s: the gateways must have been the same for so long.

    Attributes:
        is_shedding: whether it has more than its share and lets clients go.
    """

    def __init__(self, percent: float, settle_s: float) -> None:
        self._per_s = percent / 100 / 60
        self._settle_s = settle_s
        self._others: frozenset[str] | None = None
        self._elsewhere = 0
        self._same_since = self._seen_at = self._asked_at = -inf
        self._paused_until = -inf
        self._credit = 0.0
        self._judged = self._returned = 0
        self.is_shedding = False

    def observe(self, others: Mapping[str, int], now: float) -> None:
        """Take what the other gateways that are ready have just reported: instance -> clients."""
        names = frozenset(others)
        if names != self._others:
            self._others, self._same_since = names, now
        self._elsewhere = sum(others.values())
        self._seen_at = now

    def due(self, own: int, now: float) -> int:
        """How many to let go now, of so many clients; whoever asks lets them go, or they stay."""
        elapsed, self._asked_at = now - self._asked_at, now
        self.is_shedding = self._is_known(now) and self._has_too_many(own)
        if not self.is_shedding:
            self._credit = 0.0
            return 0
        self._credit += own * self._per_s * min(elapsed, 1.0)  # a loop that stood still does not catch up
        number = min(int(self._credit), ceil(own - STOP * self._mean(own)))
        self._credit -= number
        return number

    def judge_return(self, now: float, *, came_back: bool) -> bool:
        """Note whether a client that was let go is here again.

        Returns:
            Whether it has shown now that letting go does not help: nobody goes for a while.
        """
        self._judged += 1
        self._returned += came_back
        if self._judged < JUDGED:
            return False
        is_futile = self._returned > FUTILE * self._judged
        self._judged = self._returned = 0
        if is_futile:
            self._paused_until = now + PAUSE_S
        return is_futile

    def _is_known(self, now: float) -> bool:
        is_fresh = bool(self._others) and now - self._seen_at <= FRESH_S
        return is_fresh and now - self._same_since >= self._settle_s and now >= self._paused_until

    def _has_too_many(self, own: int) -> bool:
        mean = self._mean(own)
        if self.is_shedding:
            return own > STOP * mean
        return own > START * mean and own - mean >= LEAST

    def _mean(self, own: int) -> float:
        return (own + self._elsewhere) / (len(self._others or ()) + 1)


def ready_others(reports: Mapping[bytes, bytes], own: str, now_ms: int) -> dict[str, int]:
    """Gateways that can take clients over: instance -> clients they have.

    Args:
        reports: instance -> encoded `ServiceReport`, of all services.
        own: instance that is left out.
        now_ms: this machine's clock.
    """
    found = {}
    for encoded in reports.values():
        try:
            report = decode_report(encoded)
        except DecodeError:
            continue  # the metrics service counts and removes it
        is_fresh = abs(now_ms - report.at) <= FRESH_S * 1000
        if report.service == "gateway" and report.instance != own and report.ready and is_fresh:
            found[report.instance] = int(report.figures.get(metrics.CONNECTIONS.name, 0))
    return found
