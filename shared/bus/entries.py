"""What comes out of Redis, in types that do not depend on the client library."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, cast

_ENTRY_ID: Final = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")


class StreamEntry(NamedTuple):
    """One stream entry. A pending entry that was trimmed meanwhile comes back with no fields: a gap, not an entry."""

    id: str
    fields: dict[bytes, bytes]


class StreamEnds(NamedTuple):
    """The two ends of a stream.

    Attributes:
        first: id of the oldest entry that is still there, None in an empty stream.
        last: the newest id that the stream ever had, `0-0` where there is no stream.
        trimmed: whether entries have been taken away from it, as far as the server can say.
    """

    first: str | None
    last: str
    trimmed: bool = False


class GroupInfo(NamedTuple):
    """How far a consumer group is.

    Attributes:
        length: entries in the stream.
        lag: entries not yet delivered to the group; None where Redis cannot say (after a deletion).
        pending: delivered, not acknowledged.
        oldest_pending_ms: age of the oldest of them by its id, 0 where there is none.
    """

    length: int
    lag: int | None
    pending: int
    oldest_pending_ms: int


class PubSubEvent(NamedTuple):
    """A message, or the confirmation of a subscription (`data` is None)."""

    channel: str
    data: bytes | None


def entry_ms(entry_id: str) -> int:
    """The Redis clock's milliseconds in an entry id `ms-seq`."""
    return int(entry_id.partition("-")[0])


def entry_order(entry_id: str) -> tuple[int, int]:
    """What orders entry ids; they do not sort as text."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)


def is_text(value: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_positions(found: Mapping[bytes, bytes]) -> dict[str, str]:
    """Stream -> entry id, as a hash holds them; what is no name or no id is left out: its reader begins anew."""
    return {
        name.decode(): entry.decode() for name, entry in found.items() if _ENTRY_ID.fullmatch(entry) and is_text(name)
    }


def parse_entries(reply: object) -> list[StreamEntry]:
    """Entries as Redis sends them, also from a Lua script: `[[id, [field, value, ...]], ...]`."""
    return [
        StreamEntry(entry_id.decode(), dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {})
        for entry_id, flat in cast("list[tuple[bytes, list[bytes] | None]]", reply)
    ]


def parse_streams(reply: object) -> dict[str, list[StreamEntry]]:
    """The reply to XREAD: each stream's entries."""
    found = cast("list[tuple[bytes, object]] | None", reply)
    return {name.decode(): parse_entries(entries) for name, entries in found or ()}
