"""The ledger of a fault run: what upstream had confirmed, what each client got, and what is wrong between them. Pure.

Fed by `feeder` (accepted trades) and `clients` (deliveries, and gaps that a client was told of); read by `report`.
Times are seconds of one monotonic clock. Nothing is judged before the end, because a delivery may be noticed before the
confirmation of the very trade that it carries.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

EXAMPLES: Final = 8
"""Of each kind, as many are shown as a person reads."""


class Accepted(NamedTuple):
    """A trade that Redis confirmed: its place among those of its symbol, and when it was confirmed."""

    symbol: str
    rank: int
    at: float


class Gap(NamedTuple):
    """A client was told that it is not recovered, and had subscribed anew at `until`."""

    until: float


class Delivered(NamedTuple):
    """Trades that a client got together, in their order."""

    at: float
    numbers: Sequence[int]


@dataclass(slots=True)
class Journal:
    """Everything that happened to one client, in order.

    Attributes:
        symbols: what it subscribed to.
        since: when its first subscription was acknowledged; it is owed every trade accepted after that.
        entries: what it got and what it was told.
    """

    symbols: tuple[str, ...]
    since: float
    entries: list[Delivered | Gap] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Verdict:
    """What a run comes to; all numbers but `trades` are summed over the clients.

    Attributes:
        trades: accepted by upstream.
        owed: deliveries that clients were owed.
        lost: accepted, owed, never delivered, and nobody said so.
        declared: the same within a gap that the client was told of: no silence, but no recovery either.
        doubled: delivered to one client once more.
        disordered: delivered behind a later trade of its symbol.
        strange: delivered, but never confirmed to upstream.
        examples: a few of each, in words.
    """

    trades: int = 0
    owed: int = 0
    lost: int = 0
    declared: int = 0
    doubled: int = 0
    disordered: int = 0
    strange: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether the promise was kept without an excuse."""
        return not (self.lost or self.declared or self.doubled or self.disordered or self.strange)

    def count(self, kind: str, client: str, number: int, detail: str = "") -> None:
        """One more of a kind, which names the attribute."""
        counted = getattr(self, kind) + 1
        setattr(self, kind, counted)
        if counted <= EXAMPLES:
            self.examples.append(f"{kind}: {client}, trade {number}{detail}")


class Ledger:
    """One run's account."""

    def __init__(self) -> None:
        self._accepted: dict[int, Accepted] = {}
        self._by_symbol: dict[str, list[int]] = {}
        self._journals: dict[str, Journal] = {}

    @property
    def trades(self) -> int:
        """How many were accepted."""
        return len(self._accepted)

    @property
    def newest(self) -> dict[str, int]:
        """Symbol -> the last trade accepted."""
        return {symbol: numbers[-1] for symbol, numbers in self._by_symbol.items()}

    def accept(self, number: int, symbol: str, at: float) -> None:
        """Upstream has the confirmation of a trade; those of one symbol are told in their order."""
        of_symbol = self._by_symbol.setdefault(symbol, [])
        self._accepted[number] = Accepted(symbol, len(of_symbol), at)
        of_symbol.append(number)

    def join(self, client: str, symbols: Iterable[str], at: float) -> None:
        """A client's first subscription was acknowledged."""
        self._journals[client] = Journal(tuple(symbols), at)

    def deliver(self, client: str, numbers: Sequence[int], at: float) -> None:
        """A client got trades."""
        journal = self._journals[client]
        journal.entries.append(Delivered(at, numbers))
        journal.seen.update(numbers)

    def declare_gap(self, client: str, until: float) -> None:
        """A client came back, was told that it is not recovered, and has subscribed anew."""
        self._journals[client].entries.append(Gap(until))

    def caught_up(self) -> bool:
        """Whether every client has the newest trade of each of its symbols."""
        newest = self.newest
        return all(
            newest[symbol] in journal.seen
            for journal in self._journals.values()
            for symbol in journal.symbols
            if symbol in newest
        )

    def healed_after(self, injected: float) -> float | None:
        """Seconds from a fault until every client had a trade accepted after it; None: one never had."""
        longest = 0.0
        for journal in self._journals.values():
            first = self._first_after(journal, injected)
            if first is None:
                return None
            longest = max(longest, first - injected)
        return longest

    def verdict(self) -> Verdict:
        """The account, complete."""
        verdict = Verdict(trades=len(self._accepted))
        for client, journal in self._journals.items():
            seen, gaps = self._audit_deliveries(client, journal, verdict)
            self._audit_absences(client, journal, seen, gaps, verdict)
        return verdict

    def _first_after(self, journal: Journal, injected: float) -> float | None:
        delivered = [entry for entry in journal.entries if isinstance(entry, Delivered)]
        for entry in delivered[bisect_left(delivered, injected, key=lambda entry: entry.at) :]:
            if any(number in self._accepted and self._accepted[number].at > injected for number in entry.numbers):
                return entry.at
        return None

    def _audit_deliveries(
        self, client: str, journal: Journal, verdict: Verdict
    ) -> tuple[set[int], list[tuple[dict[str, int], float]]]:
        """What was delivered, and each declared gap: symbol -> last rank before it, and when it ended."""
        seen: set[int] = set()
        highest: dict[str, int] = {}
        gaps: list[tuple[dict[str, int], float]] = []
        for number in _flat(journal.entries, gaps, highest):
            trade = self._accepted.get(number)
            if trade is None:
                verdict.count("strange", client, number)
            elif number in seen:
                verdict.count("doubled", client, number, f" of {trade.symbol}")
            elif trade.rank < highest.get(trade.symbol, -1):
                behind = self._by_symbol[trade.symbol][highest[trade.symbol]]
                verdict.count("disordered", client, number, f" of {trade.symbol} behind {behind}")
                seen.add(number)
            else:
                highest[trade.symbol] = trade.rank
                seen.add(number)
        return seen, gaps

    def _audit_absences(
        self,
        client: str,
        journal: Journal,
        seen: set[int],
        gaps: list[tuple[dict[str, int], float]],
        verdict: Verdict,
    ) -> None:
        for symbol in journal.symbols:
            for number in self._by_symbol.get(symbol, []):
                trade = self._accepted[number]
                if trade.at <= journal.since:
                    continue
                verdict.owed += 1
                if number in seen:
                    continue
                told = any(trade.at <= until and trade.rank > before.get(symbol, -1) for before, until in gaps)
                verdict.count(
                    "declared" if told else "lost", client, number, f" of {symbol}, accepted at {trade.at:.3f}"
                )


def _flat(
    entries: Iterable[Delivered | Gap], gaps: list[tuple[dict[str, int], float]], highest: dict[str, int]
) -> Iterator[int]:
    """Every number in order; at a gap, what was `highest` by then is noted in `gaps`."""
    for entry in entries:
        if isinstance(entry, Gap):
            gaps.append((dict(highest), entry.until))
        else:
            yield from entry.numbers
