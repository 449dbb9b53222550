"""`tickwire debug path`: asks a gateway's ops port where a symbol's updates stop, and prints the answer for people."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.markup import escape

from services.launcher.errors import LauncherError

PAGE: Final = "/debug/path"
PATIENCE_S: Final = 10.0

Json = Any  # the gateway's answer, shown as it comes


async def ask(ops: str, sid: str, symbol: str) -> Json:
    """The gateway's answer.

    Raises:
        LauncherError: there is none, or it says what is wrong with the question.
    """
    query = {name: value for name, value in (("sid", sid), ("symbol", symbol)) if value}
    url = f"{ops if '://' in ops else f'http://{ops}'}".rstrip("/") + PAGE
    limit = aiohttp.ClientTimeout(total=PATIENCE_S)
    try:
        async with aiohttp.ClientSession(timeout=limit) as http, http.get(url, params=query) as answer:
            body = await answer.json(content_type=None) if answer.content_type == "application/json" else {}
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise LauncherError(
            f"{ops} does not answer: {str(error) or type(error).__name__}", "--gateway is its OPS_PORT"
        ) from error
    if status != HTTPStatus.OK:
        others = ", ".join(
            f"{it['gateway']} ({it['address']}, ops port {it['ops_port']})" for it in body.get("others", ())
        )
        problem = body.get("error", f"{url} is answered with {status}: no gateway's ops port")
        raise LauncherError(problem, f"others: {others}" if others else "")
    return body


def show(answer: Json, console: Console) -> None:
    """Print an answer: what stops, then what that was judged by."""
    console.print(f"[dim]gateway[/] {escape(answer['gateway'])}")
    for kind, verdict in answer.items():
        if isinstance(verdict, Mapping) and "stops_at" in verdict:
            stop = verdict["stops_at"]
            mark = "[green]flows[/]" if stop is None else f"[bold red]stops at {escape(stop)}[/]"
            console.print(f"[bold]{kind:<10}[/] {mark}: {escape(verdict['because'])}", soft_wrap=True)
    for part, facts in answer["facts"].items():
        if facts is not None:
            told = "  ".join(f"[dim]{name}[/] {escape(str(value))}" for name, value in facts.items())
            console.print(f"[bold]{part:<12}[/] {told}")


def debug_path(ops: str, sid: str, symbol: str, console: Console) -> None:
    """Ask and show."""
    show(asyncio.run(ask(ops, sid, symbol)), console)
