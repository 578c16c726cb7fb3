"""Webhooks: a short signed note to whoever asked to be told, sent again until it is taken or given up.

Covered: only hosts the operator allows (`webhook_hosts` in `malan.toml`), by https unless it is this machine; no
redirect is followed, little is read, silence has an end; a name is looked up once and must not lead to this machine or
to its neighbours on the link, where clouds keep their secrets; the signature follows Standard Webhooks 1.0, so
`client.webhooks.unwrap` of OpenAI's clients checks it. The note holds an id and nothing else: what was made is asked
for with the key. Start at `check_webhook` and `send_due`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import select, update

from malan.core.errors import UsageError
from malan.runtime.database import reading, updating
from malan.services.gateway.tables import GATEWAY_KEYS
from malan.services.jobs.queue_tables import WEBHOOKS, queue_tables

if TYPE_CHECKING:
    from malan.workspace import Workspace

_AGAIN_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0)
_TAKEN_FOR_S = 60.0
_WAIT_S = 5.0
_MOST_AT_ONCE = 20
_HERE = ("127.0.0.1", "::1", "localhost")


def check_webhook(ws: Workspace, url: str) -> str:
    """An address that may be told.

    Raises:
        UsageError: It is none, or the operator does not allow its host.
    """
    try:
        said = urlsplit(url)
        host, port = (said.hostname or "").lower(), said.port
    except ValueError:
        raise UsageError("gateway.bad_webhook", url=url[:120]) from None
    is_plain = said.username is None and not said.fragment and url.isprintable() and " " not in url
    is_safe = said.scheme == "https" or (said.scheme == "http" and host in _HERE)
    if not (host and is_plain and is_safe and len(url) <= 500):
        raise UsageError("gateway.bad_webhook", url=url[:120])
    allowed = {one.strip().lower() for one in ws.settings.webhook_hosts.split(",") if one.strip()}
    name = f"[{host}]" if ":" in host else host
    if not {name if port is None else f"{name}:{port}"} & allowed:
        raise UsageError("gateway.webhook_host", host=host[:120])
    return url


def send_due(ws: Workspace, now_s: float | None = None) -> int:
    """Send what is due; how many were taken."""
    now = time.time() if now_s is None else now_s
    hooks = WEBHOOKS.c
    due = select(WEBHOOKS, GATEWAY_KEYS.c.webhook_secret).outerjoin(GATEWAY_KEYS, GATEWAY_KEYS.c.prefix == hooks.prefix)
    query = due.where(hooks.state == "waiting", hooks.next_s <= now).order_by(hooks.next_s).limit(_MOST_AT_ONCE)
    with reading(queue_tables(ws)) as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    return sum(_send(ws, row, now) for row in rows if _claim(ws, row, now))


def sign(secret: str, name: str, at_s: int, body: str) -> str:
    """The signature of a note (Standard Webhooks 1.0, symmetric)."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{name}.{at_s}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


def _claim(ws: Workspace, row: dict[str, Any], now: float) -> bool:
    """Of several processes one sends."""
    mine = update(WEBHOOKS).where(WEBHOOKS.c.id == row["id"], WEBHOOKS.c.tries == row["tries"])
    with updating(queue_tables(ws)) as connection:
        claimed = mine.values(tries=row["tries"] + 1, next_s=now + _TAKEN_FOR_S)
        return bool(connection.execute(claimed).rowcount)


def _send(ws: Workspace, row: dict[str, Any], now: float) -> bool:
    try:
        check_webhook(ws, row["url"])  # the operator may have thought better of it
        status = _post(row, int(time.time()))
    except UsageError as error:
        outcome, taken, state = error.code, False, "given_up"
    except (OSError, http.client.HTTPException) as error:
        outcome, taken, state = type(error).__name__, False, "waiting"
    else:
        taken = 200 <= status < 300
        outcome, state = str(status), "done" if taken else "waiting"
    if state == "waiting" and row["tries"] >= len(_AGAIN_S):
        state = "given_up"
    again = now + _AGAIN_S[min(row["tries"], len(_AGAIN_S) - 1)]
    with updating(queue_tables(ws)) as connection:
        mine = update(WEBHOOKS).where(WEBHOOKS.c.id == row["id"])
        connection.execute(mine.values(state=state, last=outcome[:80], next_s=again))
    return taken


def address_of(host: str, port: int) -> str:
    """Where a host is, looked up once: what is connected to is what was checked.

    Raises:
        UsageError: It leads to this machine, though it was not called so, or to where nobody may be told.
        OSError: Nobody knows it.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    places = [str(one[4][0]) for one in found]
    for place in places:
        address = ipaddress.ip_address(place.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        is_nowhere = mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified
        if is_nowhere or (mapped.is_loopback and host not in _HERE):
            raise UsageError("gateway.webhook_place", host=host[:120], address=place[:60])
    return places[0]


class _Line(http.client.HTTPConnection):
    """A connection to an address that was looked up before."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=_WAIT_S)
        self._context = context

    def connect(self) -> None:
        """The certificate must be of the name, wherever that led."""
        self.sock = socket.create_connection((address_of(self.host, self.port), self.port), _WAIT_S)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


def _post(row: dict[str, Any], at_s: int) -> int:
    said = urlsplit(row["url"])
    is_https = said.scheme == "https"
    port = said.port or (443 if is_https else 80)
    line = _Line(str(said.hostname), port, ssl.create_default_context() if is_https else None)
    headers = {"content-type": "application/json", "webhook-id": row["id"], "webhook-timestamp": str(at_s)}
    if row["webhook_secret"]:
        headers["webhook-signature"] = sign(row["webhook_secret"], row["id"], at_s, row["body"])
    try:
        line.request("POST", (said.path or "/") + (f"?{said.query}" if said.query else ""), row["body"], headers)
        return line.getresponse().status
    finally:
        line.close()
