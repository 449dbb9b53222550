"""Standard output into a pipe whose reader may leave: `tickwire watch BTC-USDT | head`."""

import os
import sys
from typing import NoReturn

from rich.console import Console


class PipeConsole(Console):
    """A console that says when its reader has left; rich's own ends the process there and then."""

    def on_broken_pipe(self) -> NoReturn:
        """Called by rich."""
        raise BrokenPipeError


def let_go_of_stdout() -> None:
    """Nobody reads any more: keep Python from finding that out once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
