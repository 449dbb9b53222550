"""Which server is loaded: its address read, and refused unless it is one's own.

Fed by the command line; feeds `run`.
"""

import ipaddress
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from services.launcher.errors import LauncherError


@dataclass(frozen=True, slots=True)
class Target:
    """One server.

    Attributes:
        url: as it was given.
        host, port: to connect to; the host is an IP address.
        publisher: command line of the process that publishes ticks; see `publish` for what is said to it.
        watched: name -> pid of processes whose cost is measured; the first is the server.
    """

    url: str
    host: str
    port: int
    publisher: tuple[str, ...]
    watched: dict[str, int] = field(default_factory=dict)


def resolve(url: str, *, anywhere: bool = False) -> tuple[str, int]:
    """The address and port behind a URL.

    Args:
        url: `http://host:port`.
        anywhere: the user says that the server is theirs, wherever it is.

    Raises:
        LauncherError: no such URL or host, or an address that is neither loopback nor private.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or 80
    except ValueError as error:
        raise LauncherError(f"--url {url!r}: {error}", "write http://host:port") from error
    if parts.scheme not in {"http", "ws"} or not parts.hostname:
        raise LauncherError(f"--url {url!r} is no plain HTTP address", "write http://host:port; TLS is not spoken here")
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LauncherError(f"--url {url!r}: {error}", "check the host's name") from error
    addresses = sorted({str(entry[4][0]) for entry in found}, key=lambda text: ":" in text)  # IPv4 first
    foreign = [text for text in addresses if not _is_ours(text)]
    if foreign and not anywhere:
        raise LauncherError(
            f"{foreign[0]} is neither a loopback nor a private address: a load test could take it down",
            "if the server is yours, say so with --i-own-this-server",
        )
    return addresses[0], port


def _is_ours(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return address.is_loopback or address.is_private or address.is_link_local
