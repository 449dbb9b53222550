"""What waits to be written to one client, and the one write that takes it.

Three lanes, each bounded in its own way. *Control* (acks, errors, snapshots) is a queue of finished frames, bounded in
bytes: a client that exceeds it is disconnected. *State* (prices) is never queued behind a slow socket: the client keeps
only which symbols it owes, a newer price replacing the older. *Log* (trades) is a position in a window that all slow
clients share, so a client that is behind costs one number, not a copy of what it missed.

While a client keeps up, all three are simply frames in `queue`, and all that it gets in one turn of the event loop is
one write.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from services.gateway.pace import Pace
from shared.names.close_reasons import BUFFER_FULL, CloseReason

NOT_BEHIND: Final = -1


class Link(Protocol):
    """How an outbox reaches its client: a transport of the gateway."""

    @property
    def writable(self) -> bool:
        """Whether more may be written now; when it becomes true again, the outbox is told by `resume`."""

    def write(self, frames: bytes) -> None:
        """Hand over finished frames, in order. Never blocks; `writable` says whether it was too much."""

    def end(self, reason: CloseReason) -> None:
        """Disconnect."""


class Outbox:
    """One client's lanes. Rooms hold these.

    Attributes:
        link: the client's transport.
        parser: index of the client's parser.
        rooms: names of the rooms it is in; kept by `Hub`.
        behind: whether its socket is full; then only `owed_prices`, `owed_batches` and `log_position` grow.
        replaying: whether it is still being given what it missed before it came back.
        recovers: whether it carries the cursor of log entries, so that it can come back to where it was.
        owed_prices: symbol -> `seq` of the last price that it got, where the next update would build on another: missed
            while it was behind, or sent outside its window.
        owed_batches: the same for batches.
        owes_market: whether it missed a batch of the whole market; `Windows` makes good for it.
        log_joined: room -> index of the first log entry that is its, where it joined while it was behind.
        log_position: index of the first log entry that it did not get, or `NOT_BEHIND`.
        pace: how often it gets prices; None for a client that never fell behind.
        member: what the application keeps of it beside.
    """

    __slots__ = (
        "_flusher",
        "_held",
        "_queued_bytes",
        "behind",
        "link",
        "log_joined",
        "log_position",
        "member",
        "owed_batches",
        "owed_prices",
        "owes_market",
        "pace",
        "parser",
        "queue",
        "recovers",
        "replaying",
        "rooms",
    )

    def __init__(self, link: Link, flusher: "Flusher", parser: int) -> None:
        self.link = link
        self._flusher = flusher
        self.parser = parser
        self.rooms: set[str] = set()
        self.queue: list[bytes] = []
        self._queued_bytes = 0
        self._held = False
        self.behind = False
        self.recovers = False
        self.replaying = False
        self.owed_prices: dict[str, int] | None = None
        self.owed_batches: dict[str, int] | None = None
        self.owes_market = False
        self.log_joined: dict[str, int] | None = None
        self.log_position = NOT_BEHIND
        self.pace: Pace | None = None
        self.member: object = None

    @property
    def is_settled(self) -> bool:
        """Whether it owes nothing: all that the client was to get by now is written, or goes out with `flush`."""
        return not (self.behind or self.replaying or self._held)

    def send(self, frames: bytes) -> None:
        """Queue control frames; they are written at the end of this turn, or when the socket drains."""
        if not self.queue:
            self._flusher.touch(self)
        self.queue.append(frames)
        if self.behind:
            self._queued_bytes += len(frames)
            if self._queued_bytes > self._flusher.max_queued_bytes:
                self.queue.clear()
                self._flusher.end_soon(self.link)

    def flush(self) -> int:
        """Write what is queued, in one piece; returns its bytes. Nothing happens while the socket is full, or held."""
        queue = self.queue
        if not queue or self.behind or self._held:
            return 0
        frames = queue[0] if len(queue) == 1 else b"".join(queue)
        queue.clear()
        self.link.write(frames)
        if not self.link.writable:
            self.fall_behind()
        return len(frames)

    def fall_behind(self) -> None:
        """The socket is full: from now on the client owes instead of queueing."""
        if not self.behind:
            self.behind = True
            self._flusher.passes_behind += 1
            now = self._flusher.now
            self.pace = self.pace or Pace(now)
            self.pace.fall_behind(now)

    def hold(self) -> None:
        """Write nothing until `release`: what it is told now is not saved yet. For a fraction of a second only."""
        self._held = True

    def release(self) -> bool:
        """Write what was held; whether `resume` is to be called, since its socket has drained meanwhile."""
        if not self._held:
            return False
        self._held = False
        if self.behind:
            return self.link.writable
        self._flusher.sent_bytes += self.flush()
        return False

    def resume(self) -> bool:
        """The socket has drained: write what was queued.

        Returns:
            Whether the socket takes more, so that `CatchUp` is to write what is owed.
        """
        if not self.behind or self._held:
            return False
        self.behind = False
        if self.pace is not None:
            self.pace.catch_up(self._flusher.now)
        self._queued_bytes = 0
        self._flusher.sent_bytes += self.flush()
        return not self.behind

    def drop(self) -> None:
        """The client is gone: hold nothing of it."""
        self.queue.clear()
        self._held = False
        self.behind = False
        self.owed_prices = self.owed_batches = None
        self.owes_market = False
        self.log_joined = None
        self.log_position = NOT_BEHIND
        self.pace = self.member = None


class Flusher:
    """Ends every turn of the event loop in which something was queued with one write to each client concerned.

    Args:
        loop: whose turns they are.
        max_queued_bytes: control frames of a client that is behind.
        observe: gets the seconds from the first frame that was queued in a turn until all are written.
        clock: measures that; by default the loop's own, which uvloop keeps in whole milliseconds.

    Attributes:
        sent_bytes: handed to sockets so far.
        passes_behind: how many times a client fell behind.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_queued_bytes: int,
        observe: Callable[[float], None] = lambda _seconds: None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._loop = loop
        self._observe = observe
        self._clock = clock or loop.time
        self.max_queued_bytes = max_queued_bytes
        self._touched: list[Outbox] = []
        self._scheduled = False
        self._queued_at = 0.0
        self.sent_bytes = 0
        self.passes_behind = 0

    @property
    def now(self) -> float:
        """The event loop's clock."""
        return self._loop.time()

    def touch(self, outbox: Outbox) -> None:
        """Have an outbox flushed at the end of this turn."""
        self._touched.append(outbox)
        if not self._scheduled:
            self._schedule()

    def touch_all(self, outboxes: list[Outbox]) -> None:
        """Have many flushed: the hot path's `touch`."""
        self._touched += outboxes
        if not self._scheduled and outboxes:
            self._schedule()

    def end_soon(self, link: Link) -> None:
        """End a client whose control lane is over its bound: after this turn, never beneath who is answering it."""
        self._loop.call_soon(link.end, BUFFER_FULL)

    def flush(self) -> None:
        """Write now."""
        self._scheduled = False
        touched, self._touched = self._touched, []
        sent = 0
        for outbox in touched:
            sent += outbox.flush()
        self.sent_bytes += sent
        self._observe(self._clock() - self._queued_at)

    def _schedule(self) -> None:
        self._scheduled = True
        self._queued_at = self._clock()
        self._loop.call_soon(self.flush)
