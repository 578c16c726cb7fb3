"""Which addresses may be called: a callback address names any machine, also those only we can reach.

Covered: other schemes, user names in addresses, names that resolve to this machine, to private, link-local, shared,
multicast or reserved networks or to a cloud's metadata service, in any IPv6 disguise; a name that resolves to something
else the second time (the address that was checked is the one connected to); redirects (never followed); answers that
are too slow or too long (`ledger.post`). Not covered: a public machine that passes requests on. Start at `Addresses`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from malan.services.dsp.errors import BadMessage

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 2_000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOWEST_OTHER_PORT = 1_024


@dataclass(frozen=True)
class Addresses:
    """What may be called: public machines over https, and the networks that were named.

    Args:
        allowed: Networks that may be called too, over http as well; `any_private` when a test needs them all.
    """

    allowed: tuple[IPNetwork, ...] = ()

    def check(self, url: str) -> None:
        """Refuse an address before anything is promised to it. Looks its name up.

        Raises:
            BadMessage: It must not be called, or leads nowhere.
        """
        host, port, is_tls = _parts(url)
        for found in self._resolve(host, port):
            self._check(found, port, url, is_tls=is_tls)

    def connect_for(self, url: str) -> Connector:
        """What connects to this address and nothing else."""
        return Connector(self, url)

    def _resolve(self, host: str, port: int) -> list[IPAddress]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise BadMessage("exchange.address_unknown", host=host[:200]) from None
        return list(dict.fromkeys(_address(str(entry[4][0])) for entry in found))

    def _check(self, address: IPAddress, port: int, url: str, *, is_tls: bool) -> None:
        if any(address in network for network in self.allowed if network.version == address.version):
            return
        is_usual = port == 443 or port >= _LOWEST_OTHER_PORT
        if not address.is_global or address.is_multicast or not is_tls or not is_usual:
            raise BadMessage("exchange.address", url=url[:200])


@dataclass(frozen=True)
class Connector:
    """Connects to the addresses that were checked, one after the other."""

    addresses: Addresses
    url: str

    def __call__(self, host: str, port: int, timeout_s: float) -> socket.socket:
        is_tls = _parts(self.url)[2]
        found = self.addresses._resolve(host, port)
        for address in found:
            self.addresses._check(address, port, self.url, is_tls=is_tls)
        return _first(found, port, timeout_s)


def networks(texts: Sequence[str]) -> tuple[IPNetwork, ...]:
    """Networks as people write them: `10.2.0.0/16`, `127.0.0.1`.

    Raises:
        ValueError: One is none.
    """
    return tuple(ipaddress.ip_network(text) for text in texts)


def _first(found: Sequence[IPAddress], port: int, timeout_s: float) -> socket.socket:
    failure: OSError | None = None
    for address in found:
        try:
            return socket.create_connection((str(address), port), timeout=timeout_s)
        except OSError as error:
            failure = error
    raise failure or OSError("no address")


def _address(text: str) -> IPAddress:
    """An address without its disguise: IPv4 within IPv6 is IPv4."""
    found = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is None and found.teredo:
            inner = found.teredo[1]
        return inner or found
    return found


def _parts(url: str) -> tuple[str, int, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadMessage("exchange.address", url=url[:200]) from None
    is_tls = parts.scheme == "https"
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= LONGEST_URL
    if not host or parts.scheme not in ("http", "https") or parts.username is not None or not is_plain:
        raise BadMessage("exchange.address", url=url[:200])
    if parts.fragment or parts.query or "?" in url or "#" in url:
        raise BadMessage("exchange.address", url=url[:200])
    port = port if port is not None else 443 if is_tls else 80
    return host, port, is_tls
