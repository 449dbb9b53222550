"""Protections as text: what to take out of which file, and which tests must fail then. Read by `mutations.py`.

The entries stand by topic: what comes in at the client port, tokens, users and what is theirs, the inside of a cluster.
"""

from typing import Final

from tests.security.mutant import Mutant
from tests.security.mutants_inside import INSIDE
from tests.security.mutants_port import PORT
from tests.security.mutants_tokens import TOKENS
from tests.security.mutants_users import USERS

MUTANTS: Final[tuple[Mutant, ...]] = tuple(
    sorted((*PORT, *TOKENS, *USERS, *INSIDE), key=lambda mutant: int(mutant.threat.removeprefix("T")))
)
