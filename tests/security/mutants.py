"""Protections as text: what to take out of which file, and which tests must fail then. Read by `mutations.py`."""
# ruff: noqa: E501 - a line of source is quoted as it stands

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Mutant:
    """One protection taken out.

    Attributes:
        threat: the row that it protects from.
        title: what is gone.
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


TOKENS: Final = "tests/unit/services/gateway/test_tokens.py"
TWO_USERS: Final = "tests/security/test_two_users.py"

MUTANTS: Final = (
    Mutant("T20", "an expired token ends its connection", "services/gateway/tokens.py",
           "            client.end(TOKEN_EXPIRED)\n", "", (TOKENS,)),
    Mutant("T20", "revocation is asked when a token comes", "services/gateway/tokens.py",
           "if self._is_revoked(identity):", "if False:", (TOKENS,)),
    Mutant("T20", "a revoked client is put out", "services/gateway/tokens.py",
           "            client.kick(TOKEN_REVOKED)\n", "", (TOKENS,)),
    Mutant("T25", "a session is given back to its own user only", "shared/bus/lua/take_session.lua",
           "or found[1] ~= ARGV[3]", "", (f"{TWO_USERS}::test_a_stolen_pid_gives_nothing_without_the_users_token",)),
    Mutant("T25", "the metrics room asks for the role", "services/gateway/handlers.py",
           "if member.identity is None or not member.identity.is_admin:", "if False:", (f"{TWO_USERS}::test_no_event_opens_anothers_room",)),
    Mutant("T25", "a refresh keeps the user", "services/gateway/arrivals.py",
           "if member.identity is None or member.identity.user_id != identity.user_id:", "if member.identity is None:", (TOKENS,)),
    Mutant("T25", "what a new token does not grant is left", "services/gateway/subscriptions.py",
           "            self.leave_price(subscriptions, symbol)\n        for symbol, delivery in list", "            pass\n        for symbol, delivery in list", (TOKENS,)),
    Mutant("T25", "the whole market is for those who may have it", "services/gateway/subscriptions.py",
           "if own or not subscriptions.rights.whole_market:", "if own:", (TOKENS,)),
    Mutant("T26", "the catalogue is asked", "services/gateway/catalogue.py",
           "            raise RequestError(error_codes.UNKNOWN_SYMBOL, symbol=symbol)\n", "            pass\n",
           ("tests/unit/services/gateway/test_catalogue.py",)),
)  # fmt: skip
