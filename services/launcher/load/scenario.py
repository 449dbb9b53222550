"""What a load test does: read from a TOML file by name or path, with single values replaced from the command line.

Pure but for reading the file. Fed by `tests/load/scenarios/*.toml`; feeds `run`.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from services.launcher.errors import LauncherError

FOLDERS: Final = (Path(__file__).parent / "scenarios", Path(__file__).parents[3] / "tests" / "load" / "scenarios")
"""Where scenarios have names: in an installed package, and in a checkout."""

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

Kind = Literal["steady", "storm", "idle", "slow", "churn"]
Parser = Literal["json", "msgpack", "both"]


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One load test.

    Attributes:
        name: of the file.
        summary: one line for people.
        kind: `steady`: ticks at an even pace; `storm`: all drop and come back at once; `idle`: connections without
            subscriptions; `slow`: some stop reading; `churn`: all the time some leave a symbol and join another.
        clients: connections, all workers together.
        symbols: different ones that are published; client `n` takes the `symbols_per_client` after where `n - 1` ends.
        ticks_per_s: published, of all symbols together.
        seconds: of measuring.
        warm_s: of the same load before it, not measured.
        ramp_per_s: connections begun a second.
        parser: what clients speak; `both`: each second one msgpack.
        deliver: option of the subscriptions.
        workers: processes of the generator.
        slow_share: of the clients, of kind `slow`.
        churn_per_s: changes of subscription a second, of kind `churn`.
        patience_s: longest wait for all clients to be served, in the ramp and in the storm.
    """

    name: str = ""
    summary: str = ""
    kind: Kind = "steady"
    clients: Count = 500
    symbols: Count = 200
    symbols_per_client: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 20
    ticks_per_s: Rate = 1000.0
    seconds: Seconds = 10.0
    warm_s: Seconds = 1.0
    ramp_per_s: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 500.0
    parser: Parser = "json"
    deliver: Literal["update", "batch"] = "update"
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    slow_share: Share = 0.0
    churn_per_s: Rate = 0.0
    patience_s: Seconds = 60.0

    def symbol_names(self) -> list[str]:
        """What is published: names that no market has."""
        return [f"{SYMBOL_PREFIX}{number:05}" for number in range(self.symbols)]

    def symbols_of(self, client: int) -> list[str]:
        """What one client subscribes to; together they spread evenly."""
        first = client * self.symbols_per_client
        return [f"{SYMBOL_PREFIX}{(first + offset) % self.symbols:05}" for offset in range(self.symbols_per_client)]

    def is_slow(self, client: int) -> bool:
        """Whether one client stops reading; evenly spread."""
        return int((client + 1) * self.slow_share) > int(client * self.slow_share)

    def problems(self) -> list[str]:
        """What cannot be, each value alone being fine."""
        found = []
        if self.symbols_per_client > self.symbols:
            found.append(f"symbols_per_client = {self.symbols_per_client} is more than symbols = {self.symbols}")
        if self.kind == "slow" and not self.slow_share:
            found.append("kind = slow needs a slow_share above 0")
        if self.kind == "churn" and (not self.churn_per_s or self.symbols_per_client == self.symbols):
            found.append("kind = churn needs a churn_per_s above 0, and symbols that a client has not")
        return found


SYMBOL_PREFIX: Final = "LOAD-"


def load_scenario(name: str, changes: Mapping[str, object] | None = None) -> Scenario:
    """A scenario by name or path, with what `changes` says in place of what the file says.

    Raises:
        LauncherError: there is none, it is no TOML, or a value makes no sense; with the file, the key and the limit.
    """
    path = _find(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LauncherError(f"{path}: {error}", "a scenario is TOML: key = value") from error
    values.update(changes or {}, name=path.stem)
    try:
        scenario = msgspec.convert(values, Scenario)
    except msgspec.ValidationError as error:
        raise LauncherError(f"{path}: {error}", f"keys: {', '.join(sorted(Scenario.__struct_fields__))}") from error
    if problems := scenario.problems():
        raise LauncherError(f"{path}: {'; '.join(problems)}", "change the file, or give the options that do")
    return scenario


def names() -> list[str]:
    """Scenarios that need no path."""
    return sorted({path.stem for folder in FOLDERS for path in folder.glob("*.toml")})


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    for folder in FOLDERS:
        path = folder / f"{name}.toml"
        if path.is_file():
            return path
    raise LauncherError(f"no scenario is called {name!r}", f"there are {', '.join(names())}; or give a file, x.toml")
