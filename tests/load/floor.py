"""The floor: the CPU that one `send()` of a ready frame to one loopback socket costs, whatever sends it."""

import os
import socket
import threading
import time

FRAME = bytes((0x81, 98)) + b"x" * 98
BURST = 50
"""Sockets written to in a row: the watchers of one symbol in `bench_gateway.py`."""

MOST_SOCKETS = 5_000
"""Both ends are in this process, whose open files are limited."""


def microseconds_per_send(seconds: float = 2.0, rate: int = 50_000, sockets: int = 500) -> float:
    """CPU of the sending thread for each send, at `rate` sends a second, with the receivers in this process.

    The receivers' CPU is left out: only the sending thread's own clock is read. The number of sockets is that of the
    gateway's clients: what the kernel keeps of each falls out of the CPU's caches when they are many.
    """
    pairs = [_pair() for _ in range(min(sockets, MOST_SOCKETS))]
    stop = threading.Event()
    drain = threading.Thread(target=_drain, args=([receiver for _, receiver in pairs], stop))
    drain.start()
    senders = [sender for sender, _ in pairs]
    sent = 0
    begin = time.monotonic()
    cpu = time.thread_time()
    while (elapsed := time.monotonic() - begin) < seconds:
        while sent < elapsed * rate:
            start = sent % len(senders)
            for sender in senders[start : start + BURST]:
                sender.send(FRAME)
            sent += BURST
        time.sleep(0.001)
    cpu = time.thread_time() - cpu
    stop.set()
    drain.join()
    for pair in pairs:
        for end in pair:
            end.close()
    return cpu / sent * 1e6


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sender, receiver


def _drain(receivers: list[socket.socket], stop: threading.Event) -> None:
    import selectors  # noqa: PLC0415 - only this thread waits

    with selectors.DefaultSelector() as selector:
        for receiver in receivers:
            receiver.settimeout(0)
            selector.register(receiver, selectors.EVENT_READ)
        while not stop.is_set():
            for key, _ in selector.select(0.1):
                os.read(key.fd, 65536)


if __name__ == "__main__":
    print(f"{microseconds_per_send():.2f} us")  # noqa: T201 - a command line tool
