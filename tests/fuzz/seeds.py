"""Inputs to begin with, out of the golden bytes: what the stock packages really write, as the fuzzers cut it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.fuzz.fuzzer import SEPARATOR

_GOLDEN: Final = json.loads((Path(__file__).parents[1] / "interop/golden/golden.json").read_text(encoding="utf-8"))


def _bytes_of(frame: dict[str, str], mark: bytes) -> bytes:
    return frame["text"].encode() if "text" in frame else mark + bytes.fromhex(frame["hex"])


def _packets(parser: str) -> Iterator[bytes]:
    mark = b"\x00" if parser == "json" else b""
    items: list[dict[str, Any]] = _GOLDEN["socketio"]
    for item in items:
        yield SEPARATOR.join(_bytes_of(frame, mark) for frame in item[parser])
    for item in _GOLDEN["foreign"]:
        if item["parser"] == parser:
            yield SEPARATOR.join(_bytes_of(frame, mark) for frame in item["frames"])


JSON: Final = tuple(_packets("json"))
MSGPACK: Final = tuple(_packets("msgpack"))
ENGINEIO: Final = (
    *(item["body"].encode() for item in _GOLDEN["engineio"]["payloads"]),
    *(_bytes_of(item["textFrame"], b"") for item in _GOLDEN["engineio"]["frames"]),
)
