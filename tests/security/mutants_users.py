"""Users: their ids, their events, what is theirs and how much of it. One part of `mutants.py`."""
# ruff: noqa: E501 - a line of source is quoted as it stands

from typing import Final

from tests.security.mutant import Mutant

IDS: Final = "tests/security/test_ids.py"
TWO_USERS: Final = "tests/security/test_two_users.py"
LIMITS: Final = "tests/security/test_user_limits.py"
GATEWAY: Final = "tests/unit/services/gateway"
TOKENS: Final = f"{GATEWAY}/test_tokens.py"

USERS: Final = (
    Mutant("T5", "a pid has eighteen bytes", "services/gateway/sessions.py",
           "PID_BYTES: Final = 18", "PID_BYTES: Final = 8", (f"{IDS}::test_every_id_of_a_client_has_enough_bytes",)),
    Mutant("T5", "a transport's id has fifteen bytes", "services/gateway/server.py",
           "sid = secrets.token_urlsafe(15)", "sid = secrets.token_urlsafe(8)",
           (f"{IDS}::test_every_id_of_a_client_has_enough_bytes",)),
    Mutant("T5", "a pid is of the system's source", "services/gateway/sessions.py",
           "session = Session(secrets.token_urlsafe(PID_BYTES), sid,", "session = Session((sid * 2)[:_PID_LENGTH], sid,",
           (f"{IDS}::test_the_three_ids_of_a_client_are_strangers_to_each_other",)),
    Mutant("T6", "events are looked up in a table alone", "services/gateway/handlers.py",
           "handler = self._by_event.get(received.name) if", "handler = self._by_event.get(received.name, getattr(self, received.name, None)) if",
           (f"{IDS}::test_reserved_names_and_those_of_python_call_nothing",)),
    Mutant("T6", "reserved names are refused", "protocol/socketio/incoming.py",
           "if name in RESERVED_EVENTS:", "if False:",
           ("tests/unit/protocol/socketio/test_incoming.py::test_names_that_mean_something_to_libraries_are_refused",)),
    Mutant("T12", "events of a user are counted together", "services/gateway/users.py",
           "wait = presence.user.take(self._limits.event_rate, now)", "wait = 0.0",
           (f"{LIMITS}::test_events_of_a_user_are_limited_over_all_its_connections",)),
    Mutant("T25", "a session is given back to its own user only", "shared/bus/lua/take_session.lua",
           "or found[1] ~= ARGV[3]", "", (f"{TWO_USERS}::test_a_stolen_pid_gives_nothing_without_the_users_token",)),
    Mutant("T25", "a session's record names its user", "services/gateway/sessions.py",
           "if record.user != user or not _is_sound(record):", "if not _is_sound(record):",
           (f"{GATEWAY}/test_sessions.py::test_a_record_that_no_gateway_writes_is_no_session",)),
    Mutant("T25", "the metrics room asks for the role", "services/gateway/handlers.py",
           "if member.identity is None or not member.identity.is_admin:", "if False:",
           (f"{TWO_USERS}::test_no_event_opens_anothers_room",)),
    Mutant("T25", "a refresh keeps the user", "services/gateway/arrivals.py",
           "if member.identity is None or member.identity.user_id != identity.user_id:", "if member.identity is None:",
           (f"{TOKENS}::test_a_refresh_that_is_refused_changes_nothing",)),
    Mutant("T25", "what a new token does not grant is left", "services/gateway/subscriptions.py",
           "            self.leave_price(subscriptions, symbol)\n        for symbol, delivery in list",
           "            pass\n        for symbol, delivery in list",
           (f"{TOKENS}::test_what_a_new_token_does_not_grant_is_unsubscribed_with_a_reason",)),
    Mutant("T25", "the whole market is for those who may have it", "services/gateway/subscriptions.py",
           "if own or not subscriptions.rights.whole_market:", "if own:",
           (f"{TOKENS}::test_the_whole_market_is_not_for_those_who_may_not_have_all_of_it",)),
    Mutant("T25", "delayed prices are delayed", "services/gateway/delayed_prices.py",
           "self._release(tier, now - tier.delay_s)", "self._release(tier, now)",
           (f"{GATEWAY}/test_delayed_prices.py::test_nothing_comes_before_its_time_and_the_newest_that_is_old_enough_then",)),
    Mutant("T25", "delayed trades are delayed", "services/gateway/delayed_trades.py",
           "((self._clock.now_ms() - delay_s * 1000) <<", "((self._clock.now_ms() - 0) <<",
           (f"{GATEWAY}/test_delayed_trades.py::test_trades_come_once_and_in_order_when_they_are_old_enough_and_not_before",)),
    Mutant("T26", "the catalogue is asked", "services/gateway/catalogue.py",
           "            raise RequestError(error_codes.UNKNOWN_SYMBOL, symbol=symbol)\n", "            pass\n",
           (f"{GATEWAY}/test_catalogue.py::test_names_that_do_not_exist_leave_nothing_behind",)),
    Mutant("T26", "symbols have a grammar", "services/gateway/requests.py",
           "if not isinstance(value, str) or not is_symbol(value):", "if not isinstance(value, str):",
           ("tests/security/test_packets.py::test_no_name_that_is_no_symbol_leaves_anything",)),
    Mutant("T26", "subscriptions of a user are counted together", "services/gateway/users.py",
           "        if user.subscriptions + elsewhere >= limit:", "        if user.subscriptions >= limit:",
           (f"{LIMITS}::test_subscriptions_of_a_user_are_limited_over_all_its_connections",)),
    Mutant("T31", "a user's surplus is put out", "services/gateway/users.py",
           "        if not presence.is_gone:\n            self.refused", "        if False:\n            self.refused",
           (f"{LIMITS}::test_a_user_s_surplus_is_refused_or_put_out_for_good_at_every_gateway",)),
)  # fmt: skip
