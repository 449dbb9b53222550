"""What one unit makes of upstream entries: ticks of its own symbols, folded; ticks of others', handed on.

Fed by `services.price_ingest.pipeline` with what it read; feeds the book, the charts and the outbox of forwarded ticks,
which the pipeline commits. Everything is folded, and the position moved, in one step without an await, so that a commit
always holds a state and exactly the positions that led to it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.price_ingest.book import Book, Verdict
from services.price_ingest.candles import Charts
from services.price_ingest.chart_store import ChartStore
from services.price_ingest.feeds import Lane, Part, Positions
from services.price_ingest.figures import Figures
from services.price_ingest.homes import Homes
from services.price_ingest.normalise import Tick
from services.price_ingest.reader import Reader, Reading
from services.price_ingest.seen import Seen
from services.price_ingest.settings import IngestSettings
from services.price_ingest.store import PriceStore
from shared.bus.entries import StreamEntry
from shared.bus.redis_bus import RedisBus
from shared.clock import Clock
from shared.dead_letters import DeadLetter, DeadLetters
from shared.log import get_logger
from shared.messages import DecodeError
from shared.trimming import UpstreamTrimming

log = get_logger(__name__)

SEEN_TRADES: Final = 65_536
"""Of one unit."""


class _Sorted(NamedTuple):
    """Ticks by where their symbol is at home: here, or (unit, tick), None where there is no room for the symbol."""

    own: list[Tick]
    others: list[tuple[int | None, Tick]]


@dataclass(frozen=True, slots=True)
class Gear:
    """What all units of a replica work with."""

    bus: RedisBus
    settings: IngestSettings
    reader: Reader
    homes: Homes
    dead_letters: DeadLetters
    figures: Figures
    clock: Clock
    trimming: UpstreamTrimming


class Intake:
    """The state of one unit in memory, while this replica owns it.

    Args:
        gear: shared with the replica's other units.
        store: claims homes for the unit.
        chart_store: holds the closed candles that late ticks revise.
        book, charts: what is folded into; restored by the caller.
        positions: how far.
    """

    def __init__(
        self,
        gear: Gear,
        store: PriceStore,
        chart_store: ChartStore,
        book: Book,
        charts: Charts,
        positions: Positions,
    ) -> None:
        self._gear = gear
        self._store = store
        self._chart_store = chart_store
        self._book = book
        self._charts = charts
        self._positions = positions
        self._seen = Seen(SEEN_TRADES)
        self._forwards: dict[int, list[Tick]] = {}

    async def take_in(self, stream: str, entries: list[StreamEntry]) -> None:
        """Fold what was read next from a stream.

        Raises:
            FencedError: another owns the unit now.
            BusUnavailableError: Redis is away; nothing of it was folded, or only whole parts with their position.
        """
        for part in self._positions.split(stream, entries):
            await self._take_part(stream, part)

    def remember(self, stream: str, entries: list[StreamEntry]) -> None:
        """Entries that were folded before a restart: their trades are known ones."""
        self._seen.filter(self._sort_out(self._gear.reader.read(stream, entries).ticks).own)

    def take_forwards(self) -> Mapping[int, Sequence[Tick]]:
        """Unit -> ticks to hand on that were read since the last call."""
        forwards, self._forwards = self._forwards, {}
        return forwards

    async def _take_part(self, stream: str, part: Part) -> None:
        reading = self._gear.reader.read(stream, part.entries)
        if Lane.PRICES in part.lanes and reading.keeps_refused:  # first, for what fails here is read again
            letters = [DeadLetter(stream, entry, error) for entry, error in reading.refused]
            await self._gear.dead_letters.put(letters)
        await self._find_homes(reading.ticks)
        sorted_out = self._sort_out(reading.ticks)
        sifted = self._seen.filter(sorted_out.own)
        await self._load_candles(sifted.fresh)
        now = self._gear.clock.now_ms()
        if Lane.PRICES in part.lanes:
            self._forward(sorted_out)
            self._fold_prices(reading, sifted.fresh, sifted.duplicates, now)
        if Lane.CHARTS in part.lanes:
            self._charts.fold(sifted.fresh, now, sifted.echoes)
        self._positions.move(stream, part.entries[-1].id)

    async def _find_homes(self, ticks: Sequence[Tick]) -> None:
        known = self._gear.homes.known
        unknown = {tick.symbol for tick in ticks if tick.symbol not in known}
        if unknown:
            await self._store.claim(unknown)

    def _sort_out(self, ticks: list[Tick]) -> _Sorted:
        homes, unit = self._gear.homes.known, self._store.unit
        own = [tick for tick in ticks if homes.get(tick.symbol) == unit]
        others = [tick for tick in ticks if homes.get(tick.symbol) != unit] if len(own) < len(ticks) else []
        return _Sorted(own, [(homes.get(tick.symbol), tick) for tick in others])

    async def _load_candles(self, ticks: Sequence[Tick]) -> None:
        """Until nothing is missing: a candle can close, and leave the memory, while another one is waited for."""
        while missing := self._charts.missing(ticks):
            for key, raw in await self._chart_store.load_candles(missing):
                try:
                    self._charts.load(key, raw)
                except DecodeError as error:
                    log.warning("candle_damaged", symbol=key.symbol, interval=key.interval, error=error)
                    self._charts.load(key, None)

    def _forward(self, sorted_out: _Sorted) -> None:
        surplus = 0
        for home, tick in sorted_out.others:
            if home is None:
                surplus += 1
            else:
                self._forwards.setdefault(home, []).append(tick)
        if sorted_out.others:
            self._gear.figures.count_forwarded(len(sorted_out.others) - surplus)
            self._gear.figures.count_outcomes(0, {Verdict.TOO_MANY_SYMBOLS: surplus})

    def _fold_prices(self, reading: Reading, ticks: Sequence[Tick], duplicates: int, now: int) -> None:
        fold = self._book.fold
        outcomes: Counter[str] = Counter([fold(tick, now) for tick in ticks])
        accepted = outcomes.pop(Verdict.ACCEPTED, 0)
        if duplicates:
            outcomes[Verdict.DUPLICATE] = duplicates
        if not reading.keeps_refused:
            outcomes.update(error.refusal for _, error in reading.refused)
        if reading.holds is not None:
            self._gear.figures.count_read(reading.holds, reading.entries)
            if reading.ticks:
                self._gear.figures.observe_age(reading.holds, min(tick.ts for tick in reading.ticks))
        self._gear.figures.count_outcomes(accepted, outcomes)
