"""`GET /debug/path?sid=&symbol=` of the ops port: where a symbol's updates stop for one client, hop by hop.

`sid` is the Socket.IO id, which a page reads as `socket.id`; the Engine.IO id is a secret and is never asked for.
Without it the path ends at this gateway; without `symbol` the client alone is told of. A request costs one look at
every client and a handful of reads of Redis; no more than `AT_ONCE` are served at a time.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Final

from services.gateway.client import Client
from services.gateway.debug import judgement
from services.gateway.debug.facts import ClientState, Here, Stored, Wanted
from services.gateway.debug.judgement import Facts, Verdict
from services.gateway.debug.local import LocalFacts
from services.gateway.debug.stored import StoredFacts
from shared.health import PageAnswer
from shared.symbols import is_symbol

PATH: Final = "/debug/path"
AT_ONCE: Final = 2
SETTLE_S: Final = 0.2
"""Between what Redis says and the look at what has arrived of it: what is on its way has stopped nowhere."""

_PARAMETERS: Final = frozenset({"sid", "symbol"})
_is_sid: Final = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch

_JUDGES: Final = {
    "prices": judgement.judge_prices,
    "trades": judgement.judge_trades,
    "charts": judgement.judge_charts,
}


class DebugPath:
    """The page.

    Args:
        instance: this gateway's.
        stored: asks Redis.
        local: looks at this gateway.
    """

    def __init__(self, instance: str, stored: StoredFacts, local: LocalFacts) -> None:
        self._instance = instance
        self._stored = stored
        self._local = local
        self._busy = 0

    async def answer(self, query: Mapping[str, str]) -> PageAnswer:
        """See `shared.health.Page`."""
        problem = _problem(query)
        if problem:
            return _error(HTTPStatus.BAD_REQUEST, problem)
        if self._busy >= AT_ONCE:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, f"{AT_ONCE} of these are being answered: ask again")
        self._busy += 1
        try:
            return await self._find(query.get("sid"), query.get("symbol"))
        finally:
            self._busy -= 1

    async def _find(self, sid: str | None, symbol: str | None) -> PageAnswer:
        if symbol is None:
            client = self._local.find(sid or "")
            return await self._unknown() if client is None else self._tell_client(client)
        if sid is not None and self._local.find(sid) is None:
            return await self._unknown()
        stored = await self._stored.read(symbol)
        await asyncio.sleep(SETTLE_S)
        facts = Facts(symbol, stored, self._local.here(symbol))
        if sid is not None:
            client = self._local.find(sid)
            if client is None:  # it has left meanwhile
                return await self._unknown()
            facts = facts._replace(client=self._local.client(client), wanted=self._local.wanted(client, symbol))
        return PageAnswer(HTTPStatus.OK, self._body(facts))

    def _body(self, facts: Facts) -> dict[str, object]:
        verdicts = {kind: judge(facts) for kind, judge in _JUDGES.items()}
        return {
            "gateway": self._instance,
            "symbol": facts.symbol,
            "conclusion": [_sentence(kind, verdict) for kind, verdict in verdicts.items()],
            **{kind: verdict._asdict() for kind, verdict in verdicts.items()},
            "facts": {
                "redis": _shown(facts.stored),
                "gateway": _shown(facts.here),
                "client": None if facts.client is None else _shown(facts.client),
                "subscription": None if facts.wanted is None else _shown(facts.wanted),
            },
        }

    def _tell_client(self, client: Client) -> PageAnswer:
        state = self._local.client(client)
        verdict = judgement.judge_client(state)
        body = {
            "gateway": self._instance,
            "conclusion": [_sentence("everything", verdict)],
            "everything": verdict._asdict(),
            "facts": {"client": _shown(state)},
        }
        return PageAnswer(HTTPStatus.OK, body)

    async def _unknown(self) -> PageAnswer:
        others = [
            {"gateway": report.instance, "address": report.address, "ops_port": report.ops_port}
            for report in await self._stored.gateways()
            if report.instance != self._instance
        ]
        hint = "ask the others, each on its ops port" if others else "no other is known: it is not connected"
        return PageAnswer(
            HTTPStatus.NOT_FOUND,
            {"error": f"no client of this gateway has this sid; {hint}", "gateway": self._instance, "others": others},
        )


def _problem(query: Mapping[str, str]) -> str | None:
    unknown = sorted(query.keys() - _PARAMETERS)
    if unknown:
        return f"{unknown[0][:32]}: unknown parameter, there are sid and symbol"
    if not query:
        return "sid, symbol: at least one is needed"
    if "sid" in query and not _is_sid(query["sid"]):
        return "sid: the Socket.IO id of a client, `socket.id` in a browser: 1 to 64 of A-Z a-z 0-9 _ -"
    if "symbol" in query and not is_symbol(query["symbol"]):
        return "symbol: 1 to 32 of A-Z a-z 0-9 . _ : / -"
    return None


def _shown(facts: Stored | Here | ClientState | Wanted) -> dict[str, object]:
    """Facts as JSON has them, times to the millisecond."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(facts).items()}


def _error(status: HTTPStatus, text: str) -> PageAnswer:
    return PageAnswer(status, {"error": text})


def _sentence(kind: str, verdict: Verdict) -> str:
    if verdict.stops_at is None:
        return f"{kind}: {verdict.because}"
    return f"{kind}: stopped at {verdict.stops_at.value}: {verdict.because}"
