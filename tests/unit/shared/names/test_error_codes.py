"""Every error that a client can be told."""

from shared.names import error_codes
from shared.names.error_codes import ErrorCode

DECLARED = {value for value in vars(error_codes).values() if isinstance(value, ErrorCode)}


def test_the_list_holds_every_declared_error_once_in_order_of_its_number():
    assert set(error_codes.ALL) == DECLARED
    codes = [error.code for error in error_codes.ALL]
    assert codes == sorted(set(codes))


def test_each_number_says_by_its_hundred_what_to_do():
    assert {error.code // 100 for error in error_codes.ALL} <= {1, 2, 3, 4}


def test_each_message_is_its_own():
    assert len({error.message for error in error_codes.ALL}) == len(error_codes.ALL)


def test_the_messages_that_the_original_design_fixed_are_kept():
    messages = {error.message for error in error_codes.ALL}
    assert {"Rate limit exceeded", "Authentication failed"} <= messages
