"""What `tickwire up` will run: commands, addresses, environment. Decided once, before anything starts.

Fed by the command line and the environment; feeds `up`.
"""

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from services.launcher.embedded_valkey import server_command
from services.launcher.errors import LauncherError
from services.launcher.leash import python_module
from services.launcher.ports import free_port, is_free
from services.launcher.processes import Command
from services.launcher.settings_table import SERVICES

DEFAULT_PORT: Final = 8080
REDIS_PORT: Final = 6379
DEFAULT_ISSUER: Final = "tickwire-up"
"""Who signs the tokens of a cluster on one machine, and whom they are for, where tokens are required."""

ANY_HOST: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound
_KEY_VARIABLES: Final = ("JWT_SECRET", "JWT_PUBLIC_KEY_FILE", "JWT_JWKS_URL")


class Feed(StrEnum):
    """Where prices come from."""

    SIMULATE = "simulate"
    REPLAY = "replay"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for.

    Attributes:
        feed: what publishes.
        feed_arguments: words after `tickwire feed simulate` or `tickwire feed replay`.
        gateways, notifiers: how many of each.
        port: of the first gateway; the others take the next ones; 0: free ones; None: `GATEWAY_PORT`, else 8080.
        redis_port: of the embedded Valkey; 0: a free one; None: 6379 if it is free.
        plain: lines instead of the board.
    """

    feed: Feed = Feed.SIMULATE
    feed_arguments: tuple[str, ...] = ()
    gateways: int = 1
    notifiers: int = 1
    port: int | None = None
    redis_port: int | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, in order of start.

    Attributes:
        valkey: the embedded server; None: `REDIS_URL` names another one.
        services: the four, each as often as wanted.
        feed: the demo feed, if any.
        redis_url: of the cluster.
        redis_cli: how `redis-cli` reaches it.
        gateways: URLs that clients connect to.
        environment: that every child gets, before its own additions.
    """

    valkey: Command | None
    services: tuple[Command, ...]
    feed: Command | None
    redis_url: str
    redis_cli: str
    gateways: tuple[str, ...]
    environment: Mapping[str, str]

    def setting(self, name: str) -> str:
        """A variable of the children; empty where it is not set."""
        return self.environment.get(name, "")

    @property
    def drain_s(self) -> float:
        """How long gateways take to let their clients go; a value that is no number ends them when they start."""
        value = self.setting("DRAIN_SECONDS")
        return float(value) if value.isdigit() else 0.0


def make_plan(options: Options, environment: Mapping[str, str], directory: Path) -> Plan:
    """Choose ports and write down every command.

    Args:
        options: of the command line.
        environment: ours; handed on, with what is missing for a cluster on one machine.
        directory: private; for Valkey's files, and with the board for the children's logs.

    Raises:
        LauncherError: a port is taken, a variable makes no sense, or there is no Valkey to run.
    """
    ours = _completed(environment, options)
    valkey, redis_url, redis_cli = _redis(options, ours, directory)
    ours["REDIS_URL"] = redis_url
    host = ours.get("GATEWAY_HOST", "")
    ports = _gateway_ports(options, ours.get("GATEWAY_PORT", ""), host)
    shown_host = "localhost" if host in ANY_HOST else f"[{host}]" if ":" in host else host
    return Plan(
        valkey=valkey,
        services=_services(options, ours, ports, directory),
        feed=_feed(options, ours, directory),
        redis_url=redis_url,
        redis_cli=redis_cli,
        gateways=tuple(f"http://{shown_host}:{port}" for port in ports),
        environment=ours,
    )


def log_path(name: str, options: Options, directory: Path) -> Path | None:
    """Where a child logs: a file of its own under the board, our own standard error without it."""
    return None if options.plain else directory / f"{name}.log"


def _completed(environment: Mapping[str, str], options: Options) -> dict[str, str]:
    ours = dict(environment)
    ours["OPS_PORT"] = "0"
    ours.setdefault("OPS_HOST", "127.0.0.1")
    ours["DRAIN_SECONDS"] = ours.get("DRAIN_SECONDS") or "0"  # all of the cluster goes: nobody has anywhere to go
    if not any(ours.get(name) for name in _KEY_VARIABLES):
        ours["JWT_SECRET"] = secrets.token_hex(64)  # long enough for each of its algorithms
    if ours.get("AUTH_MODE") == "required" and ours.get("JWT_SECRET"):
        for name in (
            "JWT_ISSUER",
            "JWT_AUDIENCE",
        ):  # demanded by gateways; `tickwire token` finds them in the run state
            ours[name] = ours.get(name) or DEFAULT_ISSUER
    if not ours.get("LOG_FORMAT"):
        ours["LOG_FORMAT"] = "json" if options.plain and not sys.stderr.isatty() else "console"
    return ours


def _redis(options: Options, environment: Mapping[str, str], directory: Path) -> tuple[Command | None, str, str]:
    """The embedded server if one is wanted, the URL, and how redis-cli reaches it."""
    url = environment.get("REDIS_URL", "")
    if url:
        if options.redis_port is not None:
            raise LauncherError(
                "--redis-port is for the embedded Valkey, but REDIS_URL names another server",
                "leave one of them out",
            )
        return None, url, _redis_cli(url)
    wanted = options.redis_port
    if wanted and not is_free(wanted, "127.0.0.1"):
        raise LauncherError(
            f"port {wanted} is taken, so no Valkey can listen there",
            f"to use the server that does: REDIS_URL=redis://127.0.0.1:{wanted} tickwire up; or --redis-port 0",
        )
    port = wanted or (REDIS_PORT if wanted is None and is_free(REDIS_PORT, "127.0.0.1") else free_port())
    files = directory / "valkey"
    files.mkdir()
    try:
        command = tuple(server_command(port, files))
    except RuntimeError as error:
        raise LauncherError("no Redis and no embedded Valkey", str(error)) from error
    valkey = Command("valkey", command, environment, directory / "valkey.log")  # no JSON: never among ours
    return valkey, f"redis://127.0.0.1:{port}", f"redis-cli -p {port}"


def _redis_cli(url: str) -> str:
    """How redis-cli, which knows one server or one node, reaches what the URL names."""
    scheme = url.partition("://")[0]
    if scheme.endswith("+cluster"):
        return "redis-cli -c -u <a node>"
    return "redis-cli -u <the master>" if scheme.endswith("+sentinel") else 'redis-cli -u "$REDIS_URL"'


def _gateway_ports(options: Options, variable: str, host: str) -> list[int]:
    first = options.port
    if first is None:
        if variable and not variable.isdigit():
            raise LauncherError(f"GATEWAY_PORT={variable!r} is no port", "unset it, or use --port")
        first = int(variable or DEFAULT_PORT)
    if first == 0:
        return [free_port() for _ in range(options.gateways)]
    ports = list(range(first, first + options.gateways))
    taken = [port for port in ports if not is_free(port, host)]
    if taken:
        raise LauncherError(
            f"port {', '.join(map(str, taken))} is taken, so no gateway can listen there",
            "stop what listens there, or choose another with --port; 0 takes any that is free",
        )
    return ports


def _services(
    options: Options, environment: Mapping[str, str], ports: list[int], directory: Path
) -> tuple[Command, ...]:
    several: list[tuple[str, str, dict[str, str]]] = [
        ("gateway", _numbered("gateway", number, len(ports)), {"GATEWAY_PORT": str(port)})
        for number, port in enumerate(ports, 1)
    ]
    several.append(("price-ingest", "price-ingest", {}))
    several += [
        ("trade-notifier", _numbered("trade-notifier", number, options.notifiers), {})
        for number in range(1, options.notifiers + 1)
    ]
    several.append(("metrics", "metrics", {}))
    return tuple(
        Command(name, tuple(python_module(SERVICES[kind])), {**environment, **own}, log_path(name, options, directory))
        for kind, name, own in several
    )


def _feed(options: Options, environment: Mapping[str, str], directory: Path) -> Command | None:
    if options.feed is Feed.NONE:
        return None
    words = (*python_module("services.launcher"), "feed", options.feed.value, *options.feed_arguments)
    finite = options.feed is Feed.REPLAY
    return Command("feed", words, environment, log_path("feed", options, directory), finite=finite, speaks=True)


def _numbered(name: str, number: int, count: int) -> str:
    return name if count == 1 else f"{name}-{number}"
