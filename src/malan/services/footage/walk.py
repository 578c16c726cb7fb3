"""Which files a person means by the paths they name.

Walks folders in a stable order, follows links without ever going in circles, and says what it passed over. It opens
nothing but the first bytes of files that are probably documents. Start reading at `walk`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from malan.core.errors import MalanError, MediaError, NotFound

SUBTITLES = frozenset({".srt", ".ass", ".ssa", ".vtt", ".sub", ".idx", ".sup", ".smi"})
# What lies beside footage and is not meant to be added, unless its first bytes say otherwise.
_BESIDE = frozenset(
    f".{name}"
    for names in (
        "txt md rst nfo log csv tsv json xml toml yaml yml html htm url ini cfg lock pdf doc docx xls xlsx ppt pptx",
        "rtf odt zip rar 7z gz tar tgz bz2 xz iso exe dll sh bat py js css sql db sqlite md5 sha1 sha256 sfv par2",
        "torrent part crdownload tmp bak lnk edl aaf otio fcpxml prproj drp cube lrv thm bin ctg ind bim cpi mpl bdm",
        "xmp m3u m3u8 pls cue",
    )
    for name in names.split()
)
# What a workspace keeps in its folder; footage may lie there too.
_WORKSPACE_FILE, _WORKSPACE_PARTS = "malan.toml", frozenset({"library", "blobs", "log", "keys", "exports", "spool"})
_STARTS = (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"fLaC", b"ID3", b"\xff\xd8\xff", b"\x89PNG", b"FLV\1", b"GIF8")
_STARTS_MORE = (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x06\x0e+4", b"0&\xb2u")
_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"styp"})


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to look at: its absolute path as the system gives it, and how it looked when it was found."""

    path: str
    size_bytes: int
    mtime_ns: int
    subtitles: tuple[str, ...] = ()  # names of side-car files next to it


@dataclass(frozen=True, slots=True)
class Unusable:
    """A path that cannot be looked at, and why."""

    path: str
    error: MalanError


@dataclass(slots=True)
class Passed:
    """How many files were passed over, and what for."""

    hidden: int = 0
    subtitles: int = 0
    others: int = 0
    examples: list[str] = field(default_factory=list)  # the first few of the others


def walk(paths: Sequence[str | os.PathLike[str]], passed: Passed | None = None) -> Iterator[FoundFile | Unusable]:
    """Every file below the paths, each once, folder by folder in the order of names.

    Hidden files, documents and side-car subtitles in folders are counted in `passed`; a file that is named itself is
    always taken. A link that leads back to a folder above it is reported, not followed.
    """
    walker = _Walker(passed or Passed())
    for path in paths:
        yield from walker.visit(os.path.abspath(os.fspath(path)))  # noqa: PTH100  # keeps odd bytes as they are


class _Walker:
    def __init__(self, passed: Passed) -> None:
        self._passed = passed
        self._folders: set[tuple[int, int]] = set()  # every folder entered, however it was reached
        self._named: set[str] = set()  # files the caller named, which may come again inside a folder

    def visit(self, path: str) -> Iterator[FoundFile | Unusable]:
        try:
            status = os.stat(path)  # noqa: PTH116
        except (OSError, ValueError) as error:
            yield Unusable(path, _cannot_be_found(path, error))
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._folder(path, status, ())
        else:
            folder, name = os.path.split(path)
            yield from self._file(path, status, _subtitles_beside(name, _names(folder)))
            self._named.add(path)

    def _folder(
        self, path: str, status: os.stat_result, above: tuple[tuple[int, int], ...]
    ) -> Iterator[FoundFile | Unusable]:
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            yield Unusable(path, MediaError("asset.folder_loop", path=path))
        if identity in self._folders:
            return
        self._folders.add(identity)
        try:
            with os.scandir(path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Unusable(path, MediaError("asset.folder_unreadable", path=path, detail=error.strerror or str(error)))
            return
        shown = [entry for entry in listed if not entry.name.startswith(".")]
        if any(entry.name == _WORKSPACE_FILE for entry in shown):
            shown = [entry for entry in shown if entry.name not in _WORKSPACE_PARTS and "malan." not in entry.name]
        self._passed.hidden += len(listed) - len(shown)
        subtitles = [entry.name for entry in shown if _extension(entry.name) in SUBTITLES]
        for entry in shown:
            yield from self._entry(entry, (*above, identity), subtitles)

    def _entry(
        self, entry: os.DirEntry[str], above: tuple[tuple[int, int], ...], subtitles: list[str]
    ) -> Iterator[FoundFile | Unusable]:
        try:
            status = entry.stat()
        except OSError as error:
            yield Unusable(entry.path, _cannot_be_found(entry.path, error))
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._folder(entry.path, status, above)
        elif not self._is_beside(entry):
            yield from self._file(entry.path, status, _subtitles_beside(entry.name, subtitles))

    def _file(self, path: str, status: os.stat_result, subtitles: tuple[str, ...]) -> Iterator[FoundFile | Unusable]:
        if path not in self._named:
            yield FoundFile(path, status.st_size, status.st_mtime_ns, subtitles)

    def _is_beside(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file in a folder is passed over: a subtitle, or a document by name and content."""
        extension = _extension(entry.name)
        if extension in SUBTITLES:
            self._passed.subtitles += 1
            return True
        if extension not in _BESIDE or _starts_like_media(entry.path):
            return False
        self._passed.others += 1
        if len(self._passed.examples) < 5:
            self._passed.examples.append(entry.name)
        return True


def _cannot_be_found(path: str, error: OSError | ValueError) -> MalanError:
    if os.path.islink(path):  # noqa: PTH114
        return MediaError("asset.broken_link", path=path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound("media.not_there", path=path)
    return MediaError("media.unreadable", path=path, detail=getattr(error, "strerror", None) or str(error))


def _extension(name: str) -> str:
    return PurePath(name).suffix.lower()


def _subtitles_beside(name: str, others: Sequence[str]) -> tuple[str, ...]:
    """Subtitles that belong to a film: `film.srt`, `film.zh.ass`."""
    if not others:
        return ()
    stem = PurePath(name).stem
    return tuple(o for o in others if o.startswith(f"{stem}.") and _extension(o) in SUBTITLES and o != name)


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if _extension(name) in SUBTITLES)  # noqa: PTH208
    except OSError:
        return []


def _starts_like_media(path: str) -> bool:
    """Whether a file's first bytes are those of a film, a sound or a picture, whatever its name."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        head = os.read(fd, 512)
    except OSError:
        return False
    finally:
        os.close(fd)
    is_stream = len(head) > 188 and head[0] == head[188] == 0x47
    return is_stream or head[4:8] in _BOXES or head.startswith((*_STARTS, *_STARTS_MORE))
