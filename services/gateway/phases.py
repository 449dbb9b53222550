"""Who is served when: the members of a window, spread over phases of it so that no window ends with a burst.

A phase is a share of the members with its own set of changed symbols; phases take turns within the window. Members of
a phase that want the same symbols form a group, which gets one frame. Fed by `subscriptions.py`, used by `windows.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from sys import intern
from typing import Final, Generic, TypeVar

from services.gateway.hub import PARSERS
from services.gateway.market import UNKNOWN
from services.gateway.outbox import Outbox

MOST_PHASES: Final = 10
SHORTEST_PHASE_MS: Final = 10
PHASE_FILL: Final = 100
"""Members that a phase gets before the next one is used: they are served within a millisecond, and share what is made
for a phase."""

Symbols = tuple[str, ...]


def phases_of(batch_ms: int) -> int:
    """How many phases a batch window has."""
    return max(1, min(MOST_PHASES, batch_ms // SHORTEST_PHASE_MS))


class Phase:
    """A share of the members.

    Attributes:
        size: how many.
        changed: symbol -> `seq` that the first change built on since the phase's last turn; empty without members.
    """

    __slots__ = ("changed", "size")

    def __init__(self) -> None:
        self.size = 0
        self.changed: dict[str, int] = {}

    def take_changed(self) -> dict[str, int]:
        """What changed since the last turn; begins the next one."""
        changed, self.changed = self.changed, {}
        return changed


P = TypeVar("P", bound=Phase)


class Spread(Generic[P]):
    """Phases, and which member is in which.

    Attributes:
        ticks: in how many batch windows each phase has its turn.
    """

    def __init__(self, make: Callable[[], P], phases: int, ticks: int) -> None:
        self.ticks = ticks
        self.phases: Sequence[P] = [make() for _ in range(phases)]
        self._phase_of: dict[Outbox, P] = {}

    def __len__(self) -> int:
        return len(self._phase_of)

    def __contains__(self, member: Outbox) -> bool:
        return member in self._phase_of

    def __iter__(self) -> Iterator[Outbox]:
        return iter(self._phase_of)

    def note(self, symbol: str, base: int) -> None:
        """A price changed; what builds on nothing known is to be restated, whatever changed before it."""
        for phase in self.phases:
            if not phase.size:
                continue
            if base == UNKNOWN:
                phase.changed[symbol] = UNKNOWN
            else:
                phase.changed.setdefault(symbol, base)

    def place(self, member: Outbox) -> P:
        """The member's phase, a new one's too."""
        phase = self._phase_of.get(member)
        if phase is None:
            phase = next((it for it in self.phases if it.size < PHASE_FILL), None)
            phase = phase or min(self.phases, key=lambda it: it.size)
            phase.size += 1
            self._phase_of[member] = phase
        return phase

    def find(self, member: Outbox) -> P | None:
        """The member's phase, if it is one."""
        return self._phase_of.get(member)

    def displace(self, member: Outbox) -> None:
        """It is a member no more."""
        phase = self._phase_of.pop(member)
        phase.size -= 1
        if not phase.size:
            phase.changed.clear()

    def due(self, turn: int) -> P | None:
        """Whose turn it is: each phase's once in the length of all."""
        at = turn % (self.ticks * len(self.phases))
        return self.phases[at] if at < len(self.phases) else None


class CrowdPhase(Phase):
    """Members that all get the same.

    Attributes:
        members: by parser.
        owing: members that missed a batch, or have not had the market yet.
    """

    __slots__ = ("members", "owing")

    def __init__(self) -> None:
        super().__init__()
        self.members: tuple[set[Outbox], ...] = tuple(set() for _ in range(PARSERS))
        self.owing: set[Outbox] = set()


class Crowd(Spread[CrowdPhase]):
    """Everyone who gets the whole market, at one interval."""

    def __init__(self, phases: int, ticks: int = 1) -> None:
        super().__init__(CrowdPhase, phases, ticks)

    def add(self, member: Outbox) -> None:
        """Let one in; harmless when it is in."""
        self.place(member).members[member.parser].add(member)

    def discard(self, member: Outbox) -> None:
        """Take one out; harmless when it is not in."""
        phase = self.find(member)
        if phase is not None:
            phase.members[member.parser].discard(member)
            phase.owing.discard(member)
            self.displace(member)

    def owe(self, member: Outbox) -> None:
        """One missed a batch: it gets the whole market as soon as its socket takes it."""
        member.owes_market = True
        self.place(member).owing.add(member)


class Group:
    """Members of one parser that want the same symbols."""

    __slots__ = ("members", "symbols")

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.members: set[Outbox] = set()


class GroupPhase(Phase):
    """Members in groups.

    Attributes:
        groups: by parser and symbols. Members that joined or left since the last turn are not in them before `settle`:
            subscribing to twenty symbols makes one group, not twenty.
    """

    __slots__ = ("_changing", "_group_of", "groups")

    def __init__(self) -> None:
        super().__init__()
        self.groups: tuple[dict[Symbols, Group], ...] = tuple({} for _ in range(PARSERS))
        self._group_of: dict[Outbox, Group] = {}
        self._changing: dict[Outbox, set[str]] = {}

    def wanted(self, member: Outbox) -> set[str]:
        """The symbols that a member wants, to be changed by the caller."""
        wanted = self._changing.get(member)
        if wanted is None:
            group = self._group_of.get(member)
            wanted = self._changing[member] = set(group.symbols if group else ())
        return wanted

    def forget(self, member: Outbox) -> None:
        """It wants nothing more."""
        self._changing.pop(member, None)
        self._leave_group(member)

    def settle(self) -> None:
        """Put members that changed into their groups."""
        for member, wanted in self._changing.items():
            self._leave_group(member)
            # Interned: each client's strings are its own, and 200,000 of them do not fit into a CPU's caches.
            symbols = tuple(sorted(map(intern, wanted)))
            groups = self.groups[member.parser]
            group = groups.get(symbols)
            if group is None:
                group = groups[symbols] = Group(symbols)
            group.members.add(member)
            self._group_of[member] = group
        self._changing.clear()

    def _leave_group(self, member: Outbox) -> None:
        group = self._group_of.pop(member, None)
        if group is not None:
            group.members.discard(member)
            if not group.members:
                del self.groups[member.parser][group.symbols]


class Window(Spread[GroupPhase]):
    """Members of one interval and one way of delivery.

    Attributes:
        as_batch: one `price:batch` instead of a `price:update` for each symbol.
    """

    def __init__(self, ticks: int, phases: int, *, as_batch: bool) -> None:
        super().__init__(GroupPhase, phases, ticks)
        self.as_batch = as_batch

    def add(self, member: Outbox, symbol: str) -> None:
        """Want a symbol; harmless when wanted already."""
        self.place(member).wanted(member).add(symbol)

    def remove(self, member: Outbox, symbol: str) -> None:
        """Want it no more; harmless when not wanted."""
        phase = self.find(member)
        if phase is None:
            return
        wanted = phase.wanted(member)
        wanted.discard(symbol)
        if not wanted:
            phase.forget(member)
            self.displace(member)
