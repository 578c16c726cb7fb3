"""The keys of a workspace: one file each, readable by its owner alone; no key ever leaves as text.

    system    signs the log's checkpoints        operator    signs what is done here
    owner-…   signs for an owner of footage      media       the certificate chain of media credentials
    witness   cosigns the checkpoints of partners

A rotated key is kept as `<name>.<n>.pem` until it is deleted by hand: it proves the past, it signs nothing new. Start
at `KeyRing`. What a rotation means for the log is decided in `services`.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from malan.core.errors import NotFound, ProofError, Rejected, UsageError
from malan.ledger.envelope import key_id_of
from malan.ledger.note import NoteSigner, check_name

SYSTEM, OPERATOR, WITNESS, OWNER = "system", "operator", "witness", "owner-"

_NAME = re.compile(r"system|operator|witness|(owner|party)-[0-9a-f]{6,64}")
_ORIGIN = "origin"
_NEXT = ".next"


@dataclass(frozen=True)
class ActorKey:
    """A private key that signs events. Shows only its public half."""

    name: str
    key_id: str
    _private: Ed25519PrivateKey

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def raw(self) -> bytes:
        """The 32 private bytes, for another kind of signer of the same key. Never to be shown or stored."""
        return self._private.private_bytes_raw()

    def __repr__(self) -> str:
        return f"ActorKey({self.name!r}, {self.key_id!r})"


class KeyRing:
    """The folder `keys/` of a workspace.

    Args:
        folder: Made with mode 0700 when the first key is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def origin(self) -> str | None:
        """The name of the log these keys belong to; None before the first key."""
        path = self.folder / _ORIGIN
        return path.read_text("utf-8").strip() if path.is_file() else None

    def names(self) -> list[str]:
        """The keys that may sign now."""
        found = self.folder.glob("*.pem") if self.folder.is_dir() else ()
        return sorted(path.stem for path in found if _NAME.fullmatch(path.stem))

    def start(self, origin: str | None = None) -> str:
        """Make the system and operator keys and settle the origin; what is there stays.

        Args:
            origin: Name of the log, such as `archive.example.org/log`. Without one, made from the system key.

        Raises:
            UsageError: The name cannot be an origin, or the log already has another.
        """
        if origin is not None:
            check_name(origin)
        if self.origin is not None and origin not in (None, self.origin):
            raise UsageError("key.origin_settled", origin=self.origin)
        for name in (SYSTEM, OPERATOR):
            if name not in self.names():
                with suppress(Rejected):  # another process was faster: then it is that one's
                    self.create(name)
        if self.origin is None:
            system = self.actor(SYSTEM).key_id
            short = re.sub(r"[^0-9a-z]", "", system.partition(":")[2].lower())[:12]
            with suppress(FileExistsError):
                _write_new(self.folder / _ORIGIN, f"{origin or f'malan-{short}'}\n".encode())
        if origin not in (None, self.origin):
            raise UsageError("key.origin_settled", origin=self.origin)
        return self.origin or ""

    def mark(self, name: str) -> tuple[int, int] | None:
        """What changes when this key is replaced; None when there is none. Cheap: the key is not read."""
        try:
            status = self._path(name).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def create(self, name: str) -> ActorKey:
        """Make a key.

        Raises:
            Rejected: There is one of this name.
            UsageError: The name is not one a key can have.
        """
        path = self._path(name)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            _write_new(path, _pem(Ed25519PrivateKey.generate()))
        except FileExistsError:
            raise Rejected("key.exists", name=name) from None
        return self.actor(name)

    def actor(self, name: str) -> ActorKey:
        """The key of this name.

        Raises:
            NotFound: There is none.
            Rejected: Others can read its file.
            ProofError: The file is damaged.
        """
        private = _read(self._path(name), name)
        return ActorKey(name, key_id_of(private.public_key().public_bytes_raw()), private)

    def log_signer(self) -> NoteSigner:
        """The system key as the signer of the log's checkpoints."""
        origin = self.origin
        if origin is None:
            raise NotFound("key.unknown", name=SYSTEM)
        return NoteSigner.from_private(origin, self.actor(SYSTEM).raw())

    def prepare_rotation(self, name: str) -> tuple[ActorKey, ActorKey]:
        """The key and the one that will take its place, which waits beside it; asked again, the same one."""
        old, waiting = self.actor(name), self._path(name, _NEXT)
        if not waiting.exists():
            _write_new(waiting, _pem(Ed25519PrivateKey.generate()))
        private = _read(waiting, name)
        return old, ActorKey(name, key_id_of(private.public_key().public_bytes_raw()), private)

    def waiting(self) -> list[str]:
        """The keys another key waits to take the place of: a rotation of theirs was begun and did not end."""
        found = self.folder.glob(f"*{_NEXT}.pem") if self.folder.is_dir() else ()
        return sorted(path.name.removesuffix(f"{_NEXT}.pem") for path in found)

    def finish_rotation(self, name: str) -> ActorKey:
        """Put the waiting key in the place of the old one, which is kept under a number."""
        path, waiting = self._path(name), self._path(name, _NEXT)
        if waiting.exists():
            number = 1 + len(self.retired(name))
            os.link(path, self._path(name, f".{number}"))
            waiting.replace(path)
            _sync_folder(self.folder)
        return self.actor(name)

    def retired(self, name: str) -> list[ActorKey]:
        """The keys that had this name before, the oldest first."""
        self._path(name)
        paths = sorted(self.folder.glob(f"{name}.[0-9]*.pem"), key=lambda path: int(path.suffixes[-2][1:]))
        privates = [_read(path, name) for path in paths]
        return [ActorKey(name, key_id_of(private.public_key().public_bytes_raw()), private) for private in privates]

    def retired_log_signers(self) -> list[NoteSigner]:
        """Former system keys as signers of the log, the oldest first: the last one signs the checkpoint of the handing
        over, and what the others signed still counts."""
        origin = self.origin or ""
        return [NoteSigner.from_private(origin, key.raw()) for key in self.retired(SYSTEM)]

    def next_log_signer(self) -> NoteSigner:
        """The system key that waits to take over, as a signer of the log."""
        return NoteSigner.from_private(self.origin or "", self.prepare_rotation(SYSTEM)[1].raw())

    def keep(self, files: dict[str, bytes]) -> None:
        """Store other secrets that belong together (a certificate chain with its key), mode 0600, over those there.

        The last one goes first and comes last: whoever finds all of them finds one set, also after a crash.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in reversed(files):
            (self.folder / name).unlink(missing_ok=True)
        for name, data in files.items():
            _write_new(self.folder / name, data)

    def kept(self, name: str) -> bytes | None:
        """What `keep` stored; None when there is none.

        Raises:
            Rejected: Others can read the file.
        """
        path = self.folder / name
        return _read_closed(path) if path.is_file() else None

    def _path(self, name: str, mark: str = "") -> Path:
        if not _NAME.fullmatch(name):
            raise UsageError("key.bad_name", name=name[:80])
        return self.folder / f"{name}{mark}.pem"


def _read(path: Path, name: str) -> Ed25519PrivateKey:
    if not path.is_file():
        raise NotFound("key.unknown", name=name)
    data = _read_closed(path)
    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError):
        raise ProofError("key.damaged", path=str(path)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ProofError("key.damaged", path=str(path))
    return key


def _read_closed(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise Rejected("key.open_to_others", path=str(path), mode=f"{mode:04o}")
        return file.read(1 << 20)


def _pem(key: Ed25519PrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _write_new(path: Path, data: bytes) -> None:
    """Write a file nobody else can read, whole and on disk before it has its name; one that is there stays.

    Raises:
        FileExistsError: There is a file of this name.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
