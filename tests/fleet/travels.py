"""What becomes of each client between gateways: when it lost one, when it was served again. Pure.

Fed with the words of the clients' processes (`clients.cjs`, `swarm.py`) by `clients`; the scenarios read it. Times are
seconds of one monotonic clock, noted when a client's word is read, so a slow reader makes them longer, never shorter.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(slots=True)
class Trip:
    """One client on its way.

    Attributes:
        left_at: its transport ended.
        back_at: it had joined a gateway again; None: it has not.
        served_at: the first trade came after that; None: none has.
    """

    left_at: float
    back_at: float | None = None
    served_at: float | None = None

    @property
    def silence_s(self) -> float | None:
        """From the end of one transport until the first trade over the next; None while that lasts."""
        return None if self.served_at is None else self.served_at - self.left_at


class Travels:
    """All trips of all clients.

    Attributes:
        trips: client -> its trips, in order; nobody who has made none.
        failures: attempts to come back that failed, by their words.
    """

    def __init__(self) -> None:
        self.trips: dict[str, list[Trip]] = {}
        self.failures: Counter[str] = Counter()
        self._under_way: dict[str, Trip] = {}

    def note(self, said: Mapping[str, Any], now: float) -> None:
        """One line of a process, as it says it; what is no move is passed over."""
        match said:
            case {"trades": trades} if self._under_way:
                for name in trades.keys() & self._under_way.keys():
                    if self._under_way[name].back_at is not None:
                        self._under_way.pop(name).served_at = now
            case {"connected": name} if name in self._under_way:
                self._under_way[name].back_at = now
            case {"disconnected": name}:
                trip = self._under_way[name] = Trip(now)
                self.trips.setdefault(name, []).append(trip)
            case {"failed": _, "what": what}:
                self.failures[what] += 1

    @property
    def waiting(self) -> int:
        """Clients that have left a gateway and are not served again."""
        return len(self._under_way)

    @property
    def returns(self) -> list[float]:
        """When clients came back, in order."""
        return sorted(trip.back_at for trip in self._all() if trip.back_at is not None)

    @property
    def last(self) -> float:
        """When somebody left a gateway the last time; before all times where nobody has."""
        return max((trip.left_at for trip in self._all()), default=-inf)

    @property
    def silences(self) -> list[tuple[float, str]]:
        """Of all trips that are over: seconds and client, shortest first."""
        return sorted(
            (trip.silence_s, name) for name, trips in self.trips.items() for trip in trips if trip.silence_s is not None
        )

    def longest_silence_s(self, now: float) -> float:
        """Of these and of those that are not over; 0 where there are none."""
        over, not_over = (
            (silence for silence, _ in self.silences),
            (now - trip.left_at for trip in self._under_way.values()),
        )
        return max((*over, *not_over), default=0.0)

    @property
    def departures_s(self) -> float:
        """From the first departure to the last; 0 where nobody has left."""
        times = [trip.left_at for trip in self._all()]
        return max(times) - min(times) if times else 0.0

    def counts(self, clients: Iterable[str]) -> Counter[int]:
        """Of some clients: how many have made how many trips."""
        return Counter(len(self.trips.get(name, ())) for name in clients)

    def most_returns_in(self, seconds: float) -> int:
        """The most clients that came back within any window of so many seconds."""
        times = self.returns
        return max((bisect_left(times, at + seconds) - index for index, at in enumerate(times)), default=0)

    def _all(self) -> Iterable[Trip]:
        return (trip for trips in self.trips.values() for trip in trips)
