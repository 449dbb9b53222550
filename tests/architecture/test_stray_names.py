"""Names that cross a process stand in `shared/names` alone, and some things are never written anywhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from shared.names import close_reasons, events, metrics, redis_keys
from shared.names.metrics import MetricDef
from tests.support.source_tree import ROOT, SOURCES, docstring, parse, python_files

PLAIN_WORDS: Final = {
    "error",
    "metrics",
    "hello",
    "authenticate",
    "authenticated",
    "admin",
    "/",
    "owner",
    "link",
    "cursor",
}
"""Names that are also words of their own: a log level, a service, a folder, an attribute."""

SERVICES: Final = {"gateway", "price-ingest", "trade-notifier", "metrics"}
"""The consumer group has the name of its service."""

PREFIXES: Final = ("md:", "svc:", "dead:", "log:{", "feed:", "price:", "trades:", "trade:", "user:", "chart:")
METRIC_PREFIXES: Final = ("tickwire_", "websocket_")


def listed_names() -> set[str]:
    keys = {value for name, value in vars(redis_keys).items() if name.isupper() and isinstance(value, str)}
    rooms = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    emitted = {str(event) for event in (*events.ClientEvent, *events.ServerEvent)}
    defined = {value.name for value in vars(metrics).values() if isinstance(value, MetricDef)}
    reasons = {reason.text for reason in close_reasons.ALL}
    return (keys | rooms | emitted | defined | reasons) - PLAIN_WORDS - SERVICES


def literals(tree: ast.Module) -> Iterator[ast.Constant]:
    """The strings of a file, parts of f-strings too; neither docstrings nor the names of log events."""
    skipped = {id(docstring(node)) for node in ast.walk(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))  # what stands below a constant describes it
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "log":
                skipped.add(id(node.args[0]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node


def stray_names(tree: ast.Module, names: set[str]) -> list[str]:
    """Literals of a file that are, or begin, a name of the lists."""
    found = [str(node.value) for node in literals(tree)]
    begins = PREFIXES + METRIC_PREFIXES
    return [text for text in found if text in names or (text.startswith(begins) and " " not in text)]


def test_names_that_cross_a_process_stand_in_their_lists_alone() -> None:
    names = listed_names()
    stray = {
        str(path): found
        for path in python_files(*SOURCES)
        if path.parts[0] != "protocol"  # knows none of them: its own codes may sound like ours
        and path.parts[:2] != ("shared", "names")
        and (found := stray_names(parse(path), names))
    }
    assert stray == {}


@pytest.mark.parametrize(
    ("line", "stray"),
    [
        ('room = f"price:{symbol}"', ["price:"]),
        ('key = "feed:prices"', ["feed:prices"]),
        ('emit("trade:new")', ["trade:new"]),
        ('count("tickwire_anything_total")', ["tickwire_anything_total"]),
        ('end("slow_consumer")', ["slow_consumer"]),
        ('log.info("slow_consumer")', []),
        ('"""feed:prices"""', []),
        ('hint = "price: a number"', []),
    ],
)
def test_a_stray_name_is_found(line: str, stray: list[str]) -> None:
    assert stray_names(ast.parse(line), listed_names()) == stray


def test_scripts_get_their_keys_from_the_caller() -> None:
    scripts = sorted((ROOT / "shared/bus/lua").glob("*.lua"))
    assert scripts
    stray = re.compile("|".join(rf"""["']{re.escape(prefix)}""" for prefix in PREFIXES))
    assert [script.name for script in scripts if stray.search(script.read_text(encoding="utf-8"))] == []


UNSAFE: Final = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}


def test_nothing_is_ever_unpickled() -> None:
    found = []
    for path in python_files(*SOURCES, "tests"):
        for node in ast.walk(parse(path)):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            elif isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name):
                modules = ["pickle"] if node.value.id == "yaml" else []
            found += [f"{path} {module}" for module in modules if module.split(".")[0] in UNSAFE]
    assert found == []


def broad_handlers(path: Path) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds):
                yield node


def test_whoever_catches_everything_says_why() -> None:
    without_reason = []
    for path in python_files(*SOURCES, "tests"):
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        for handler in broad_handlers(path):
            comment = lines[handler.lineno - 1].partition("#")[2]
            reason = re.sub(r"noqa: [A-Z0-9, ]+", "", comment).strip(" -#")
            if handler.type is None or not reason:
                without_reason.append(f"{path}:{handler.lineno}")
    assert without_reason == []
