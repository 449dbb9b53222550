"""How many TCP connections the process has file descriptors for.

A process that runs out of them cannot accept, nor reach Redis again: so it takes as many as it may have, and uses four
fifths of them for clients (T31).
"""

import resource
from typing import Final

CLIENTS_SHARE: Final = 0.8


def raise_limit() -> int:
    """Ask for as many file descriptors as are allowed: how many there are now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # a sandbox, or an unlimited one that the kernel does not grant
        return soft
    return hard


def sockets_for(limit: int) -> int:
    """TCP connections of clients, of so many file descriptors; 0, no limit, where there is none."""
    return 0 if limit == resource.RLIM_INFINITY else int(limit * CLIENTS_SHARE)
