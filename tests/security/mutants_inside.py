"""The inside of a cluster: messages, logs, metrics, Redis and its library. One part of `mutants.py`."""
# ruff: noqa: E501 - a line of source is quoted as it stands

from typing import Final

from tests.security.mutant import Mutant

MESSAGES: Final = "tests/security/test_bus_messages.py"
LOGS: Final = "tests/security/test_logs.py"
LABELS: Final = "tests/security/test_metric_labels.py"
CALLS: Final = "tests/security/test_bus_calls.py"
TLS: Final = "tests/integration/test_bus_topologies.py::TestTls"

INSIDE: Final = (
    Mutant("T1", "what is too large is not looked into", "shared/messages.py",
           "if type(data) is bytes and len(data) > limit:", "if False:",
           (f"{MESSAGES}::test_what_is_too_large_is_refused_before_it_is_looked_into",)),
    Mutant("T1", "numbers are bounded", "shared/messages.py",
           "Whole = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]", "Whole = int",
           (f"{MESSAGES}::test_forged_messages_of_services_are_refused_and_counted",)),
    Mutant("T1", "a symbol's log holds its own trades", "services/gateway/log_fanout.py",
           "if event is ServerEvent.TRADE_NEW and trade.symbol != entry.subject:", "if False:",
           (f"{MESSAGES}::test_forged_messages_of_services_are_refused_and_counted",)),
    Mutant("T21", "what looks like a secret is masked", "shared/log.py",
           "        text = pattern.sub(mask, text)\n", "        pass\n",
           (f"{LOGS}::test_secrets_are_masked_where_no_name_gives_them_away",)),
    Mutant("T21", "an id is in no log line", "services/gateway/connection.py",
           'log.info("client_broke_protocol", ', 'log.info("client_broke_protocol", shown=self.sid, ',
           (f"{LOGS}::test_a_token_is_nowhere_and_ids_are_in_no_log",)),
    Mutant("T21", "no token in an address", "services/gateway/server.py",
           "if _IGNORED_QUERY_SECRETS & query.keys():", "if False:",
           ("tests/unit/services/gateway/test_server.py::test_handshakes_are_judged_in_the_documented_order",)),
    Mutant("T32", "repeated lines are rationed", "shared/log_budget.py",
           "if bucket.left < cost:", "if False:", (f"{LOGS}::test_the_same_line_again_and_again_is_rationed_and_counted",)),
    Mutant("T32", "long values are cut", "shared/log.py",
           "if len(text) <= length:", "if True:", ("tests/unit/shared/test_log.py::test_what_a_client_sends_cannot_flood_the_log",)),
    Mutant("T32", "control characters are escaped", "shared/log.py",
           '            return unsafe.sub(lambda found: found[0].encode("unicode_escape").decode(), value)\n', "            return value\n",
           (f"{LOGS}::test_people_s_terminals_are_left_alone_too",)),
    Mutant("T33", "unknown events share a label", "services/gateway/handlers.py",
           "known = OTHER_EVENT if handler is None else str(received.name)\n        self.received[known] += 1\n",
           "known = str(received.name)\n        self.received[known] = self.received.get(known, 0) + 1\n",
           (f"{LABELS}::test_what_clients_choose_becomes_no_series",)),
    Mutant("T33", "a refusal's label is its reason", "services/gateway/server.py",
           "self._on_refused(error.text if isinstance(error, _EngineError) else error.reason)", "self._on_refused(str(origin))",
           (f"{LABELS}::test_what_clients_choose_becomes_no_series",)),
    Mutant("T34", "a gateway reads prices and writes none", "deploy/redis/users.acl",
           "user gateway on %R~md:{prices}:epoch", "user gateway on ~md:{prices}:epoch",
           ("tests/security/test_acl.py::test_each_user_is_refused_what_is_not_its_own",)),
    Mutant("T34", "an upstream only appends", "deploy/redis/users.acl",
           "+asking +xadd +publish\n", "+asking +xadd +publish +xread\n",
           ("tests/security/test_acl.py::test_each_user_is_refused_what_is_not_its_own",)),
    Mutant("T35", "a cancelled call's connection is thrown away (the library's part, taken out by our subclass of it)",
           "shared/bus/redis_client.py",
           'type("PackingConnection", (_Packing, pool.connection_class), {})',
           'type("PackingConnection", (_Packing, pool.connection_class), {"disconnect": lambda self, nowait=False, **words: asyncio.sleep(0) if nowait else super(pool.connection_class, self).disconnect(nowait, **words)})',
           (f"{CALLS}::test_whenever_a_call_is_cancelled_no_reply_goes_to_another_one",)),
    Mutant("T36", "what is left is not wanted any more", "shared/bus/subscription.py",
           "        self._wanted.discard(channel)\n", "",
           (f"{CALLS}::test_what_is_left_as_the_connection_dies_is_subscribed_by_nobody_afterwards",)),
    Mutant("T36", "what is subscribed is compared with what is wanted", "shared/bus/subscription.py",
           "self._asked - wanted\n", "set[str]()\n",
           ("tests/unit/shared/bus/test_subscription.py::test_an_unwanted_channel_is_left_on_the_server_too",)),
    Mutant("T37", "certificates are checked", "shared/bus/redis_client.py",
           "        protocol=2,\n",
           '        protocol=2,\n        **({"ssl_cert_reqs": "none", "ssl_check_hostname": False} if url.startswith("rediss:") else {}),\n',
           (f"{TLS}::test_a_certificate_of_another_authority_is_denied",)),
    Mutant("T37", "rediss speaks TLS", "shared/redis_url.py",
           'return f"{self.scheme}://{self.login}{shown(address)}{self.path}{self.query}"',
           'return f"redis://{self.login}{shown(address)}{self.path}{self.query}"', ("tests/unit/shared/test_redis_url.py",)),
)  # fmt: skip
