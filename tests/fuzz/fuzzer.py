"""What every fuzzer of bytes here is made of: targets, inputs made by a seeded mutator, and the look at memory.

A `Target` runs one input and raises whatever is a finding: a `Finding`, or any error that its code does not declare.
Inputs come from a mutator that knows a corpus and the tokens that inputs are made of, so a run can be repeated from its
seed. `coverage.py` lets libFuzzer choose the inputs of the same targets instead.
"""

import argparse
import gc
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from protocol.socketio.parser import MessageData

SEPARATOR: Final = b"\x00\xff\x00"
"""Cuts one input into several messages."""

LEAST_ROUNDS: Final = 5
"""Between the two looks at memory, also on a machine that stood still meanwhile."""

MAX_GROWTH: Final = 256 * 1024
"""Bytes by which memory may differ between the first rounds and the last ones."""


class Finding(Exception):  # noqa: N818  # it is a result, not an error of this program
    """An input that broke a promise."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed, and what its inputs are made of."""

    run: Callable[[bytes], None]
    corpus: tuple[bytes, ...]
    tokens: tuple[bytes, ...]


class Mutator:
    """Makes inputs out of a corpus and tokens; the same seed makes the same ones."""

    def __init__(self, corpus: tuple[bytes, ...], tokens: tuple[bytes, ...], seed: int) -> None:
        self._corpus = corpus
        self._tokens = tokens
        self._random = random.Random(seed)

    def make(self) -> bytes:
        """Return the next input."""
        rng = self._random
        data = bytearray(rng.choice(self._corpus))
        for _ in range(rng.choice((0, 1, 1, 2, 4, 8))):
            self._mutate(data)
        return bytes(data)

    def _mutate(self, data: bytearray) -> None:
        rng = self._random
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0:
                data[at:at] = rng.choice(self._tokens)
            case 1:
                token = rng.choice(self._tokens)
                data[at : at + len(token)] = token
            case 2:
                del data[at : at + rng.randrange(1, 9)]
            case 3:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 4:
                other = rng.choice(self._corpus)
                data[at:] = SEPARATOR + other
            case 5:
                piece = data[at : at + rng.randrange(1, 32)]
                data[at:at] = piece * rng.randrange(1, 6)
            case _:
                data[at:] = rng.choice(self._corpus)[at:]


def cut(data: bytes) -> list[MessageData]:
    """Cut an input into messages; those that start with a zero byte, or are no UTF-8, are binary."""
    messages: list[MessageData] = []
    for part in data.split(SEPARATOR):
        try:
            messages.append(part[1:] if part.startswith(b"\x00") else part.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            messages.append(part)
    return messages


@dataclass(frozen=True)
class Summary:
    """How a run went."""

    inputs: int
    growth: int
    failure: str | None = None


def say(line: str) -> None:
    """Tell how it goes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def attempt(target: Target, data: bytes) -> str | None:
    """Run one input; return what is wrong with it, if anything."""
    try:
        target.run(data)
    except Exception as error:  # noqa: BLE001  # any other exception is exactly what is looked for
        return f"{data!r}: {type(error).__name__} {error}"
    return None


def run_target(name: str, target: Target, seconds: float, seed: int) -> Summary:
    """Fuzz one target for a while; stop at the first finding. Memory is compared after a warm-up of a fifth."""
    mutator = Mutator(target.corpus, target.tokens, seed)
    start = time.monotonic()
    inputs, base, told, rounds = 0, 0, start, 0
    tracemalloc.start()
    try:
        while (now := time.monotonic()) < start + seconds or rounds < LEAST_ROUNDS:
            for _ in range(200):
                data = mutator.make()
                failure = attempt(target, data)
                inputs += 1
                if failure is not None:
                    return Summary(inputs, 0, failure)
            if base:
                rounds += 1
            elif now > start + seconds / 5:
                gc.collect()
                base = tracemalloc.get_traced_memory()[0]
            if now > told + 10:
                told = now
                say(f"{name}: {inputs} inputs, {tracemalloc.get_traced_memory()[0] >> 10} KiB")
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - base
    finally:
        tracemalloc.stop()
    return Summary(inputs, growth, f"memory grew by {growth} bytes" if growth > MAX_GROWTH else None)


def main(targets: Mapping[str, Target], description: str, arguments: list[str] | None = None) -> int:
    """Run a command line on some targets; returns the exit code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--target", choices=[*targets, "all"], default="all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    failed = 0
    for name in targets if options.target == "all" else [options.target]:
        summary = run_target(name, targets[name], options.seconds, options.seed)
        say(f"{name}: {summary.inputs} inputs, memory {summary.growth:+d} bytes, {summary.failure or 'nothing found'}")
        failed += summary.failure is not None
    return 1 if failed else 0
