"""What services say of themselves in Redis, as tests ask for it."""

from shared.bus.redis_bus import RedisBus
from shared.messages import ServiceReport, decode_report
from shared.names import redis_keys


async def report_of(bus: RedisBus, instance: str) -> ServiceReport | None:
    """The last report of an instance; None before its first and after its last."""
    raw = (await bus.hash_all(redis_keys.SERVICE_REPORTS)).get(instance.encode())
    return decode_report(raw) if raw else None
