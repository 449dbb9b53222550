"""Which ports are free."""

import socket

from services.launcher.ports import free_port, is_free


def test_a_port_is_taken_while_somebody_listens_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free(port, "127.0.0.1")
        assert not is_free(port, "0.0.0.0")
    assert is_free(port, "127.0.0.1")


def test_a_free_port_can_be_listened_on():
    assert is_free(free_port(), "127.0.0.1")
