"""Every way in which a connection ends."""

import re

from shared.names import close_reasons
from shared.names.close_reasons import CloseReason

DECLARED = {value for value in vars(close_reasons).values() if isinstance(value, CloseReason)}


def test_the_list_holds_every_declared_reason_once():
    assert set(close_reasons.ALL) == DECLARED
    assert len(close_reasons.ALL) == len(DECLARED)


def test_each_has_a_label_of_its_own_that_prometheus_takes():
    texts = [reason.text for reason in close_reasons.ALL]
    assert len(set(texts)) == len(texts)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", text) for text in texts)


def test_each_says_what_it_means():
    assert len({reason.meaning for reason in close_reasons.ALL}) == len(close_reasons.ALL)


def test_codes_are_ones_that_a_server_may_send():
    allowed = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, *range(4000, 5000)}
    assert {reason.code for reason in close_reasons.ALL} <= allowed | {None}


def test_only_a_client_that_was_told_to_leave_stays_away():
    stay_away = [reason for reason in close_reasons.ALL if not reason.reconnect]
    assert stay_away == [close_reasons.TOKEN_REVOKED, close_reasons.KICKED]
