"""The threat table of SECURITY.md: what could be done to a cluster, what is done about it, and the tests of each row.

A test names its rows by `@pytest.mark.threat("T7")`; `make test-security` runs those tests, and this reads the marks out of
the sources. `make test-mutations` takes protections out and sees the tests fail.
"""

# ruff: noqa: E501 - a row of a table stays on its line

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.source_tree import ROOT

SECURITY: Final = ROOT / "SECURITY.md"
BEGIN: Final = "<!-- table: threats -->\n"
END: Final = "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Threat:
    """One row.

    Attributes:
        number: as tests name it.
        title: what somebody could try.
        protection: what is done about it.
    """

    number: str
    title: str
    protection: str


THREATS: Final = (
    Threat("T1", "Code or nonsense in messages between services",
           "only JSON and msgpack, of fixed schemas and at most a fixed size; nothing is unpickled or evaluated; what does not fit is counted and dropped"),
    Threat("T2", "Binary attachments announced and never sent",
           "1 to 10, only after CONNECT, bounded in bytes and time, gone with the connection"),
    Threat("T3", "Placeholders and types that are not what they say",
           "placeholders are whole numbers in range, each once; event names and payloads are checked before a handler sees them"),
    Threat("T4", "Engine.IO requests out of order, doubled or half",
           "every request is judged by the reference server's rules, answered, and bounded; one poll and one POST at a time"),
    Threat("T5", "Guessed ids", "at least 15 random bytes of the system's source; a client's secret is never logged nor told to another"),
    Threat("T6", "Reserved and prototype-like names", "events are looked up in a fixed table, never by attribute; other names are an error"),
    Threat("T7", "Slow, long or endless request heads", "5 s, 16 KiB, 128 headers; half-open connections are counted, in all and by address"),
    Threat("T8", "Silence after the handshake", "a namespace within `CONNECT_TIMEOUT_MS`, at most 8 KiB before it"),
    Threat("T9", "Ping floods whose pongs nobody reads", "frames of all kinds are counted; what cannot be written is dropped, and so is the connection"),
    Threat("T10", "Fragment floods, messages without an end", "64 fragments, 10 s, and the frame count"),
    Threat("T11", "Compression bombs", "compression is off; where it is on, what a message inflates to is bounded while it does"),
    Threat("T12", "Floods of small valid messages", "buckets for each event, each connection and each user; one warning, then the end"),
    Threat("T13", "msgpack that nests or lies about its lengths", "bounds on depth, elements, lengths and types, before anything is made"),
    Threat("T14", "JSON that nests, NaN, numbers without end, broken text", "bounds on depth and elements; what cannot be written again is refused"),
    Threat("T15", "Tokens that choose their own algorithm", "one family for each key, by configuration; `none` is never accepted"),
    Threat("T16", "Weak secrets", "the length of the hash at least, no well-known examples, or the service does not start"),
    Threat("T17", "Token extensions and huge tokens", "`crit` and `b64` are refused, 4 KiB at most, revocation goes by claims"),
    Threat("T18", "Missing, mistyped or foreign claims", "`exp` and `sub` are required, `iss` and `aud` where configured, all of the right type, 10 s of leeway"),
    Threat("T19", "A key set that redirects, fails or is asked for without end", "one fixed https address, no redirects, the last good set is kept, one refresh in 30 s"),
    Threat("T20", "Tokens that end while connections last", "a deadline for each connection, `auth:expiring`, refresh in place; revocation reaches every gateway within seconds"),
    Threat("T21", "Tokens in addresses and logs", "accepted in `auth` and `authenticate` only; secrets are masked in every log line"),
    Threat("T22", "Other people's web pages", "`ALLOWED_ORIGINS`, exactly, on both transports; no cookie is a credential"),
    Threat("T23", "Requests smuggled past a proxy", "an upgrade with a body, two lengths or a second request is refused and the connection closed; ops are on another port"),
    Threat("T24", "Forged client addresses", "forwarded addresses count from `TRUSTED_PROXIES` only, from the right; they are never an identity"),
    Threat("T25", "Other people's rooms and data", "clients name symbols, never rooms; rights are checked for each item, on every way in and back"),
    Threat("T26", "Subscriptions without end", "a grammar, a catalogue, limits for a request, a connection and a user; what is not subscribed keeps no state"),
    Threat("T27", "Namespaces without end", "one namespace; three wrong ones end the connection"),
    Threat("T28", "Acks that are leaked or forged", "what the server awaits is bounded in number and time; unknown acks are ignored"),
    Threat("T29", "Readers who do not read", "newest prices instead of queues, a shared log window, byte bounds and a write deadline"),
    Threat("T30", "Everybody comes back at once", "a bucket of handshakes, 503 above it; one snapshot serves all"),
    Threat("T31", "Connections without end", "limits for an address, a user in the whole cluster, and a process; descriptors are kept in reserve"),
    Threat("T32", "Log floods and forged log lines", "one JSON line each, controls escaped, fields cut, repeats folded into a count"),
    Threat("T33", "Metric labels without end", "labels come from closed lists"),
    Threat("T34", "A service, or its Redis, in other hands", "one Redis user for each service with the least rights; minimum versions"),
    Threat("T35", "Replies that cross after a cancelled call", "a connection whose call was cancelled is thrown away"),
    Threat("T36", "Subscriptions that survive their end", "what is subscribed is compared with what is wanted after every reconnect"),
    Threat("T37", "Plain text on the way", "TLS ends at the ingress, or is spoken with Redis (`rediss://`); health and metrics have a port of their own"),
)  # fmt: skip


def marked() -> dict[str, list[str]]:
    """Number of a threat -> the tests that name it, as pytest does, without parameters."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, numbers in _marks(path):
            for number in numbers:
                found.setdefault(number, []).append(f"{path.relative_to(ROOT)}::{name}")
    return found


def table() -> str:
    """The rows, in Markdown."""
    tests = marked()
    lines = ["| # | threat | what is done | tests |", "|---|---|---|---|"]
    for threat in THREATS:
        names = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in tests.get(threat.number, []))
        lines.append(f"| {threat.number} | {threat.title} | {threat.protection} | {names} |")
    return "\n".join(lines)


def filled(text: str) -> str:
    """SECURITY.md with the table printed anew."""
    head, found, rest = text.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise ValueError("SECURITY.md has no table of threats")
    return f"{head}{BEGIN}{table()}\n{END}{tail}"


def _marks(path: Path) -> Iterator[tuple[str, list[str]]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    of_module: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(it, ast.Name) and it.id == "pytestmark" for it in node.targets
        ):
            of_module = [number for mark in _calls(node.value) for number in _threats(mark)]
    of_class = {
        id(test): [number for mark in node.decorator_list for number in _threats(mark)]
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for test in node.body
    }
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test_"):
            own = [number for mark in test.decorator_list for number in _threats(mark)]
            if numbers := [*of_module, *of_class.get(id(test), []), *own]:
                yield test.name, numbers


def _calls(value: ast.expr) -> list[ast.expr]:
    return value.elts if isinstance(value, ast.List | ast.Tuple) else [value]


def _threats(mark: ast.expr) -> list[str]:
    """The numbers in `pytest.mark.threat(...)`; none for anything else."""
    if not (isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.threat"):
        return []
    return [str(ast.literal_eval(number)) for number in mark.args]
