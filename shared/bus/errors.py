"""What can go wrong between a service and Redis.

```
BusError
├── BusUnavailableError   gone, slow, loading or full: try again later, nothing is wrong with the request
├── BusRefusedError       wrong password, no permission, wrong type: trying again will not help
├── FencedError           another replica holds the lease now: stop writing
└── GroupMissingError     the consumer group or its stream is gone: make it again
```
"""


class BusError(Exception):
    """Base of all of them."""


class BusUnavailableError(BusError):
    """Redis did not answer, or not in time, or cannot take writes now."""


class BusRefusedError(BusError):
    """Redis answered no, and will again."""


class FencedError(BusError):
    """The caller's lease token is no longer the newest."""


class GroupMissingError(BusError):
    """NOGROUP."""
