"""Takes protections out, one at a time, and sees that the tests of their threats fail.

    python -m tests.security.mutations            # all: about ten minutes on two idle cores, twice that on busy ones
    python -m tests.security.mutations T9 T20     # those of some rows

Works on a copy of the sources, so the checkout stays as it is. First the tests are run with every protection in its
place. A mutation whose test fails or is skipped already then is printed as UNPROVEN, one that no test notices as
SURVIVED. Both make the exit code 1: a row of SECURITY.md promises what nothing proves, at least not here.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.security.mutant import Mutant
from tests.security.mutants import MUTANTS
from tests.support.source_tree import ROOT

SECONDS: Final = 180
"""For the tests of one mutant."""

ALL_SECONDS: Final = 1_800
"""For all tests, each of them once."""

COPIED: Final = ("protocol", "services", "shared", "tests", "deploy", "pyproject.toml", "README.md", "constraints.txt")
NOTICED: Final = "noticed"
UNPROVEN: Final = "UNPROVEN"
SURVIVED: Final = "SURVIVED"
FAILED: Final = 1
"""What pytest exits with where tests failed."""

_OUTCOME: Final = re.compile(r"^(PASSED|FAILED|ERROR) (\S+::.*?)(?: - .*)?$", re.MULTILINE)
"""A line of pytest's summary."""

_REASON: Final = re.compile(r"^FAILED .*? - (.*)$", re.MULTILINE)


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


def run_tests(tree: Path, tests: Iterable[str], *options: str, seconds: int = SECONDS) -> tuple[int | None, str]:
    """What pytest exits with and its output; None where it took too long."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *tests]
    try:
        ended = subprocess.run(
            words,
            cwd=tree,
            env={**os.environ, "COLUMNS": "300", "PYTHONPATH": str(tree)},  # the copy, in services that tests start too
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, "took too long"
    return ended.returncode, ended.stdout


def proven(tree: Path, tests: Iterable[str]) -> set[str]:
    """The tests that pass as things are, named as they are here: each ran, and nothing of it failed or was skipped."""
    wanted = sorted(set(tests))
    _, said = run_tests(tree, wanted, "-rfEp", seconds=ALL_SECONDS)
    outcomes = _OUTCOME.findall(said)
    good: set[str] = set()
    for test in wanted:
        found = {outcome for outcome, name in outcomes if name == test or name.startswith((f"{test}[", f"{test}::"))}
        if found == {"PASSED"}:
            good.add(test)
    return good


def verdict(tree: Path, mutant: Mutant) -> tuple[str, str]:
    """Whether the tests of a mutant notice it, and what they said."""
    path = tree / mutant.path
    before = path.read_text(encoding="utf-8")
    if before.count(mutant.old) != 1:
        return UNPROVEN, f"{mutant.path} has {before.count(mutant.old)} times {mutant.old!r}"
    path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code, said = run_tests(tree, mutant.tests, "-x", "-rfE")
    finally:
        path.write_text(before, encoding="utf-8")
    if code is None:
        return NOTICED, said
    if code == FAILED and "\nERROR " not in said:  # a service that does not even start proves nothing
        reason = _REASON.search(said)
        return NOTICED, reason[1] if reason else ""
    return SURVIVED, f"pytest exits with {code}: {' '.join(said.splitlines()[-3:])}"


def report(console: Console, found: Counter[tuple[str, str]]) -> None:
    """A row for each threat."""
    table = Table("threat", NOTICED, UNPROVEN, SURVIVED)
    for threat in dict.fromkeys(threat for threat, _ in found):
        table.add_row(threat, *(str(found[threat, kind]) for kind in (NOTICED, UNPROVEN, SURVIVED)))
    console.print(table)


def main() -> None:
    """Run what was asked for, print a table, exit 1 where anything but noticed was found."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("threats", nargs="*", help="rows, such as T9; all if none is named")
    wanted = set(arguments.parse_args().threats)
    chosen = [mutant for mutant in MUTANTS if not wanted or mutant.threat in wanted]
    console = Console()
    found: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="tickwire-mutations-") as directory:
        tree = Path(directory)
        copy_sources(tree)
        console.print("The tests as they are ...")
        good = proven(tree, (test for mutant in chosen for test in mutant.tests))
        for mutant in track(chosen, "taking protections out", console=Console(stderr=True)):
            missing = [test for test in mutant.tests if test not in good]
            kind, why = (
                (UNPROVEN, f"does not pass as it is: {', '.join(missing)}") if missing else verdict(tree, mutant)
            )
            found[mutant.threat, kind] += 1
            console.print(f"{mutant.threat:4} {kind:8}  {mutant.title}: {why}", soft_wrap=True, markup=False)
    report(console, found)
    noticed = sum(count for (_, kind), count in found.items() if kind == NOTICED)
    console.print(f"{noticed} of {len(chosen)} noticed")
    sys.exit(0 if noticed == len(chosen) else 1)


if __name__ == "__main__":
    main()
