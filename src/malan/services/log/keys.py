"""The keys of a workspace: made, shown, replaced. A private key never leaves its file.

A rotation is an event that both keys sign; that of the log's own key is also a checkpoint both have signed, so that
whoever trusts the old key learns the new one. Start at `init_keys` and `rotate_key`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from malan.core.errors import NotFound
from malan.ledger.keys import OWNER, SYSTEM
from malan.services.access import HOUSE, Caller, require
from malan.services.footage.owners import owner_names
from malan.services.journal import replace_key, role_of, start_log

if TYPE_CHECKING:
    from malan.media.credentials import Chain
    from malan.workspace import Workspace

_CHAIN = {"key_pem": "media.key.pem", "chain_pem": "media.chain.pem", "root_pem": "media.root.pem"}


@dataclass(frozen=True, slots=True)
class KeyShown:
    """The public half of a key and what it is for."""

    name: str
    role: str
    key_id: str
    holder: str  # the owner's name; empty for others
    former: tuple[str, ...]  # key ids it had before, the oldest first


@dataclass(frozen=True, slots=True)
class KeysShown:
    """All keys of a workspace, and the log's as other tools read it."""

    origin: str
    vkey: str
    keys: tuple[KeyShown, ...]
    media_root_pem: str  # certificate that media credentials lead back to


def init_keys(
    ws: Workspace, *, origin: str | None = None, organisation: str | None = None, caller: Caller = HOUSE
) -> KeysShown:
    """Make all keys that are missing, name the log and begin it; what is there stays.

    Args:
        origin: Name of the log, such as `archive.example.org/log`; settled for ever when the log begins.
        organisation: Who the certificate of media credentials names.

    Raises:
        UsageError: The log has another name already, or the name is impossible.
        NotGranted: The caller may not make keys.
    """
    require(caller, "keys")
    ws.keys.start(origin)
    media_chain(ws, organisation or origin)
    start_log(ws)
    return show_keys(ws)


def show_keys(ws: Workspace, *, caller: Caller = HOUSE) -> KeysShown:
    """The public halves of all keys.

    Raises:
        NotFound: No keys were made yet.
    """
    require(caller, "keys")
    origin = ws.keys.origin
    if origin is None:
        raise NotFound("key.unknown", name=SYSTEM)
    names = owner_names(ws)
    shown = tuple(_shown(ws, name, names) for name in ws.keys.names())
    root = ws.keys.kept(_CHAIN["root_pem"]) or b""
    return KeysShown(origin, ws.keys.log_signer().vkey, shown, root.decode())


def rotate_key(ws: Workspace, name: str, *, caller: Caller = HOUSE) -> KeyShown:
    """Put a new key in the place of one: the event says so, signed by both. Taken up again where it was interrupted.

    Args:
        name: `system`, `operator`, `owner-<id>`, or the name of an owner.

    Raises:
        NotFound: There is no such key.
        NotGranted: The caller may not replace keys.
    """
    require(caller, "keys")
    name = _key_name(ws, name)
    is_under_way = name in ws.keys.waiting()
    start_log(ws)
    if not is_under_way:
        replace_key(ws, name)
    return _shown(ws, name, owner_names(ws))


def media_chain(ws: Workspace, organisation: str | None = None) -> Chain:
    """The certificate chain that signs media credentials; made when there is none."""
    from malan.media.credentials import Chain, new_chain

    if not all(kept := _kept_chain(ws)):
        with ws.log.exclusive():  # one process makes it, the others find it
            if not all(kept := _kept_chain(ws)):
                chain = new_chain(organisation or ws.keys.origin or ws.root.name)
                ws.keys.keep({file: getattr(chain, field).encode() for field, file in _CHAIN.items()})
                kept = _kept_chain(ws)
    return Chain(**{field: (data or b"").decode() for field, data in zip(_CHAIN, kept, strict=True)})


def _kept_chain(ws: Workspace) -> list[bytes | None]:
    return [ws.keys.kept(file) for file in _CHAIN.values()]


def _key_name(ws: Workspace, name: str) -> str:
    """The file name of a key from what a person typed: an owner may be named as people know them."""
    if name in ws.keys.names():
        return name  # also when an owner is called so
    for owner_id, owner in owner_names(ws).items():
        if name == owner:
            return OWNER + owner_id
    if name.startswith(OWNER):
        found = [known for known in ws.keys.names() if known.startswith(name)]
        return found[0] if len(found) == 1 else name
    return name


def _shown(ws: Workspace, name: str, names: dict[str, str]) -> KeyShown:
    former = tuple(key.key_id for key in ws.keys.retired(name))
    holder = names.get(name.removeprefix(OWNER), "") if name.startswith(OWNER) else ""
    return KeyShown(name, role_of(name), ws.keys.actor(name).key_id, holder, former)


def describe_keys(shown: KeysShown) -> dict[str, Any]:
    """Keys as JSON."""
    keys = [
        {"name": key.name, "role": key.role, "key": key.key_id, "holder": key.holder, "former": list(key.former)}
        for key in shown.keys
    ]
    return {"origin": shown.origin, "vkey": shown.vkey, "keys": keys, "media_root": shown.media_root_pem}
