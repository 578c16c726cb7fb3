"""Answers go out at once: a server that waits for acknowledgements costs forty milliseconds a page."""

from __future__ import annotations

import socket

from malan.web.server import listen


def test_the_socket_is_named_tcp_so_that_asyncio_sends_without_delay() -> None:
    """asyncio sets TCP_NODELAY on connections whose protocol number says TCP, and they have that of the listener."""
    with listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.proto == socket.IPPROTO_TCP
