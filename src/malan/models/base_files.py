"""The files of a base model on disk: looked through as if sent by an enemy, named by one digest, never copied.

A base is one `.safetensors` or `.onnx` file, a folder with `config.json` (or `model_index.json`), shards and tokenizer
files, or a folder of ONNX files and what belongs to them.
Pickles, code and archives are refused, whatever they are called; so are links that lead out of the folder's hub. What
counts as part of a base is what `inference.weights` takes, so both give it the same digest. Start at `scan_base`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from malan.core.errors import NotFound, ProofError, Rejected
from malan.core.ids import digest_record
from malan.inference.onnx_guard import check_onnx
from malan.inference.tensors import Limits, scan_tensors
from malan.inference.weights import ONNX, is_usable_beside_onnx, usable_names

WEIGHTS = ".safetensors"
_INDEX = ".safetensors.index.json"
_WORDS = {".json", ".txt", ".model", ".jinja", ".md", ".jsonl"}  # configuration, tokenizers, cards
_NAMES = {"LICENSE", "LICENCE", "NOTICE", ".gitattributes"}
_BESIDE = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".svg", ".pdf"}  # of the card; not part of the model
_MOST_FILES, _MOST_WORDS_BYTES, _DEEPEST = 2_000, 64 * 2**20, 4
_LIMITS = Limits(file_bytes=2**40, header_bytes=2**26, tensors=200_000)
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"\x1f\x8b", b"\x7fELF", b"BZh")


@dataclass(frozen=True)
class BaseFile:
    """One file: its name below the folder, its digest, and how it looked when it was read."""

    name: str
    digest: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class BaseModel:
    """A base as it lies there. `id` is the digest of the one file, or of the list of names and digests."""

    folder: Path
    files: tuple[BaseFile, ...]
    tensors: int

    @property
    def id(self) -> str:
        if len(self.files) == 1:
            return self.files[0].digest
        return digest_record("model.files", [[one.name, one.digest] for one in self.files])

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.files)

    def to_value(self) -> dict[str, Any]:
        """What the registry keeps: the place, and every file."""
        files = [[one.name, one.digest, one.size_bytes, one.mtime_ns] for one in self.files]
        return {"folder": str(self.folder), "files": files, "tensors": self.tensors}

    @classmethod
    def from_value(cls, said: Mapping[str, Any]) -> BaseModel:
        return cls(Path(said["folder"]), tuple(BaseFile(*one) for one in said["files"]), said["tensors"])

    def check(self) -> dict[str, Path]:
        """Every file by its name, once it is certain to be what was registered.

        A file that looks as it did (size and time of change) is not read again.

        Raises:
            NotFound: A file is not there any more.
            ProofError: One is not what it was.
        """
        return {one.name: _same(self.folder / one.name, one) for one in self.files}


def scan_base(path: Path) -> BaseModel:
    """Look through a base model.

    Raises:
        NotFound: There is nothing there.
        Rejected: Anything but weights, configuration and words; a file of weights that is not well formed; an index
            that names shards or tensors that are not there.
    """
    if path.is_file():
        return _single(path.resolve())
    if not path.is_dir():
        raise NotFound("models.no_file", path=str(path))
    root = path.resolve()
    listed = dict(_listed(root))
    found = [(name, listed[name]) for name in usable_names(listed)]
    if graphs := [file for name, file in found if name.endswith(ONNX)]:
        count = sum(check_onnx(file, root=root).nodes for file in graphs)
        return BaseModel(root, tuple(_read(name, file) for name, file in sorted(found)), count)
    weights = {name: file for name, file in found if name.endswith(WEIGHTS)}
    if not weights or not ({"config.json", "model_index.json"} & {name for name, _ in found}):
        raise Rejected("models.not_a_base", path=root.name)
    held = {name: set(scan_tensors(file, _LIMITS).tensors) for name, file in weights.items()}
    for name, file in found:
        if name.endswith(".json"):
            _check_words(name, file, held)
    files = tuple(_read(name, file) for name, file in sorted(found))
    return BaseModel(root, files, sum(map(len, held.values())))


def _single(path: Path) -> BaseModel:
    if not path.name.endswith((WEIGHTS, ONNX)):
        raise Rejected("models.not_weights", name=path.name[:80])
    _refuse_pickle(path.name, path)
    count = check_onnx(path).nodes if path.name.endswith(ONNX) else len(scan_tensors(path, _LIMITS).tensors)
    return BaseModel(path.parent, (_read(path.name, path),), count)


def _listed(root: Path) -> list[tuple[str, Path]]:
    """All plain files below a folder, by their names in it."""
    found: list[tuple[str, Path]] = []
    for here, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in (".git", ".cache"))
        for name in [*names, *(one for one in folders if (Path(here) / one).is_symlink())]:
            path = Path(here) / name
            short = path.relative_to(root).as_posix()
            if len(short.split("/")) > _DEEPEST or len(found) >= _MOST_FILES or not short.isprintable():
                raise Rejected("models.too_many_files", most=_MOST_FILES)
            _check_plain(short, path, root)
            found.append((short, path))
    has_weights = any(name.endswith(WEIGHTS) for name, _ in found)
    has_graphs = any(name.endswith(ONNX) for name, _ in found) and not has_weights
    for name, path in found:
        if not (_is_known(path) or (has_graphs and is_usable_beside_onnx(name))):
            raise Rejected("models.not_weights", name=name[:80])
    return found


def _check_plain(name: str, path: Path, root: Path) -> None:
    """A regular file of a known kind; a link only into the folder itself or the `blobs` of a Hugging Face cache."""
    target = path.resolve()
    hub = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    if path.is_symlink() and not (target.is_relative_to(root) or target.is_relative_to(hub)):
        raise Rejected("models.link", name=name[:80])
    if not target.is_file():
        raise Rejected("models.odd_file", name=name[:80])
    _refuse_pickle(name, path)


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in _WORDS | _BESIDE | {WEIGHTS} or path.name in _NAMES


def _refuse_pickle(name: str, path: Path) -> None:
    """What unpickles, unpacks or runs is refused by how it begins, not only by what it is called."""
    with path.open("rb") as file:
        first = file.read(8)
    is_tensors = name.endswith(WEIGHTS) and 2 <= int.from_bytes(first, "little") < 2**32
    if path.suffix.lower() not in _BESIDE and not is_tensors and first.startswith(_PICKLES):
        raise Rejected("models.pickle", name=name[:80])


def _check_words(name: str, path: Path, held: Mapping[str, set[str]]) -> None:
    """JSON that parses; of an index, shards that are there and hold what it says."""
    if path.stat().st_size > _MOST_WORDS_BYTES:
        raise Rejected("tensors.too_large", size=path.stat().st_size, most=_MOST_WORDS_BYTES)
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Rejected("models.bad_json", name=name[:80]) from error
    if not name.endswith(_INDEX):
        return
    folder = name.rpartition("/")[0]
    places = said.get("weight_map") if isinstance(said, dict) else None
    if not isinstance(places, dict):
        raise Rejected("models.bad_json", name=name[:80])
    for tensor, shard in places.items():
        if tensor not in held.get(f"{folder}/{shard}" if folder else str(shard), ()):
            raise Rejected("models.bad_index", name=name[:80], tensor=str(tensor)[:80])


def _read(name: str, path: Path) -> BaseFile:
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        return BaseFile(name, file_digest(file, "sha256").hexdigest(), about.st_size, about.st_mtime_ns)


def _same(path: Path, known: BaseFile) -> Path:
    try:
        about = path.stat()
    except OSError as error:
        raise NotFound("models.no_file", path=str(path)) from error
    if (about.st_size, about.st_mtime_ns) != (known.size_bytes, known.mtime_ns):
        found = _read(known.name, path).digest
        if found != known.digest:
            raise ProofError("models.changed", path=known.name, digest=known.digest[:12], found=found[:12])
    return path
