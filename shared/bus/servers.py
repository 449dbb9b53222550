"""Which server has a key: the one that there is, the one that Sentinels call master, or a node of a Redis Cluster.

Each keeps a client of every server in use and the answer that it found last. Whoever finds a server failing, or moved,
says `doubt`: the next one to ask has the answer looked up anew, from whoever else knows it. Connections to a server
that is no longer the answer are closed at once, also those that somebody waits on: he is to fail now, and come back.

    RedisBus ── serving(key) ──► client of a server            Sentinels / nodes ── address ──► here
             ── doubt() ───────►
"""

import asyncio
from abc import ABC, abstractmethod
from binascii import crc_hqx
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from shared.bus.errors import BusDeniedError, BusError, BusMovedError, BusRefusedError, BusUnavailableError
from shared.bus.redis_client import ANSWER_S, Client, answered, ask_once, drop_idle, open_client
from shared.redis_url import Address, RedisUrl, parse_redis_url, shown

LOOK_UP_S: Final = 0.5
"""Longest wait for one Sentinel or node that is asked where the master is."""

SLOTS: Final = 16384


def slot_of(key: str) -> int:
    """A key's slot in a Redis Cluster: CRC-16 of it, or of what stands between its first braces."""
    name = key.encode()
    start = name.find(b"{")
    end = name.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        name = name[start + 1 : end]
    return crc_hqx(name, 0) % SLOTS


class Servers(ABC):
    """The servers that one URL stands for.

    Attributes:
        url: it.
        is_trusted: they let us in once, so that a refused login may pass.
    """

    def __init__(self, url: RedisUrl, client_name: str) -> None:
        self.url = url
        self._client_name = client_name
        self._doubted = True
        self._hint: Address | None = None
        self._lock = asyncio.Lock()
        self.is_trusted = False

    @asynccontextmanager
    async def answered(self, limit: float = ANSWER_S) -> AsyncIterator[None]:
        """Bound what is awaited inside, raise its failures as ours, and doubt the servers that failed."""
        try:
            async with answered(limit):
                yield
        except BusMovedError as moved:
            if not moved.asking:
                self.doubt((moved.host, moved.port) if moved.host else None)
            raise
        except BusUnavailableError:
            self.doubt()
            raise
        except BusDeniedError as error:
            if not self.is_trusted:
                raise
            self.doubt()
            raise BusUnavailableError(str(error)) from error

    def doubt(self, hint: Address | None = None) -> None:
        """Have it looked up anew who serves what; `hint` is a server that should know."""
        self._doubted = True
        self._hint = hint or self._hint

    async def settle(self) -> None:
        """Look up what is doubted. Everybody who asks meanwhile waits for the one who looks."""
        if not self._doubted:
            return
        async with self._lock:
            if self._doubted:
                await self._look_up()
                self._doubted, self._hint = False, None

    def slot(self, _key: str, /) -> int:
        """What keys share that one command may name together: the same number for all where there is one server."""
        return 0

    @abstractmethod
    async def _look_up(self) -> None: ...

    @abstractmethod
    async def serving(self, key: str, /) -> Client:
        """The server that takes commands on a key."""

    @abstractmethod
    async def masters(self) -> list[Client]:
        """Every server that takes writes."""

    async def at(self, address: Address) -> Client:
        """One server of them, to which another has sent a command on.

        Raises:
            BusRefusedError: no cluster was named, and only nodes of one do that.
        """
        raise BusRefusedError(f"{self.url.where} sends on to {shown(address)}: write redis+cluster://")

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""


class OneServer(Servers):
    """`redis://`, `rediss://`, `unix://`."""

    def __init__(self, url: RedisUrl, client_name: str) -> None:
        super().__init__(url, client_name)
        self.client = open_client(url.of_server(url.addresses[0]) if url.addresses else url.of_socket(), client_name)

    async def _look_up(self) -> None:
        await drop_idle(self.client)

    async def serving(self, _key: str, /) -> Client:
        """Always the same."""
        await self.settle()
        return self.client

    async def masters(self) -> list[Client]:
        """It alone."""
        await self.settle()
        return [self.client]

    async def close(self) -> None:
        """As the base."""
        await self.client.aclose()


class SentinelMaster(Servers):
    """`redis+sentinel://`: all Sentinels are asked, and the one that knows of the newest failover is believed."""

    def __init__(self, url: RedisUrl, client_name: str) -> None:
        super().__init__(url, client_name)
        self._client: Client | None = None
        self._address: Address | None = None

    async def _look_up(self) -> None:
        address = await self._find()
        former, self._doubted = self._client, False
        if former is not None and address == self._address:
            await drop_idle(former)
            return
        self._client, self._address = open_client(self.url.of_server(address), self._client_name), address
        if former is not None:
            await former.aclose()

    async def _find(self) -> Address:
        found: list[tuple[int, Address]] = []
        failures: list[BusError] = []
        for sentinel in self.url.addresses:
            try:
                url = self.url.of_sentinel(sentinel)
                reply = await ask_once(url, LOOK_UP_S, "SENTINEL", "MASTER", self.url.master)
                known = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
                fields = {_text(name): value for name, value in known.items()}
            except BusError as error:
                failures.append(_about(error, sentinel, "a Sentinel of this master"))
                continue
            address = (_text(fields["ip"]), int(fields["port"]))
            found.append((int(_text(fields["config-epoch"])), address))
        if not found:
            raise _worst(failures, "no Sentinel answers")
        return max(found)[1]

    async def serving(self, _key: str, /) -> Client:
        """The master, whatever the key."""
        return (await self.masters())[0]

    async def masters(self) -> list[Client]:
        """The master."""
        await self.settle()
        assert self._client is not None
        return [self._client]

    async def close(self) -> None:
        """As the base."""
        if self._client is not None:
            await self._client.aclose()


class ClusterNodes(Servers):
    """`redis+cluster://`: any node tells which node serves which slots; the named ones are only where to begin."""

    def __init__(self, url: RedisUrl, client_name: str) -> None:
        super().__init__(url, client_name)
        self._owners: list[Address | None] = [None] * SLOTS
        self._known: list[Address] = []
        self._clients: dict[Address, Client] = {}

    def slot(self, key: str, /) -> int:
        """Its slot."""
        return slot_of(key)

    async def _look_up(self) -> None:
        failures: list[BusError] = []
        first = [self._hint] if self._hint else []
        # The one that was asked last is asked last: it may be alone with what it thinks.
        for asked in dict.fromkeys([*first, *self._known, *self.url.addresses]):
            try:
                rows = await ask_once(self.url.of_server(asked), LOOK_UP_S, "CLUSTER", "SLOTS")
            except BusError as error:
                failures.append(_about(error, asked, "a node of a Redis Cluster"))
                continue
            await self._learn(_slot_rows(rows, asked), asked)
            return
        raise _worst(failures, "no node answers")

    async def _learn(self, rows: list[tuple[int, int, list[Address]]], told_by: Address) -> None:
        owners: list[Address | None] = [None] * SLOTS
        known: dict[Address, None] = {}
        for first, last, nodes in rows:
            owners[first : last + 1] = [nodes[0]] * (last + 1 - first)
            known.update(dict.fromkeys(nodes))
        known.pop(told_by, None)
        self._owners, self._known, self._doubted = owners, [*known, told_by], False
        masters = set(owners)
        for address in [address for address in self._clients if address not in masters]:
            await self._clients.pop(address).aclose()
        if self._hint is None:  # a failure, and not word of a move
            for client in list(self._clients.values()):
                await drop_idle(client)

    async def serving(self, key: str, /) -> Client:
        """The master that owns the key's slot.

        Raises:
            BusUnavailableError: no node does now.
        """
        await self.settle()
        owner = self._owners[slot_of(key)]
        if owner is None:
            raise BusUnavailableError(f"no node of the cluster serves slot {slot_of(key)}")
        return await self.at(owner)

    async def masters(self) -> list[Client]:
        """Every node that owns a slot."""
        await self.settle()
        return [await self.at(address) for address in sorted({owner for owner in self._owners if owner is not None})]

    async def at(self, address: Address) -> Client:
        """A node; it need not own anything."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = open_client(self.url.of_server(address), self._client_name)
        return client

    async def close(self) -> None:
        """As the base."""
        while self._clients:
            await self._clients.popitem()[1].aclose()


def open_servers(url: str, client_name: str) -> Servers:
    """What a URL stands for; nothing is connected yet.

    Raises:
        ValueError: see `parse_redis_url`.
    """
    parsed = parse_redis_url(url)
    kinds: dict[str, type[Servers]] = {"plain": OneServer, "sentinel": SentinelMaster, "cluster": ClusterNodes}
    return kinds[parsed.mode](parsed, client_name)


def _slot_rows(reply: Any, asked: Address) -> list[tuple[int, int, list[Address]]]:  # noqa: ANN401 - as the library parses it
    """First slot, last slot, and its nodes, the master first. A node without a host is at the one that was asked."""
    return [
        (int(first), int(last), [(_text(node[0] or b"") or asked[0], int(node[1])) for node in nodes])
        for first, last, *nodes in reply
    ]


def _about(error: BusError, address: Address, wanted: str) -> BusError:
    """The same kind of failure, saying whose it is. Who refuses the question is not what the URL says."""
    if isinstance(error, BusDeniedError):
        return BusDeniedError(f"{shown(address)}: {error}")
    if isinstance(error, BusRefusedError):
        return BusRefusedError(f"{shown(address)} is not {wanted}, as the scheme of REDIS_URL says: {error}")
    return BusUnavailableError(f"{shown(address)}: {error}")


def _worst(failures: list[BusError], otherwise: str) -> BusError:
    """Of several servers that failed: what cannot pass by itself counts before what can."""
    refused = next((error for error in failures if isinstance(error, BusRefusedError)), None)
    return refused or BusUnavailableError("; ".join(map(str, failures)) or otherwise)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
