"""Redis as production runs it, here: Sentinel, Cluster and TLS, of real servers that can be killed and frozen.

    with SentinelSet() as redis:
        redis.url, redis.master().kill(), redis.wait_for_master(other_than=redis.master())

Every server listens on loopback only, on ports free at its start, has a private directory, and is ended by its pid
when the context is left, whatever its state. Start them from the main thread (see `services.launcher.leash`).
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from services.launcher.embedded_valkey import server_binary
from tests.support.redis_node import RedisNode, Reply, TlsMissingError, free_ports, until
from tests.support.tls_files import TlsFiles

MASTER_NAME: Final = "tickwire"
DOWN_AFTER_MS: Final = 2000
NODE_TIMEOUT_MS: Final = 2000
SLOTS: Final = 16384


class _Servers:
    """Servers of one directory, ended together."""

    def __init__(self) -> None:
        self._exit = ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="tickwire-redis-"))
        self.nodes: list[RedisNode] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:  # whatever it is, no server may be left
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every server and remove the files."""
        self._exit.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, name: str, port: int, settings: Sequence[str], *, binary: Path, sentinel: bool = False) -> RedisNode:
        node = RedisNode(binary, self.directory / name, port, settings, sentinel=sentinel)
        self._exit.callback(node.end)
        node.start()
        return node

    @property
    def url(self) -> str:
        """What `REDIS_URL` is to be."""
        raise NotImplementedError

    def _start(self) -> None:
        raise NotImplementedError


class SentinelSet(_Servers):
    """One master, its replicas, and three Sentinels with a quorum of two.

    Args:
        replicas: how many.
        min_replicas: the master takes writes only while it has at least one replica that lags at most 2 s.
        append_only: servers keep an append-only file.

    Attributes:
        nodes: the data servers, the first master first.
        sentinels: the Sentinels.
    """

    def __init__(self, replicas: int = 1, *, min_replicas: bool = False, append_only: bool = False) -> None:
        super().__init__()
        self._replicas = replicas
        self._settings = ["repl-diskless-sync-delay 0", "repl-timeout 10", *_persistence(append_only=append_only)]
        if min_replicas:
            self._settings += ["min-replicas-to-write 1", "min-replicas-max-lag 2"]
        self.sentinels: list[RedisNode] = []

    @property
    def url(self) -> str:
        """What `REDIS_URL` is to be."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER_NAME}"

    def _start(self) -> None:
        binary = server_binary()
        first, *others = free_ports(1 + self._replicas)
        self.nodes.append(self._run("data-0", first, self._settings, binary=binary))
        for number, port in enumerate(others, start=1):
            settings = [*self._settings, f"replicaof 127.0.0.1 {first}"]
            self.nodes.append(self._run(f"data-{number}", port, settings, binary=binary))
        watched = [
            f"sentinel monitor {MASTER_NAME} 127.0.0.1 {first} 2",
            f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER_NAME} 10000",
            f"sentinel parallel-syncs {MASTER_NAME} 1",
        ]
        for number, port in enumerate(free_ports(3)):
            self.sentinels.append(self._run(f"sentinel-{number}", port, watched, binary=binary, sentinel=True))
        until(self._complete, "every Sentinel knows all replicas and the other two Sentinels")

    def _complete(self) -> bool:
        for sentinel in self.sentinels:
            known = _pairs(sentinel.ask("SENTINEL", "MASTER", MASTER_NAME))
            if (known["num-slaves"], known["num-other-sentinels"]) != (str(self._replicas), "2"):
                return False
        replication = _pairs_of_info(self.nodes[0].ask("INFO", "replication"))
        return replication["connected_slaves"] == str(self._replicas)

    def master(self) -> RedisNode:
        """The server that most Sentinels call the master now."""
        votes: list[int] = []
        for sentinel in self.sentinels:
            if sentinel.is_up():
                address = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
                assert isinstance(address, list)
                votes.append(int(str(address[1])))
        port = max(votes, key=votes.count)
        return next(node for node in self.nodes if node.port == port)

    def wait_for_master(self, *, other_than: RedisNode, patience: float = 20.0) -> RedisNode:
        """Wait until another server than that one is master and says so itself; that server."""

        def promoted() -> RedisNode | None:
            node = self.master()
            return node if node is not other_than and node.role() == "master" else None

        return until(promoted, "a replica is promoted", patience)


class ClusterSet(_Servers):
    """A Redis Cluster of three masters, each with as many replicas as asked for.

    Args:
        replicas: for each master, 0 or 1.
        append_only: servers keep an append-only file.

    Attributes:
        nodes: the masters as they were at first, then their replicas in the same order.
    """

    MASTERS: Final = 3

    def __init__(self, replicas: int = 0, *, append_only: bool = False) -> None:
        super().__init__()
        self._replicas = replicas
        self._append_only = append_only

    @property
    def url(self) -> str:
        """What `REDIS_URL` is to be; two of the nodes, the rest is found."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        return f"redis+cluster://{hosts}"

    def _start(self) -> None:
        binary = server_binary()
        number = self.MASTERS * (1 + self._replicas)
        ports = free_ports(2 * number)
        for index, (port, bus_port) in enumerate(zip(ports[:number], ports[number:], strict=True)):
            settings = [
                "cluster-enabled yes",
                f"cluster-port {bus_port}",
                f"cluster-node-timeout {NODE_TIMEOUT_MS}",
                "cluster-announce-ip 127.0.0.1",
                "repl-diskless-sync-delay 0",
                *_persistence(append_only=self._append_only),
            ]
            self.nodes.append(self._run(f"node-{index}", port, settings, binary=binary))
        first, masters = self.nodes[0], self.nodes[: self.MASTERS]
        for port, bus_port in zip(ports[1:number], ports[number + 1 :], strict=True):
            first.ask("CLUSTER", "MEET", "127.0.0.1", str(port), str(bus_port))
        share = SLOTS // self.MASTERS
        for index, node in enumerate(masters):
            last = SLOTS - 1 if index == self.MASTERS - 1 else (index + 1) * share - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", str(index * share), str(last))
        until(lambda: all(self._sees_all(node) for node in self.nodes), "every node knows every other")
        for index, node in enumerate(self.nodes[self.MASTERS :]):
            node.ask("CLUSTER", "REPLICATE", str(masters[index % self.MASTERS].ask("CLUSTER", "MYID")))
        until(lambda: all(self._is_well(node) for node in self.nodes), "the cluster is well")

    def _sees_all(self, node: RedisNode) -> bool:
        return _pairs_of_info(node.ask("CLUSTER", "INFO"))["cluster_known_nodes"] == str(len(self.nodes))

    def _is_well(self, node: RedisNode) -> bool:
        if _pairs_of_info(node.ask("CLUSTER", "INFO"))["cluster_state"] != "ok":
            return False
        replication = _pairs_of_info(node.ask("INFO", "replication"))
        if node in self.nodes[: self.MASTERS]:
            return replication["connected_slaves"] == str(self._replicas)
        return replication.get("master_link_status") == "up"

    def owner(self, key: str) -> RedisNode:
        """The master that owns a key's slot now, as most of the living nodes see it."""
        views: list[int] = []
        for node in self.nodes:
            if not node.is_up():
                continue
            slot = int(str(node.ask("CLUSTER", "KEYSLOT", key)))
            ranges = node.ask("CLUSTER", "SLOTS")
            assert isinstance(ranges, list)
            views += [_port_of_master(row) for row in ranges if _covers(row, slot)]
        port = max(views, key=views.count)
        return next(node for node in self.nodes if node.port == port)

    def wait_for_owner(self, key: str, *, other_than: RedisNode, patience: float = 30.0) -> RedisNode:
        """Wait until another node than that one owns a key and says so itself; that node."""

        def promoted() -> RedisNode | None:
            node = self.owner(key)
            return node if node is not other_than and node.role() == "master" else None

        return until(promoted, f"another node owns {key}", patience)

    def begin_move(self, key: str) -> tuple[RedisNode, RedisNode]:
        """Have a key's slot on its way from its owner to another master: both. What is not there yet is at neither."""
        source = self.owner(key)
        target = next(node for node in self.nodes if node is not source and node.role() == "master")
        slot = str(source.ask("CLUSTER", "KEYSLOT", key))
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", str(source.ask("CLUSTER", "MYID")))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", str(target.ask("CLUSTER", "MYID")))
        return source, target

    def move_slot(self, key: str) -> RedisNode:
        """Hand a key's slot and all that it holds to another master; that master."""
        source, target = self.begin_move(key)
        slot, target_id = str(source.ask("CLUSTER", "KEYSLOT", key)), str(target.ask("CLUSTER", "MYID"))
        held = source.ask("CLUSTER", "GETKEYSINSLOT", slot, "1000")
        assert isinstance(held, list)
        for name in held:
            source.ask("MIGRATE", "127.0.0.1", str(target.port), str(name), "0", "2000")
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        return target

    def wait_until_well(self, patience: float = 30.0) -> None:
        """Wait until every running node calls the cluster well."""
        running = [node for node in self.nodes if node.is_up()]

        def well() -> bool:
            return all(_pairs_of_info(node.ask("CLUSTER", "INFO"))["cluster_state"] == "ok" for node in running)

        until(well, "the cluster is well again", patience)


class TlsServer(_Servers):
    """One server that speaks only TLS, with an ACL user of its own and the default user off.

    Args:
        rights: of the user, in the words of ACL SETUSER.

    Attributes:
        files: its CA and certificate.

    Raises:
        TlsMissingError: on entering, where no installed server was built with TLS.
    """

    USER: Final = "tickwire"
    PASSWORD: Final = "a password: with / and @"

    def __init__(self, rights: str = "~* &* +@all") -> None:
        super().__init__()
        self._rights = rights
        self.files = TlsFiles(self.directory)

    @property
    def url(self) -> str:
        """What `REDIS_URL` is to be."""
        return self.url_with(self.PASSWORD)

    def url_with(self, password: str, ca: Path | None = None) -> str:
        """The same with another password, or another certificate authority."""
        login = f"{self.USER}:{quote(password, safe='')}"
        return f"rediss://{login}@127.0.0.1:{self.nodes[0].port}?ssl_ca_certs={quote(str(ca or self.files.ca))}"

    def _start(self) -> None:
        self.files.write()
        (port,) = free_ports(1)
        settings = [
            f"tls-port {port}",
            f"tls-cert-file {self.files.certificate}",
            f"tls-key-file {self.files.key}",
            f"tls-ca-cert-file {self.files.ca}",
            "tls-auth-clients no",
            "user default off",
            f'user {self.USER} on ">{self.PASSWORD}" {self._rights}',
        ]
        self.nodes.append(self._run("tls", port, settings, binary=_binary_with_tls()))


def _binary_with_tls() -> Path:
    named = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    candidates = [server_binary(), *(Path(found) for found in named if found)]
    for binary in candidates:
        with tempfile.TemporaryDirectory() as directory:  # it refuses either the option or the missing certificate
            said = subprocess.run(
                [str(binary), "--port", "0", "--tls-port", "1", "--dir", directory, "--tls-cert-file", "/nowhere"],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        if "TLS support" not in said.stdout + said.stderr and "Bad directive" not in said.stderr:
            return binary
    raise TlsMissingError("no server here was built with TLS: apt-get install redis-server")


def _persistence(*, append_only: bool) -> list[str]:
    return ["appendonly yes", "appendfsync everysec"] if append_only else ["appendonly no"]


def _covers(row: Reply, slot: int) -> bool:
    assert isinstance(row, list)
    return int(str(row[0])) <= slot <= int(str(row[1]))


def _port_of_master(row: Reply) -> int:
    assert isinstance(row, list)
    assert isinstance(row[2], list)
    return int(str(row[2][1]))


def _pairs(reply: object) -> dict[str, str]:
    assert isinstance(reply, list), reply
    return dict(zip(map(str, reply[::2]), map(str, reply[1::2]), strict=True))


def _pairs_of_info(reply: object) -> dict[str, str]:
    return dict(line.split(":", 1) for line in str(reply).splitlines() if ":" in line)
