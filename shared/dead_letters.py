"""Upstream entries that cannot be used: kept for people in a capped stream, counted by reason, logged once in a while.

Both readers of upstream streams use this. Fed by `shared.upstream.UpstreamError`s; feeds the streams
`redis_keys.DEAD_PRICES` and `DEAD_TRADES`, whose entries hold:

- `reason`: a `shared.upstream.Refusal`; `field`: the field at fault; `stream`, `entry`: where the entry stood (`entry`
  is empty for a Pub/Sub message);
- `limit`: what it is beyond, where the reason is a limit;
- `original:<name>`: each of its fields, bytes as they came, cut to `MAX_VALUE_BYTES`, the first `MAX_FIELDS` of them;
- `cut`: `1` where something was.

To mend a feed, read them with `XREVRANGE dead:trades + - COUNT 20`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from shared.bus.entries import StreamEntry
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.log import get_logger
from shared.names import metrics
from shared.telemetry import Telemetry
from shared.upstream import Refusal, UpstreamError

log = get_logger(__name__)

MAX_LETTERS: Final = 10_000
"""Newest kept."""

MAX_FIELDS: Final = 32
MAX_NAME_BYTES: Final = 64
MAX_VALUE_BYTES: Final = 512
LOG_INTERVAL_S: Final = 10.0
"""At most one log line in so long; it tells the number refused since the line before."""


class DeadLetter(NamedTuple):
    """One refused entry: the stream that it came from, the entry, and what is wrong with it."""

    stream: str
    entry: StreamEntry
    error: UpstreamError


class DeadLetters:
    """Where a service puts what it refuses.

    Args:
        bus: where the stream lives.
        stream: `redis_keys.DEAD_PRICES` or `DEAD_TRADES`.
        telemetry: counts `metrics.DEAD_LETTERS` by reason.
        clock: spaces the log lines.
    """

    def __init__(self, bus: RedisBus, stream: str, telemetry: Telemetry, clock: Clock) -> None:
        self._bus = bus
        self._stream = stream
        self._counter = telemetry.counter(metrics.DEAD_LETTERS)
        self._clock = clock
        self._unlogged: Counter[str] = Counter()
        self._log_due = clock.monotonic()
        self.total = 0
        for reason in Refusal:
            self._counter.labels(reason=reason)  # shown as 0 before the first one, so that a rate can be taken

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep refused entries. Acknowledge them afterwards: what fails half-way is put again, never lost.

        Raises:
            BusUnavailableError: none, or only some, were kept; nothing was counted.
        """
        if not letters:
            return
        await self._bus.append(self._stream, map(_fields, letters), MAX_LETTERS)
        self.total += len(letters)
        for letter in letters:
            self._counter.labels(reason=letter.error.refusal).inc()
            self._unlogged[letter.error.refusal] += 1
        self._log(letters[-1])

    def _log(self, last: DeadLetter) -> None:
        now = self._clock.monotonic()
        if now < self._log_due:
            return
        self._log_due = now + LOG_INTERVAL_S
        counts, self._unlogged = dict(self._unlogged), Counter()
        log.warning(
            "upstream_entries_refused",
            dead_letters=self._stream,
            refused=counts,
            stream=last.stream,
            entry=last.entry.id,
            reason=last.error.refusal,
            field=last.error.field,
        )


def _fields(letter: DeadLetter) -> Mapping[str, str | bytes]:
    fields: dict[str, str | bytes] = {
        "reason": letter.error.refusal,
        "field": letter.error.field,
        "stream": letter.stream,
        "entry": letter.entry.id,
    }
    if letter.error.limit is not None:
        fields["limit"] = str(letter.error.limit)
    cut = len(letter.entry.fields) > MAX_FIELDS
    for name, value in islice(letter.entry.fields.items(), MAX_FIELDS):
        cut = cut or len(name) > MAX_NAME_BYTES or len(value) > MAX_VALUE_BYTES
        shown = name[:MAX_NAME_BYTES].decode(errors="backslashreplace")
        fields[f"original:{shown}"] = value[:MAX_VALUE_BYTES]
    if cut:
        fields["cut"] = "1"
    return fields
