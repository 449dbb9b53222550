"""What every kind of attack is, and the list of all of them. Feeds `attackers`."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.soak.line import Line, Toll

Address = tuple[str, int]

PACES_S: Final = (0.025, 0.06)
"""Between packets of those that want to reach what lies behind the guards: below the 50 frames a second that a client
may send, and below the 20 messages.
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where one attacker stands.

    Attributes:
        target: the client port.
        source: gives the loopback address of the next connection.
        chance: its own.
        toll: of its kind.
    """

    target: Address
    source: Callable[[], str]
    chance: random.Random
    toll: Toll

    def pace(self) -> float:
        """Seconds between packets, of one connection."""
        return self.chance.choice(PACES_S)

    async def line(self, *, small: bool = False) -> Line:
        """A new connection."""
        return await Line.open(self.source(), self.target, self.toll, small=small)


class Kind:
    """One kind of hostile client: `attack` is the life of one of its connections.

    Attributes:
        name: on the command line and in the table.
        threat: rows of the threat table.
        attackers: how many work at once, each with one connection after the other.
        pause_s: the longest pause between two connections of one attacker; half of it on average.
        life_s: a connection is given up after that; what it should have ended by is the gateway's to know.
        addresses: how many loopback addresses its connections come from, in turn.
    small: whether its receive buffer is small, because it does not read.
    """

    name: ClassVar[str]
    threat: ClassVar[str]
    attackers: ClassVar[int] = 4
    pause_s: ClassVar[float] = 4.0
    life_s: ClassVar[float] = 12.0
    addresses: ClassVar[int] = 40
    small: ClassVar[bool] = False

    async def attack(self, line: Line, ground: Ground) -> None:
        """Use one connection up; its end, by `CutError`, is what most of them wait for."""
        raise NotImplementedError
