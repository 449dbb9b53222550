"""The command line of the embedded server; that it runs is what every suite with Redis shows."""

import pytest

from services.launcher.embedded_valkey import EmbeddedValkey, server_binary, server_command


def test_a_named_server_is_preferred(monkeypatch):
    monkeypatch.setenv("TICKWIRE_REDIS_SERVER", "/bin/sh")
    assert str(server_binary()) == "/bin/sh"


def test_a_named_server_that_does_not_exist_is_an_error_that_names_the_variable(monkeypatch):
    monkeypatch.setenv("TICKWIRE_REDIS_SERVER", "no-such-server")
    with pytest.raises(RuntimeError, match="TICKWIRE_REDIS_SERVER='no-such-server'"):
        server_binary()


def test_it_listens_on_loopback_alone_and_keeps_no_file_unless_told(tmp_path):
    words = server_command(7001, tmp_path)
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert (options["--bind"], options["--port"], options["--dir"]) == ("127.0.0.1", "7001", str(tmp_path))
    assert (options["--appendonly"], options["--save"]) == ("no", "")
    assert server_command(7001, tmp_path, append_only=True).count("yes") == 1


def test_a_server_that_cannot_start_says_so_and_leaves_no_directory(monkeypatch):
    monkeypatch.setenv("TICKWIRE_REDIS_SERVER", "/bin/false")
    server = EmbeddedValkey()
    with pytest.raises(RuntimeError, match="did not start"):
        server.start()
    assert not server._directory.exists()
