"""Asking another party over HTTP, with a limit on everything: time over all, size; no redirects, cookies or proxies.

Start at `ask`. Whatever comes back is data to be checked by whoever asked; nothing here believes it.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from malan.core.errors import ProofError, RetryLater, UsageError

DEFAULT_TIMEOUT_S = 15.0
LARGEST_REPLY_BYTES = 256 * 1024

Connect = Callable[[str, int, float], socket.socket]


@dataclass(frozen=True)
class Reply:
    """Status, the type of the body without its parameters, the body, and the `Link` header."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    link: str = ""


def post(
    url: str,
    body: bytes,
    content_type: str,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    most_bytes: int = LARGEST_REPLY_BYTES,
    trust: ssl.SSLContext | None = None,
    connect: Connect | None = None,
) -> Reply:
    """Send a body and return the answer; see `ask`."""
    held = {"Content-Type": content_type, **(headers or {})}
    return ask(
        "POST", url, body, headers=held, timeout_s=timeout_s, most_bytes=most_bytes, trust=trust, connect=connect
    )


def ask(
    method: str,
    url: str,
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    most_bytes: int = LARGEST_REPLY_BYTES,
    trust: ssl.SSLContext | None = None,
    connect: Connect | None = None,
) -> Reply:
    """Send a request and return the answer, whatever its status; a redirect is an answer and is not followed.

    Args:
        method: GET or POST.
        url: http or https, without user name or fragment.
        body: What is sent.
        headers: Further headers.
        timeout_s: For everything after the name was looked up: connect, send, and the last byte of the answer.
        most_bytes: A longer answer is refused.
        trust: Whom to believe over https; the certificates of the machine when not given.
        connect: Connects to a host and port within seconds, or refuses to; to any when not given.

    Raises:
        UsageError: The address is none.
        RetryLater: Nobody answers, or not in time, or the connection breaks.
        ProofError: The answer is too long or no HTTP.
    """
    host, port, path, is_tls = _address(url)
    name = f"{host}:{port}"
    try:
        connected = (connect or _connect)(host, port, timeout_s)
    except OSError as error:
        raise RetryLater("http.unreachable", name=name, detail=_detail(error)) from error
    ends = _Deadline(connected, timeout_s)
    try:
        reply = _exchange(
            ends.over(_secured(connected, host, trust) if is_tls else connected),
            host if port == (443 if is_tls else 80) else f"[{host}]:{port}" if ":" in host else name,
            method,
            path,
            body,
            headers or {},
            most_bytes,
        )
    except (OSError, http.client.HTTPException) as error:
        raise _broken(error, name, timeout_s, is_late=ends.is_over) from error
    finally:
        ends.cancel()
    if ends.is_over:  # cut off where the standard reader took it for the end
        raise RetryLater("http.slow", name=name, seconds=round(timeout_s))
    return reply


def _address(url: str) -> tuple[str, int, str, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("http.url", url=url[:200]) from error
    is_plain = parts.scheme in ("http", "https") and not parts.username and not parts.password and not parts.fragment
    if not host or not is_plain or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise UsageError("http.url", url=url[:200] if not parts.password else f"{parts.scheme}://{host}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port or (443 if parts.scheme == "https" else 80), path, parts.scheme == "https"


def _secured(connected: socket.socket, host: str, trust: ssl.SSLContext | None) -> ssl.SSLSocket:
    context = trust or ssl.create_default_context()
    return context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    return socket.create_connection((host, port), timeout=timeout_s)


def _exchange(
    over: socket.socket,
    host: str,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    most_bytes: int,
) -> Reply:
    connection = http.client.HTTPConnection("unused")
    connection.sock = over
    if isinstance(over, ssl.SSLSocket):
        over.do_handshake()
    sent = {"Host": host, "User-Agent": "malan", "Accept-Encoding": "identity", "Connection": "close", **headers}
    connection.request(method, path, body, sent)
    with connection.getresponse() as answer:
        held = _read_chunks(answer, most_bytes) if answer.chunked else answer.read(most_bytes + 1)
        if len(held) > most_bytes:
            raise ProofError("http.too_long", name=host, most=most_bytes)
        if answer.length and not answer.chunked:
            raise http.client.IncompleteRead(held)
        kind = (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        return Reply(answer.status, kind, held, answer.headers.get("Link") or "")


def _read_chunks(answer: http.client.HTTPResponse, most_bytes: int) -> bytes:
    """A chunked body (RFC 9112 §7.1), at most one byte longer than allowed; the standard reader trusts every size."""
    held = b""
    while True:
        size = answer.fp.readline(128).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size):
            raise http.client.HTTPException
        wanted = min(int(size, 16), most_bytes + 1 - len(held))
        chunk = answer.fp.read(wanted)
        held += chunk
        if len(chunk) < wanted:
            raise http.client.IncompleteRead(held)
        if size.strip(b"0") == b"" or len(held) > most_bytes:
            return held
        if answer.fp.readline(8) != b"\r\n":
            raise http.client.HTTPException


class _Deadline:
    """Ends a connection at its time, however little by little the other side answers."""

    def __init__(self, connected: socket.socket, timeout_s: float) -> None:
        self.is_over = False
        self._socket = connected
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True
        self._timer.start()

    def over(self, wrapped: socket.socket) -> socket.socket:
        """Watch this one from now on: wrapping a socket takes its descriptor away."""
        self._socket = wrapped
        return wrapped

    def cancel(self) -> None:
        self._timer.cancel()
        self._socket.close()

    def _end(self) -> None:
        self.is_over = True
        try:
            # Below TLS: SSLSocket.shutdown would wait for the thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return


def _broken(
    error: OSError | http.client.HTTPException, name: str, timeout_s: float, *, is_late: bool
) -> RetryLater | ProofError:
    if is_late or isinstance(error, TimeoutError):
        return RetryLater("http.slow", name=name, seconds=round(timeout_s))
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProofError("http.certificate", name=name, detail=error.verify_message)
    if isinstance(error, http.client.HTTPException) and not isinstance(
        error, http.client.RemoteDisconnected | http.client.IncompleteRead
    ):
        return ProofError("http.no_http", name=name)
    return RetryLater("http.unreachable", name=name, detail=_detail(error))


def _detail(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
