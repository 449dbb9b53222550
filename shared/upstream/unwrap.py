"""What one upstream entry says, whichever of the known formats it is in: flat mappings with the canonical names.

Fed by stream entries; feeds `services.price_ingest.normalise` and `services.trade_notifier.consumer`. Canonical names
are those of `aliases.CANONICAL`; other names in a mapping mean nothing. Values are as the upstream wrote them and are
checked by `fields`. Pure.
"""

from collections.abc import Mapping, Sequence

from shared.upstream import cryptofeed, generic, nautilus
from shared.upstream.aliases import FOREIGN


def unwrap(fields: Mapping[bytes, bytes]) -> Sequence[Mapping[bytes, bytes]]:
    """The prices, quotes and trades of one entry, in their order; none where it holds something else.

    An item that makes no sense comes as it is, for its reader to refuse: the others are not lost with it.

    Raises:
        UpstreamError: there is a payload that cannot be read, or is beyond a limit.
    """
    if b"symbol" in fields and FOREIGN.isdisjoint(fields):
        return (fields,)
    if nautilus.is_entry(fields):
        return nautilus.unwrap(fields)
    if cryptofeed.is_entry(fields):
        return cryptofeed.unwrap(fields)
    return generic.unwrap(fields)
