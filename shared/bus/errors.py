"""What can go wrong between a service and Redis.

```
BusError
├── BusUnavailableError   gone, slow, loading or full: try again later, nothing is wrong with the request
│   └── BusMovedError     another server has the key now; `RedisBus` follows, nobody else sees it
├── BusRefusedError       no permission, wrong type, the wrong kind of server: trying again will not help
│   └── BusDeniedError    wrong password or certificate; of a server that had let us in: BusUnavailableError
├── FencedError           another replica holds the lease now: stop writing
└── GroupMissingError     the consumer group or its stream is gone: make it again
```
"""


class BusError(Exception):
    """Base of all of them."""


class BusUnavailableError(BusError):
    """Redis did not answer, or not in time, or cannot take writes now."""


class BusMovedError(BusUnavailableError):
    """MOVED or ASK: the command was not run.

    Attributes:
        host: of the server that has the key; empty where it is the host that answered.
        port: its port.
        asking: only this command is to go there, after ASKING.
    """

    def __init__(self, host: str, port: int, *, asking: bool) -> None:
        super().__init__(f"the slot is at {host}:{port}")
        self.host = host
        self.port = port
        self.asking = asking


class BusRefusedError(BusError):
    """Redis answered no, and will again."""


class BusDeniedError(BusRefusedError):
    """Redis did not let us in: password, user or TLS."""


class FencedError(BusError):
    """The caller's lease token is no longer the newest."""


class GroupMissingError(BusError):
    """NOGROUP."""
