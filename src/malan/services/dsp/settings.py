"""`exchange.toml` in the workspace: who we are to others, where they reach us, whom we believe.

    participant = "did:web:archive.example"          # default: made from the name of our log
    address = "https://archive.example/dsp/2025-1"   # default: where the server listens
    allowed_networks = ["10.2.0.0/16"]               # private networks that may be called; none by default
    [[partner]]
    id = "did:web:studio.example"
    name = "Studio"
    keys = ["ed25519:…"]
    connector = "https://studio.example/dsp/2025-1"

Without the file nobody else is trusted. It is read again when it changes. Start at `SettingsFile`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from malan.core.errors import ProofError, UsageError
from malan.ledger.envelope import public_key_of
from malan.services.dsp.addresses import Addresses, networks
from malan.services.dsp.trust import Partner

FILE = "exchange.toml"
_MAX_BYTES = 1 << 20
_KNOWN = ("participant", "address", "allowed_networks", "partner")
_PARTNER = ("id", "name", "keys", "connector")


@dataclass(frozen=True)
class ExchangeSettings:
    """What the file says."""

    participant: str = ""
    address: str = ""
    addresses: Addresses = field(default_factory=Addresses)
    partners: Mapping[str, Partner] = field(default_factory=dict)


class SettingsFile:
    """The file, read again when it was written.

    Args:
        folder: The workspace.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._stamp: tuple[int, int, int] | None = None
        self._settings = ExchangeSettings()

    def read(self) -> ExchangeSettings:
        """What it says now; without a file, the defaults.

        Raises:
            UsageError: It does not parse or says something unknown or impossible; nothing of it holds then.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._settings = None, ExchangeSettings()
            return self._settings
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp != self._stamp:
            self._settings, self._stamp = read_settings(self.path), stamp
        return self._settings


def read_settings(path: Path) -> ExchangeSettings:
    """Parse the file; see `SettingsFile.read`."""
    try:
        data = path.read_bytes()
        said: dict[str, Any] = tomllib.loads(data[:_MAX_BYTES].decode())
    except (OSError, ValueError) as error:
        raise UsageError("exchange.settings", path=str(path), detail=str(error)[:200]) from error
    _check_names(path, said, _KNOWN)
    partners = [_partner(path, one) for one in _list(path, said, "partner")]
    by_id = {partner.id: partner for partner in partners}
    if len(by_id) != len(partners):
        raise UsageError("exchange.settings", path=str(path), detail="partner.id")
    try:
        allowed = networks([str(one) for one in _list(path, said, "allowed_networks")])
    except ValueError as error:
        raise UsageError("exchange.settings", path=str(path), detail=str(error)) from error
    return ExchangeSettings(
        participant=_text(path, said, "participant"),
        address=_text(path, said, "address").rstrip("/"),
        addresses=Addresses(allowed),
        partners=by_id,
    )


def _partner(path: Path, said: Any) -> Partner:
    if not isinstance(said, dict):
        raise UsageError("exchange.settings", path=str(path), detail="partner")
    _check_names(path, said, _PARTNER)
    keys = _list(path, said, "keys")
    try:
        for key in keys:
            public_key_of(str(key))
    except ProofError as error:
        raise UsageError("exchange.settings", path=str(path), detail=error.message()) from error
    if not (name := _text(path, said, "id")):
        raise UsageError("exchange.settings", path=str(path), detail="partner.id")
    return Partner(
        name, tuple(str(key) for key in keys), _text(path, said, "connector").rstrip("/"), _text(path, said, "name")
    )


def _check_names(path: Path, said: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if unknown := [name for name in said if name not in known]:
        raise UsageError("exchange.settings", path=str(path), detail=f"{unknown[0]} ({', '.join(known)})")


def _text(path: Path, said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str) or len(value) > 500 or not value.isprintable():
        raise UsageError("exchange.settings", path=str(path), detail=name)
    return value


def _list(path: Path, said: Mapping[str, Any], name: str) -> list[Any]:
    value = said.get(name, [])
    if not isinstance(value, list):
        raise UsageError("exchange.settings", path=str(path), detail=name)
    return value
