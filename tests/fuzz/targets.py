"""Every target that takes one input of bytes, by name. Another parser's is added in the module that it belongs to."""

from collections.abc import Mapping
from typing import Final

from tests.fuzz import fuzz_port, fuzz_protocol, fuzz_readers
from tests.fuzz.fuzzer import Target

TARGETS: Final[Mapping[str, Target]] = {**fuzz_protocol.TARGETS, **fuzz_port.TARGETS, **fuzz_readers.TARGETS}
