"""Rooms: who gets what. No I/O, no payloads.

A room exists while it has a member. Its members are kept apart by parser, so that a frame is made for a parser only
when somebody will get it, and then goes to all of that parser's members without looking at each.
"""

from services.gateway.outbox import Outbox

PARSERS = 2
"""How many parsers a client may speak; `Outbox.parser` is an index below it."""


class Room:
    """The members of one room, by parser."""

    __slots__ = ("members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: tuple[set[Outbox], ...] = tuple(set() for _ in range(PARSERS))

    def __len__(self) -> int:
        return sum(map(len, self.members))


class Hub:
    """All rooms of a gateway."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}

    def __len__(self) -> int:
        """How many rooms have a member."""
        return len(self._rooms)

    def find(self, name: str) -> Room | None:
        """The room, or None when it has no member."""
        return self._rooms.get(name)

    def join(self, name: str, member: Outbox) -> bool:
        """Add a member; False when it was one. The member's `rooms` follows."""
        if name in member.rooms:
            return False
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(name)
        room.members[member.parser].add(member)
        member.rooms.add(name)
        return True

    def leave(self, name: str, member: Outbox) -> bool:
        """Take a member out; False when it was none."""
        if name not in member.rooms:
            return False
        member.rooms.discard(name)
        room = self._rooms[name]
        room.members[member.parser].discard(member)
        if not len(room):
            del self._rooms[name]
        return True
