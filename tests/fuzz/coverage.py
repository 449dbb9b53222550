"""Let libFuzzer choose the inputs of the targets by the code that they reach (atheris).

    python -m tests.fuzz.coverage --target json|msgpack|...|all --seconds 300 [--keep FOLDER]

The packages of this repository and the libraries that read for it in Python are instrumented. Inputs that reached
something new are kept below `.fuzz/`, and are where the next run begins. An input that is a finding, takes too much CPU
or memory ends the run with an exit code other than 0, is kept beside them, and is printed as a Python literal.
"""

import argparse
import importlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

NAMES: Final = ("engineio", "json", "msgpack", "connection", "http", "websocket", "token", "upstream", "bus")
"""Of `targets.TARGETS`, which cannot be imported before what it imports is to be instrumented."""

INSTRUMENTED: Final = ["protocol", "services", "shared", "websockets", "jwt"]
KEPT: Final = Path(".fuzz")
LONGEST_INPUT: Final = 4_096
MEMORY_MB: Final = 1_024
MOST_CPU_S: Final = 1.0
"""For one input, instrumented; a few milliseconds are usual."""

STUCK_S: Final = 30
NOT_INSTALLED: Final = (
    "The fuzzer that goes by coverage needs atheris, which is not installed:\n"
    "  .venv/bin/python -m pip install -c constraints.txt -e '.[fuzz]'\n"
)


class SlowInput(Exception):  # noqa: N818  # it is a result, not an error of this program
    """An input that takes longer than any client's may."""


def watched(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, telling what it was given when something is wrong with it."""

    def look(data: bytes) -> None:
        began = time.process_time()
        try:
            run(data)
            if time.process_time() - began > MOST_CPU_S:
                raise SlowInput
        except Exception:  # whatever gets out is a finding: it is told, and passed on
            sys.stderr.write(f"found with {data!r}\n")
            raise

    return look


def prepare(folder: Path, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> tuple[Path, Path, Path]:
    """Write what libFuzzer begins with; returns the folders of inputs and of seeds, and the dictionary."""
    inputs, seeds, words = folder / "inputs", folder / "seeds", folder / "words"
    inputs.mkdir(parents=True, exist_ok=True)
    seeds.mkdir(exist_ok=True)
    for number, seed in enumerate(corpus):
        (seeds / f"{number:03}").write_bytes(seed)
    quoted = ("".join(f"\\x{octet:02x}" for octet in token) for token in tokens if token)
    words.write_text("".join(f'"{word}"\n' for word in quoted), encoding="ascii")
    return inputs, seeds, words


def run_target(name: str, seconds: int, keep: Path) -> None:
    """Fuzz one target. Never returns: libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
        importlib.import_module("shared.log").configure_logging("warning", "console")
    folder = keep / name
    inputs, seeds, words = prepare(folder, target.corpus, target.tokens)
    options = {
        "max_total_time": seconds,
        "max_len": LONGEST_INPUT,
        "rss_limit_mb": MEMORY_MB,
        "timeout": STUCK_S,
        "dict": words,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
    }
    flags = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(inputs), str(seeds)], watched(target.run))
    atheris.Fuzz()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; each target of `all` in a process of its own."""
    parser = argparse.ArgumentParser(description="Fuzz by coverage.")
    parser.add_argument("--target", choices=[*NAMES, "all"], default="all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", type=Path, default=KEPT, help="where inputs are kept (default: %(default)s)")
    given = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write(NOT_INSTALLED)
        return 2
    if given.target != "all":
        run_target(given.target, given.seconds, given.keep)
    each = [sys.executable, "-m", "tests.fuzz.coverage", "--seconds", str(given.seconds), "--keep", str(given.keep)]
    return max(subprocess.run([*each, "--target", name], check=False).returncode for name in NAMES)


if __name__ == "__main__":
    sys.exit(main())
