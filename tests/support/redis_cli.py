"""`redis-cli` in the tests: the very words that a person would type, sent to a real server.

Runs redis-cli where it is installed. Elsewhere the same line goes over TCP as an inline command, whose quoting the
server reads as redis-cli reads it, so what the services see is the same.
"""

import shlex
import shutil
import socket
import subprocess
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 10.0


def redis_cli(url: str, line: str) -> str:
    """What the server answers to one command line, as text.

    Raises:
        AssertionError: an error, with the server's words.
    """
    found = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if found is not None:
        done = subprocess.run(
            [found, "-u", url, *shlex.split(line)], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
        answer = done.stdout.strip()
    else:
        answer = _inline(url, line)
    assert not answer.startswith(("ERR", "-", "WRONGTYPE")), f"{line}: {answer}"
    return answer


def _inline(url: str, line: str) -> str:
    """The first line of the reply; the length line of a bulk string is skipped."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), TIMEOUT_S) as connection:
        connection.sendall(line.encode() + b"\r\n")
        with connection.makefile("rb") as replies:
            reply = replies.readline()
            if reply.startswith(b"$") and reply != b"$-1\r\n":
                return replies.readline().decode().rstrip("\r\n")
    text = reply.decode().rstrip("\r\n")
    return text if text.startswith("-") else text[1:]
