"""Which unit a symbol is at home in."""

import pytest

from services.price_ingest.homes import Homes
from shared.bus.errors import FencedError
from shared.bus.redis_bus import RedisBus
from shared.lease import Lease
from shared.names import redis_keys

EPOCH = "one"


async def lease_of(bus: RedisBus, unit: int) -> Lease:
    lease = Lease(bus, redis_keys.price_lease(unit), "test")
    assert await lease.take()
    await bus.set_if_absent(redis_keys.PRICE_EPOCH, EPOCH)
    return lease


async def test_the_first_unit_that_meets_a_symbol_keeps_it(bus: RedisBus):
    one, two = Homes(bus, 100), Homes(bus, 100)
    await one.claim(1, await lease_of(bus, 1), EPOCH, {"A", "B"})
    await two.claim(2, await lease_of(bus, 2), EPOCH, {"B", "C"})
    assert one.known == {"A": 1, "B": 1}
    assert two.known == {"B": 1, "C": 2}
    await one.load()
    assert one.known == {"A": 1, "B": 1, "C": 2}
    assert one.of_unit(1) == {"A", "B"}


async def test_there_is_room_for_so_many_symbols_over_all_units(bus: RedisBus):
    homes = Homes(bus, 3)
    await homes.claim(1, await lease_of(bus, 1), EPOCH, {"A", "B"})
    await homes.claim(2, await lease_of(bus, 2), EPOCH, {"B", "C", "D"})
    assert homes.known == {"A": 1, "B": 1, "C": 2}


async def test_a_unit_with_a_symbol_is_one_to_be_read(bus: RedisBus):
    await Homes(bus, 3).claim(4, await lease_of(bus, 4), EPOCH, {"A"})
    assert await bus.hash_all(redis_keys.PRICE_POSITIONS) == {redis_keys.price_forward(4).encode(): b"0-0"}


async def test_one_who_lost_the_lease_or_the_epoch_claims_nothing(bus: RedisBus):
    homes, lease = Homes(bus, 3), await lease_of(bus, 1)
    with pytest.raises(FencedError):
        await homes.claim(1, lease, "another", {"A"})
    await bus._client.delete(lease.key)
    with pytest.raises(FencedError):
        await homes.claim(1, lease, EPOCH, {"A"})
    assert await bus.hash_all(redis_keys.PRICE_HOMES) == {}
    assert homes.known == {}
