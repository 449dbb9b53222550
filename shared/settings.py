"""Settings: frozen dataclasses read once from the environment, all wrong ones reported together.

A service declares its settings as a dataclass whose fields are made by `setting`; the field's name in capitals is the
variable's. The same declarations print `tickwire settings` and the README's table, so neither can go stale.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from shared.names import settings as names
from shared.redis_url import parse_redis_url

_META: Final = "tickwire"

_ALIKE: Final = 0.85
"""Two names that are so much alike (`difflib`) are taken for one of them misspelt."""

_FROM_KUBERNETES: Final = re.compile(r".*_SERVICE_(HOST|PORT)(_.*)?|.*_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
"""What each pod gets for each Service of its namespace, whatever the Service is called (`enableServiceLinks`) ..."""

_SERVICE_ADDRESS: Final = ("tcp://", "udp://", "sctp://")
"""... with how the value of one more begins, `{SERVICE}_PORT`."""

_KUBERNETES_HINT: Final = "; Kubernetes sets it for a Service of this name: `enableServiceLinks: false` stops that"

T = TypeVar("T")

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Shards = Annotated[int, msgspec.Meta(ge=1, le=1024)]
InstanceId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]
TradeShards = Annotated[int, msgspec.Meta(ge=1, le=64)]
"""Each shard adds 18 characters to the cursor that every trade carries."""


class SettingsError(Exception):
    """What is wrong with the environment: one sentence a variable, each beginning with its name."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True, slots=True)
class SettingInfo:
    """One row of the table that `tickwire settings` prints."""

    name: str
    default: str
    unit: str
    meaning: str
    services: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Meta:
    meaning: str
    unit: str
    shown_default: str | None


def setting(default: Any, meaning: str, unit: str = "", shown_default: str | None = None) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Declare one setting: its default (any field type), what it means, its unit, how to print the default."""
    return dataclasses.field(default=default, metadata={_META: _Meta(meaning, unit, shown_default)})


def load(kind: type[T], environment: Mapping[str, str]) -> T:
    """Read the dataclass `kind` from the environment. An empty variable counts as absent.

    A tuple is written with commas. A dataclass that has a method `problems() -> list[str]` can refuse combinations.

    Raises:
        SettingsError: with every problem of every variable.
    """
    made, problems = _read(kind, environment)
    if problems:
        raise SettingsError(problems)
    return made


def load_all(
    environment: Mapping[str, str], *kinds: type[Any], check: Callable[..., Iterable[str]] | None = None
) -> tuple[Any, ...]:
    """Read several dataclasses, reporting what is wrong with any of them together, unknown variables too.

    `check` is called with all but the first of them, for what they must not be together.
    """
    read = [_read(kind, environment) for kind in kinds]
    loaded = tuple(made for made, _ in read)
    found = [problem for _, problems in read for problem in problems]
    if check is not None:
        found += check(*loaded[1:])
    found += unknown_settings(environment, {row.name for kind in kinds for row in describe(kind)})
    if found:
        raise SettingsError(list(dict.fromkeys(found)))
    return loaded


def unknown_settings(environment: Mapping[str, str], declared: Iterable[str] = ()) -> list[str]:
    """Variables that are no settings and were meant to be, with what they may have meant; their values are not told.

    Meant to be is what is nearly a setting that is not set, and whatever begins as our own do (`names.OUR_PREFIXES`).
    """
    known = names.ALL | frozenset(declared)
    missing = [name for name in sorted(known) if not environment.get(name)]
    found = []
    for name, value in environment.items():
        if not value.strip() or name in known:
            continue
        if _FROM_KUBERNETES.fullmatch(name) or value.startswith(_SERVICE_ADDRESS):
            continue
        ours = name.startswith(names.OUR_PREFIXES)
        alike = difflib.get_close_matches(name, known if ours else missing, n=1, cutoff=0.6 if ours else _ALIKE)
        if ours or alike:
            found.append(f"{name}: unknown setting" + (f", did you mean {alike[0]}?" if alike else ""))
    return found


def describe(kind: type[Any]) -> list[SettingInfo]:
    """The rows of one dataclass, in the order in which they are declared."""
    rows = []
    for field in dataclasses.fields(kind):
        meta: _Meta = field.metadata[_META]
        rows.append(SettingInfo(field.name.upper(), _default_text(field.default, meta), meta.unit, meta.meaning))
    return rows


def _read(kind: type[T], environment: Mapping[str, str]) -> tuple[T, list[str]]:
    """A dataclass, its defaults in the place of what is wrong, and everything that is wrong."""
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, object] = {}
    problems: list[str] = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # a type variable cannot say "dataclass"
        name = field.name.upper()
        text = environment.get(name, "").strip()
        if not text:
            continue
        try:
            values[field.name] = _convert(text, hints[field.name])
        except msgspec.ValidationError as error:
            hint = _KUBERNETES_HINT if text.startswith(_SERVICE_ADDRESS) else ""
            problems.append(f"{name}={_shown(name, text)}: {_plain(error, hints[field.name])}{hint}")
    made = kind(**values)
    check = getattr(made, "problems", None)
    return made, problems + (check() if check is not None else [])


def _default_text(default: object, meta: _Meta) -> str:
    if meta.shown_default is not None:
        return meta.shown_default
    if isinstance(default, tuple):
        return ",".join(str(item) for item in default)
    if isinstance(default, bool):
        return str(default).lower()
    return str(default)


def _convert(text: str, kind: Any) -> object:  # noqa: ANN401 - a type expression
    plain = getattr(kind, "__origin__", None)
    if plain is tuple:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return msgspec.convert(parts, kind, strict=False)
    return msgspec.convert(text, kind, strict=False)


def _plain(error: msgspec.ValidationError, kind: Any) -> str:  # noqa: ANN401 - a type expression
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return str(error).split(" - at ", 1)[0].replace("`", "")


def _shown(name: str, text: str) -> str:
    return "***" if "SECRET" in name or "URL" in name else repr(text)


@dataclasses.dataclass(frozen=True, slots=True)
class CommonSettings:
    """What every service reads."""

    redis_url: str = setting(
        "redis://127.0.0.1:6379",
        "Redis or Valkey: `redis://`, `rediss://` (TLS), `unix://`, `redis+sentinel://host,host/master-name` or "
        "`redis+cluster://host,host`; unset in `tickwire up`: an embedded one",
    )
    ops_port: Port = setting(9090, "port of `/livez`, `/readyz` and `/metrics`; 0 picks a free one")
    ops_host: str = setting("0.0.0.0", "address of that port")  # noqa: S104 - inside a pod; the port is never routed
    price_shards: Shards = setting(16, "Pub/Sub channels that symbols are spread over; the same in the whole cluster")
    trade_shards: TradeShards = setting(4, "trade logs that symbols are spread over; the same in the whole cluster")
    candle_grace_ms: NotNegative = setting(
        500, "a candle is announced as closed so long after its end; what comes later revises it", "ms"
    )
    instance_id: InstanceId = setting(
        "",
        "begins `service.instance.id` of logs and the name in reports, in Kubernetes the pod's name; each process adds "
        "letters of its own, because what a container wrote outlives its restart in the same pod",
        shown_default="the service's name",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "least severe log line that is written")
    log_format: Literal["json", "console"] = setting("json", "`json` for machines, `console` for people")

    def problems(self) -> list[str]:
        """An address that cannot be one. What it holds is not repeated: there may be a password in it."""
        try:
            parse_redis_url(self.redis_url)
        except ValueError as error:
            return [f"REDIS_URL: {error}"]
        return []
