"""For how much of the time gateways had to wait for a core: where that is more than a little, the machine is judged."""

from collections.abc import Sequence
from time import monotonic

from tests.support.cluster import Service
from tests.support.process_table import waited_s


class Waits:
    """Of some gateways, since it was made."""

    def __init__(self, gateways: Sequence[Service]) -> None:
        self._gateways = gateways
        self._at, self._waited_s = monotonic(), self._sum()

    def share(self) -> float:
        """Since the last time, of each of them."""
        now, waited_s = monotonic(), self._sum()
        share = (waited_s - self._waited_s) / (now - self._at) / len(self._gateways)
        self._at, self._waited_s = now, waited_s
        return share

    def _sum(self) -> float:
        return sum(waited_s(gateway.process.pid) for gateway in self._gateways)
