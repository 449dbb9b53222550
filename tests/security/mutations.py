"""Takes protections out, one at a time, and sees that the tests of their threats fail.

    python -m tests.security.mutations            # all, about a quarter of an hour
    python -m tests.security.mutations T9 T20     # those of some rows

Works on a copy of the sources, so the checkout stays as it is. A mutation that no test notices is printed as SURVIVED
and makes the exit code 1: then a row of SECURITY.md promises what nothing proves.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from tests.security.mutants import MUTANTS, Mutant
from tests.support.source_tree import ROOT

SECONDS: Final = 180
COPIED: Final = ("protocol", "services", "shared", "tests", "deploy", "pyproject.toml", "README.md", "constraints.txt")
PASSED: Final = 0
FAILED: Final = 1


def copy_sources(target: Path) -> None:
    """The sources in a place of their own; what was installed for Node is linked, not copied."""
    left_out = shutil.ignore_patterns("node_modules", "__pycache__", ".venv")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=left_out)
        elif source.exists():
            shutil.copy(source, target / name)
    modules = ROOT / "tests/interop/node_modules"
    if modules.exists():
        (target / "tests/interop/node_modules").symlink_to(modules)


def run_tests(tree: Path, tests: tuple[str, ...]) -> tuple[int | None, str]:
    """What pytest said, and the end of its output; None where it took too long."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        ended = subprocess.run(
            words,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},  # before what is installed, in services that tests start too
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, "took too long"
    return ended.returncode, "\n".join(ended.stdout.splitlines()[-5:])


def survives(tree: Path, mutant: Mutant) -> str:
    """Why a mutant is not dead; nothing when its tests failed."""
    path = tree / mutant.path
    before = path.read_text(encoding="utf-8")
    if before.count(mutant.old) != 1:
        return f"{mutant.path} has {before.count(mutant.old)} times {mutant.old!r}"
    path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code, said = run_tests(tree, mutant.tests)
    finally:
        path.write_text(before, encoding="utf-8")
    return "" if code in (FAILED, None) else f"SURVIVED (pytest {code}): {said}"


def main() -> None:
    """Run what was asked for, print a table, exit 1 where something survived."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("threats", nargs="*", help="rows, such as T9; all if none is named")
    wanted = set(arguments.parse_args().threats)
    chosen = [mutant for mutant in MUTANTS if not wanted or mutant.threat in wanted]
    console = Console()
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="tickwire-mutations-") as directory:
        tree = Path(directory)
        copy_sources(tree)
        for mutant in track(chosen, "taking protections out", console=Console(stderr=True)):
            why = survives(tree, mutant)
            survivors += bool(why)
            console.print(f"{mutant.threat:4} {why or 'noticed'}  {mutant.title}", soft_wrap=True, markup=False)
    console.print(f"{len(chosen) - survivors} of {len(chosen)} noticed")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
