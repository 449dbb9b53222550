"""Where updates stop: facts in, the first hop at which something is wrong out. Pure.

A path is a row of hops in the order in which an update passes them; each looks at the facts and says what stops it
there, in words for whoever asked, or None. The first that speaks is the answer.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from services.gateway.cursor import position_of
from services.gateway.debug.facts import ClientState, Here, Stored, Wanted

PONG_LATE_S: Final = 5.0
"""A client answers a ping at once; one that has not for so long is not there, or its line is dead."""


class Hop(StrEnum):
    """Where updates can stop, in their order."""

    REDIS = "redis"
    UPSTREAM = "upstream"
    PRICE_INGEST = "price-ingest"
    TRADE_NOTIFIER = "trade-notifier"
    GATEWAY = "gateway"
    TOKEN = "token"  # noqa: S105 - the hop
    SUBSCRIPTION = "subscription"
    CONNECTION = "connection"


class Verdict(NamedTuple):
    """The answer; `stops_at` is None where nothing stops."""

    stops_at: Hop | None
    because: str


class Facts(NamedTuple):
    """All that is known of one symbol, and of one client if one was asked for."""

    symbol: str
    stored: Stored
    here: Here
    client: ClientState | None = None
    wanted: Wanted | None = None


Look = Callable[[Facts], Verdict | None]


def judge_prices(facts: Facts) -> Verdict:
    """Of `price:update` and `price:batch`."""
    looks = (_redis, _numbered, _fresh, _shard_heard, _price_read, _token, _price_wanted, _price_old, _connection)
    return _first(looks, facts)


def judge_trades(facts: Facts) -> Verdict:
    """Of `trade:new`."""
    looks = (_redis, _notified, _traded, _log_read, _token, _trades_wanted, _trades_joined, _trades_kept, _connection)
    return _first(looks, facts)


def judge_charts(facts: Facts) -> Verdict:
    """Of `chart:update`."""
    return _first((_redis, _numbered, _charted, _token, _charts_wanted, _charts_heard, _connection), facts)


def judge_client(client: ClientState) -> Verdict:
    """Of everything that is sent to one client."""
    return _connection_of(client) or Verdict(None, "nothing stops")


def _first(looks: tuple[Look, ...], facts: Facts) -> Verdict:
    for look in looks:
        verdict = look(facts)
        if verdict is not None:
            return verdict
    if facts.client is not None and facts.client.delay_s:
        return Verdict(None, f"nothing stops; all of it comes {facts.client.delay_s} s late, as its token says")
    return Verdict(None, "nothing stops")


def _redis(facts: Facts) -> Verdict | None:
    if facts.stored.unavailable is None:
        return None
    return Verdict(Hop.REDIS, f"Redis does not answer this gateway: {facts.stored.unavailable}")


def _numbered(facts: Facts) -> Verdict | None:
    stored = facts.stored
    if stored.unit is None:
        if not stored.ingests:
            return Verdict(Hop.PRICE_INGEST, "no price-ingest is running")
        return Verdict(
            Hop.UPSTREAM, f"no tick of {facts.symbol} was ever accepted: none was written, or dead:prices says why not"
        )
    if stored.owner is None:
        running = f"{stored.ingests} reported lately" if stored.ingests else "none is running"
        return Verdict(
            Hop.PRICE_INGEST,
            f"no price-ingest holds the lease of unit {stored.unit}, which numbers {facts.symbol}: {running}",
        )
    return None


def _fresh(facts: Facts) -> Verdict | None:
    stored = facts.stored
    if stored.seq is None:
        return Verdict(Hop.PRICE_INGEST, f"{facts.symbol} has a number and no price has been committed")
    if stored.state == "halted":
        return Verdict(Hop.UPSTREAM, f"the upstream says that {facts.symbol} is halted")
    if stored.state == "stale":
        return Verdict(
            Hop.UPSTREAM, f"no tick of {facts.symbol} came, and for {_s(stored.state_age_s)} it counts stale"
        )
    return None


def _shard_heard(facts: Facts) -> Verdict | None:
    """Nothing is said of a shard that nobody here wants: a client that wants it makes this gateway subscribe it."""
    here = facts.here
    if not here.subscribed:
        return None
    if here.deaf_s:
        return Verdict(Hop.GATEWAY, f"its subscription of price shard {here.price_shard} is deaf: {_s(here.deaf_s)}")
    if not here.live:
        return Verdict(Hop.GATEWAY, f"its subscription of price shard {here.price_shard} is not confirmed")
    return None


def _price_read(facts: Facts) -> Verdict | None:
    stored, here = facts.stored, facts.here
    if not here.watched:
        return None
    if here.epoch != stored.epoch:
        return Verdict(Hop.GATEWAY, "it still knows prices of an epoch that is over")
    if here.seq is None or (stored.seq is not None and here.seq < stored.seq):
        return Verdict(Hop.GATEWAY, f"it knows seq {here.seq}, Redis has {stored.seq}")
    return None


def _token(facts: Facts) -> Verdict | None:
    if facts.wanted is None or facts.wanted.granted:
        return None
    return Verdict(Hop.TOKEN, f"its token does not grant {facts.symbol}")


def _price_wanted(facts: Facts) -> Verdict | None:
    if facts.client is None or facts.wanted is None or facts.wanted.price or facts.client.whole_market:
        return None
    return Verdict(Hop.SUBSCRIPTION, f"it has not subscribed the price of {facts.symbol}")


def _price_old(facts: Facts) -> Verdict | None:
    """A price that is here may yet be too young for a client whose token keeps it back."""
    client, wanted = facts.client, facts.wanted
    if client is None or wanted is None or not client.delay_s or wanted.seq is not None:
        return None
    return Verdict(
        Hop.TOKEN, f"no price of {facts.symbol} is {client.delay_s} s old yet, as it has to be for its token"
    )


def _notified(facts: Facts) -> Verdict | None:
    return None if facts.stored.notifiers else Verdict(Hop.TRADE_NOTIFIER, "no trade-notifier is running")


def _traded(facts: Facts) -> Verdict | None:
    here = facts.here
    if here.last_trade is not None or not _is_read(facts):
        return None
    kept = "in its log" if here.trades_kept_s is None else f"among those of the last {_s(here.trades_kept_s)}"
    return Verdict(Hop.UPSTREAM, f"no trade of {facts.symbol} is {kept}")


def _log_read(facts: Facts) -> Verdict | None:
    if _is_read(facts):
        return None
    here = facts.here
    return Verdict(
        Hop.GATEWAY, f"it has read log {here.trade_log} up to {here.log_position}, Redis has {facts.stored.log_end}"
    )


def _is_read(facts: Facts) -> bool:
    return position_of(facts.here.log_position) >= position_of(facts.stored.log_end)


def _trades_wanted(facts: Facts) -> Verdict | None:
    if facts.wanted is None or facts.wanted.trades:
        return None
    return Verdict(Hop.SUBSCRIPTION, f"it has not subscribed trades of {facts.symbol}")


def _trades_joined(facts: Facts) -> Verdict | None:
    if facts.client is None or facts.wanted is None or facts.wanted.joined:
        return None
    if facts.client.replaying:
        return Verdict(Hop.CONNECTION, "it came back and is still being given what it missed")
    return Verdict(Hop.GATEWAY, "it has subscribed and is not in the room: a fault of this gateway")


def _trades_kept(facts: Facts) -> Verdict | None:
    if facts.wanted is None or facts.wanted.trades_kept:
        return None
    return Verdict(Hop.CONNECTION, "it is further behind the log than is kept here: it is disconnected if it reads on")


def _charted(facts: Facts) -> Verdict | None:
    known = facts.stored.chart_rev is not None or (
        facts.wanted is not None and any(it.rev for it in facts.wanted.charts)
    )
    return None if known else Verdict(Hop.UPSTREAM, f"no candle of {facts.symbol} is forming: nobody has traded it yet")


def _charts_wanted(facts: Facts) -> Verdict | None:
    if facts.client is None or facts.wanted is None or facts.wanted.charts:
        return None
    if facts.client.delay_s:
        return Verdict(Hop.TOKEN, "charts are not given to a token with a delay")
    return Verdict(Hop.SUBSCRIPTION, f"it has not subscribed a chart of {facts.symbol}")


def _charts_heard(facts: Facts) -> Verdict | None:
    if facts.wanted is None:
        return None
    if not facts.here.charts_live:
        return Verdict(Hop.GATEWAY, "its subscription of the chart's shard is not confirmed")
    unread = [chart.interval for chart in facts.wanted.charts if not chart.ready]
    if unread:
        return Verdict(Hop.GATEWAY, f"it is still reading {', '.join(unread)}")
    rev = max(chart.rev for chart in facts.wanted.charts)
    if rev < (facts.stored.chart_rev or 0):
        return Verdict(Hop.GATEWAY, f"it knows rev {rev}, Redis has {facts.stored.chart_rev}")
    return None


def _connection(facts: Facts) -> Verdict | None:
    return None if facts.client is None else _connection_of(facts.client)


def _connection_of(client: ClientState) -> Verdict | None:
    if client.behind_s is not None:
        stalled = "" if client.stalled_s is None else f", and has taken nothing for {_s(client.stalled_s)}"
        return Verdict(
            Hop.CONNECTION,
            f"it reads more slowly than it is sent to: behind for {_s(client.behind_s)}, "
            f"{client.unsent_bytes:,} bytes unsent{stalled}",
        )
    late = client.last_pong_s - client.ping_every_s
    if late > PONG_LATE_S:
        return Verdict(Hop.CONNECTION, f"it has not answered a ping for {_s(late)}: it, or its line, is gone")
    return None


def _s(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{seconds:.1f} s"
