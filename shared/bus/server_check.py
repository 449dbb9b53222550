"""Whether Redis is what `REDIS_URL` says, asked once at the start: HELLO, which every user may send.

What is wrong here stays wrong until somebody changes a setting, so a service ends with these words instead of trying
for ever. Used by `shared.lifecycle`.
"""

from collections.abc import Mapping
from typing import Any, Final

from shared.bus.errors import BusRefusedError, BusUnavailableError
from shared.bus.redis_bus import RedisBus
from shared.log import get_logger
from shared.redis_url import Mode

log = get_logger(__name__)

OLDEST: Final = (7, 0)
"""Sharded Pub/Sub, and what the scripts read of a stream, came with it."""

SAFE: Final = {"redis": (7, 0, 15), "valkey": (8, 1, 9)}
"""Below these a user who may run scripts could break out of them. A distribution may have mended an older one."""

_KINDS: Final[dict[str, tuple[Mode, str]]] = {
    "sentinel": ("sentinel", "is a Sentinel: write redis+sentinel://host:port,.../master-name"),
    "cluster": ("cluster", "is a node of a Redis Cluster: write redis+cluster://host:port,..."),
    "standalone": ("plain", "is one server, no cluster: write redis://host:port"),
}


async def check_server(bus: RedisBus) -> None:
    """Return when Redis answers and is fit for use; from then on a refused login counts as passing.

    Raises:
        BusUnavailableError: not now.
        BusRefusedError: not as things are, with what to change.
    """
    try:
        answers = await bus.hello()
    except BusUnavailableError as error:
        raise BusUnavailableError(f"waiting for Redis at {bus.where}, as REDIS_URL says: {error}") from error
    for told in answers:
        _check(bus.mode, told, bus.where)
    bus.trust()


def _check(mode: Mode, told: Mapping[str, Any], where: str) -> None:
    version = str(told.get("version", "0"))
    kind, advice = _KINDS.get(str(told.get("mode")), ("plain", ""))
    if kind != mode and not (mode == "sentinel" and kind == "plain"):
        raise BusRefusedError(f"{where} {advice}")
    numbers = tuple(int(part) for part in version.split("."))
    if numbers[:2] < OLDEST:
        raise BusRefusedError(f"{where} is version {version}; Redis 7.0, or any Valkey, is the oldest that will do")
    if told.get("role") == "master":
        if numbers < SAFE.get(str(told.get("server")), OLDEST):
            log.warning("redis_version_unsafe", server=told.get("server"), version=version, hint="see deploy/redis")
        return
    if mode == "plain":
        raise BusRefusedError(f"{where} is a read-only replica: REDIS_URL has to name its master")
    raise BusUnavailableError("a replica stands where the master should: a failover is going on")
