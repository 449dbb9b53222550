"""The project's own Python files, for the tests that judge how they are written."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ("protocol", "shared", "services")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def python_files(*folders: str) -> Iterator[Path]:
    """Every Python file below these folders, relative to the root, in order; nothing that was installed."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "node_modules" not in path.parts and ".venv" not in path.parts:
                yield path.relative_to(ROOT)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file given relative to the root."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


def docstring(node: ast.AST) -> ast.Constant | None:
    """The docstring of a module, class or function."""
    if isinstance(node, Documented) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return first.value
    return None


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def has_logic(tree: ast.Module) -> bool:
    """Whether a file has a function with a body: more than a docstring, an interface's `...` or a `raise`."""
    return any(len(node.body) > (docstring(node) is not None) for node in functions(tree))
