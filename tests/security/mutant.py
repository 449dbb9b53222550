"""The form of an entry in the lists of `mutants.py`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One protection taken out.

    Attributes:
        threat: the row that it protects from.
        title: the protection that is gone.
        path: of the file.
        old, new: text in it that occurs once, and what takes its place.
        tests: what must fail, as pytest names it.
    """

    threat: str
    title: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]
