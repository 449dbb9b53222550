"""The other end of a `helper`: a process that answers what is asked of it. Feeds `worker` and `publish`."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from services.launcher.errors import LauncherError


async def answer_questions(answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
    """Answer until standard input ends. A `LauncherError` is an answer too."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            said = await answer(json.loads(line))
        except LauncherError as error:
            said = {"error": error.message, "hint": error.hint}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
