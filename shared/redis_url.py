"""What `REDIS_URL` may say: one server, Sentinels that know the master, or some nodes of a Redis Cluster.

    redis://[user:password@]host[:port][/db]     rediss://...     unix://[user:password@]/path/of/socket
    redis+sentinel://[user:password@]host[:port][,host[:port]...]/master-name[/db]     rediss+sentinel://...
    redis+cluster://[user:password@]host[:port][,host[:port]...]     rediss+cluster://...

The double s is TLS. Options after `?`: `OPTIONS`. Read by `shared.settings`, which refuses a wrong one at the start,
and by `shared.bus`. Nothing that is raised here repeats what the URL holds: there may be a password in it.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

Mode: TypeAlias = Literal["plain", "sentinel", "cluster"]
Address: TypeAlias = tuple[str, int]

SCHEMES: Final[dict[str, Mode]] = {
    "redis": "plain",
    "rediss": "plain",
    "unix": "plain",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}

OPTIONS: Final = (
    "db",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_keyfile",
    "sentinel_username",
    "sentinel_password",
)

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_PORT_TEXT: Final = "the port is no number from 0 to 65535; write `/`, `:`, `@`, `#` in a password as %2F ..."


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """One URL, taken apart.

    Attributes:
        mode: what the addresses are: the server, Sentinels, or nodes of a cluster.
        addresses: at least one, except for a Unix socket.
        scheme: with which the client library reaches a server: `redis`, `rediss` or `unix`.
        login: `user:password@` as it was written, or nothing.
        sentinel_login: the same for the Sentinels themselves.
        path: `/` and the database, or the path of the Unix socket.
        query: options for the client library.
        master: name under which Sentinels know the master.
    """

    mode: Mode
    addresses: tuple[Address, ...]
    scheme: str
    login: str
    sentinel_login: str
    path: str
    query: str
    master: str

    @property
    def where(self) -> str:
        """Where Redis was looked for, for people; without a login."""
        return ", ".join(shown(address) for address in self.addresses) or self.path

    def of_server(self, address: Address) -> str:
        """The client library's URL of a data server."""
        return f"{self.scheme}://{self.login}{shown(address)}{self.path}{self.query}"

    def of_sentinel(self, address: Address) -> str:
        """The client library's URL of a Sentinel."""
        return f"{self.scheme}://{self.sentinel_login}{shown(address)}{self.query}"

    def of_socket(self) -> str:
        """The client library's URL of a server on a Unix socket."""
        return f"{self.scheme}://{self.login}{self.path}{self.query}"


def shown(address: Address) -> str:
    """An address as it stands in a URL."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_redis_url(text: str) -> RedisUrl:
    """Take a URL apart.

    Raises:
        ValueError: it cannot be one of ours, in words that repeat nothing of it.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("an address in brackets is no IPv6 address") from None
    mode = SCHEMES.get(parts.scheme)
    if mode is None:
        raise ValueError(f"does not begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    options, sentinel_login = _options(parts)
    login, at, hosts = parts.netloc.rpartition("@")
    login += at
    query = f"?{urlencode(options)}" if options else ""
    scheme = parts.scheme.partition("+")[0]
    if scheme == "unix":
        return RedisUrl(mode, (), scheme, login, "", parts.path, query, "")
    port = SENTINEL_PORT if mode == "sentinel" else PORT
    addresses = tuple(_address(host, port) for host in hosts.split(","))
    if mode == "plain" and len(addresses) > 1:
        raise ValueError("names several servers: write redis+sentinel:// or redis+cluster://")
    master, path = _path(mode, parts.path)
    return RedisUrl(mode, addresses, scheme, login, sentinel_login, path, query, master)


def _options(parts: SplitResult) -> tuple[dict[str, str], str]:
    options = dict(parse_qsl(parts.query))
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise ValueError(f"has an option that is not one of {', '.join(OPTIONS)}")
    user, password = options.pop("sentinel_username", ""), options.pop("sentinel_password", "")
    return options, f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""


def _address(text: str, port: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        written = parts.port
    except ValueError:
        raise ValueError(_PORT_TEXT) from None
    return parts.hostname or "localhost", port if written is None else written


def _path(mode: Mode, path: str) -> tuple[str, str]:
    """Name of the master, and the path that names the database."""
    master = ""
    if mode == "sentinel":
        master, _, database = path.removeprefix("/").partition("/")
        path = f"/{database}" if database else ""
        if not master:
            raise ValueError("lacks the master's name: redis+sentinel://host:26379,.../master-name")
    database = path.strip("/")
    if database and not database.isdecimal():
        raise ValueError("the database after the last / is no number")
    if mode == "cluster" and database not in ("", "0"):
        raise ValueError("names a database, and a Redis Cluster has only 0")
    return unquote(master), path
