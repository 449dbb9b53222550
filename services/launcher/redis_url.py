"""A bus to the Redis that a user named, or words about what is wrong with the name."""

from services.launcher.errors import LauncherError
from shared.bus.redis_bus import RedisBus


def open_bus(url: str, client_name: str) -> RedisBus:
    """A bus; nothing is connected yet.

    Raises:
        LauncherError: no URL of ours.
    """
    try:
        return RedisBus(url, client_name)
    except ValueError as error:
        raise LauncherError(
            f"REDIS_URL cannot be used: {error}",
            "write redis://host:6379, redis+sentinel://host:26379/name, redis+cluster://host:6379 ...",
        ) from error
