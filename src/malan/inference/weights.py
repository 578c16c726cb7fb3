"""Where the weights of a base model are: a folder, or a name on Hugging Face or ModelScope.

    path:/models/wan     hf:Wan-AI/Wan2.1-T2V-1.3B-Diffusers@main     ms:Wan-AI/Wan2.1-T2V-1.3B-Diffusers@v1

Only words and safetensors, or ONNX files, are taken, never what runs when it is opened. All of this happens outside the
sandbox; a run sees the files alone, read only. Whose base it is and what its licence allows is for the registry.
Fetching is in `weights_fetch.py`. Start reading at `resolve_base`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from malan.core.errors import NotFound, Rejected, UsageError
from malan.core.ids import digest_record
from malan.inference.tensors import Limits, scan_tensors

HUBS = ("hf", "ms")
_NAME = re.compile(r"(hf|ms):([\w.-]{1,96})/([\w.-]{1,96})(?:@([\w./-]{1,96}))?", re.ASCII)
_WORDS = {".json", ".txt", ".model", ".jinja", ".md"}
_NAMES = {"LICENSE", "LICENCE", "NOTICE", "LICENSE.txt"}
_WEIGHTS = ".safetensors"
ONNX = ".onnx"
_BESIDE_ONNX = {
    ".onnx_data",
    ".fst",
    ".far",
    ".utf8",
    ".tsv",
    ".vocab",
}  # what speech models keep: grammars, dictionaries
_NUMBERS_BESIDE_ONNX = ("voices.bin",)
_ESPEAK = "espeak-ng-data"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LIMITS = Limits(file_bytes=2**40, header_bytes=2**26, tensors=200_000)
_LEAST_SIDES = 2
_TRAINED, _AS_PEFT = ("transformer", "unet"), "base_model.model."


@dataclass(frozen=True, slots=True)
class Reference:
    """A base model by name: `path` and where, or a hub with organisation, name and revision."""

    kind: str
    place: str
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read `path:…`, `hf:…` or `ms:…`.

        Raises:
            UsageError: It is none of these.
        """
        if text.startswith("path:") and len(text) > len("path:"):
            return cls("path", text.removeprefix("path:"))
        found = _NAME.fullmatch(text)
        if found is None or ".." in text:
            raise UsageError("weights.reference", text=text[:120])
        hub, organisation, name, revision = found.groups()
        return cls(hub, f"{organisation}/{name}", revision or ("main" if hub == "hf" else "master"))

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Base:
    """The files of a base model on this machine, by their names in its folder."""

    reference: Reference
    folder: Path
    paths: Mapping[str, Path]

    @property
    def digest(self) -> str:
        """Of all names and contents; reads every byte."""
        from hashlib import file_digest

        listed = []
        for name, path in sorted(self.paths.items()):
            with path.open("rb") as file:
                listed.append([name, file_digest(file, "sha256").hexdigest()])
        return digest_record("model.files", listed)


def resolve_base(text: str, *, digest: str = "", fetch_into: Path | None = None) -> Base:
    """The files of a base model, from here or, if allowed, from its hub.

    Args:
        text: The reference.
        digest: What `Base.digest` must begin with; what a hub says of itself decides nothing.
        fetch_into: Where to put what is fetched; None: nothing is fetched.

    Raises:
        UsageError: Not a reference.
        NotFound: It is not here, and may not or cannot be fetched.
        Rejected: Its files are no base model, unsafe, or not those of the digest.
    """
    reference = Reference.parse(text)
    folder = Path(reference.place).expanduser() if reference.kind == "path" else find_in_caches(reference, fetch_into)
    if folder is None and fetch_into is not None:
        from malan.inference.weights_fetch import fetch_base

        folder = fetch_base(reference, own_folder(reference, fetch_into))
    if folder is None:
        raise NotFound("weights.not_here", reference=str(reference))
    if not folder.is_dir():
        raise NotFound("weights.no_folder", path=str(folder))
    base = Base(reference, folder, files_of(folder, reference))
    if digest and not (found := base.digest).startswith(digest.removeprefix("sha256:")):
        raise Rejected("weights.digest", reference=str(reference), found=found[:12], wanted=digest[:12])
    return base


def base_modules(folder: Path, component: str = "") -> dict[str, list[int]]:
    """The matrices of one part of a base: module → [outputs, inputs, kernel…], by the names adapters use.

    Args:
        folder: Of the base.
        component: A part of a pipeline (`transformer`, `transformer_2`, `unet`), which names then begin with; empty for
            the one that is usually trained. A language model lies in the folder itself; its names begin as peft's do.

    Raises:
        Rejected: The part has no weights, or they are malformed. Only headers are read.
    """
    component = component or next((name for name in _TRAINED if (folder / name).is_dir()), "")
    begin = f"{component}." if component else _AS_PEFT
    found: dict[str, list[int]] = {}
    for path in sorted((folder / component).glob(f"*{_WEIGHTS}")):
        for name, tensor in scan_tensors(path, _LIMITS).tensors.items():
            module, _, last = name.rpartition(".")
            if last == "weight" and len(tensor.shape) >= _LEAST_SIDES:
                found[f"{begin}{module}"] = list(tensor.shape)
    if not found:
        raise Rejected("weights.no_modules", reference=folder.name, component=component or ".")
    return dict(sorted(found.items()))


def files_of(folder: Path, reference: Reference) -> dict[str, Path]:
    """The files of a folder that a run may see; what is neither words nor safetensors is left out.

    Raises:
        Rejected: No configuration, no weights, or weights in files that run code when opened only.
    """
    root = folder.resolve()
    paths = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    usable = {name: paths[name] for name in usable_names(paths) if _is_inside(paths[name], root)}
    if any(name.endswith(ONNX) for name in usable):
        return usable
    if not any(name in usable for name in ("model_index.json", "config.json")):
        raise Rejected("weights.layout", reference=str(reference), detail="model_index.json, config.json")
    if not any(name.endswith(_WEIGHTS) for name in usable):
        pickled = next((name for name in paths if name.endswith(_PICKLED)), None)
        if pickled is not None:
            raise Rejected("weights.not_safetensors", reference=str(reference), name=pickled[:80])
        raise Rejected("weights.layout", reference=str(reference), detail=f"*{_WEIGHTS}")
    return usable


def usable_names(names: Iterable[str]) -> list[str]:
    """Which files of a base are taken: plain paths to words and safetensors; where there are none, to ONNX files and
    what speech models keep beside them."""
    plain = [name for name in names if _is_plain(name)]
    is_onnx = any(name.endswith(ONNX) for name in plain) and not any(name.endswith(_WEIGHTS) for name in plain)
    return [name for name in plain if is_usable(name) or (is_onnx and is_usable_beside_onnx(name))]


def is_usable(name: str) -> bool:
    """Whether a file of this name is taken from any base: a plain path to words or safetensors."""
    path = PurePosixPath(name)
    return _is_plain(name) and (path.suffix in _WORDS | {_WEIGHTS} or path.name in _NAMES)


def is_usable_beside_onnx(name: str) -> bool:
    """Whether a file of this name is taken from a base of ONNX files."""
    path = PurePosixPath(name)
    known = path.suffix in _BESIDE_ONNX | {ONNX} or path.name in _NUMBERS_BESIDE_ONNX or _ESPEAK in path.parts[:-1]
    return _is_plain(name) and known


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and all(part[0] != "." for part in path.parts)


def own_folder(reference: Reference, root: Path) -> Path:
    """Where a fetched base lies below a folder of ours."""
    return root / reference.kind / reference.place / reference.revision.replace("/", "--")


def find_in_caches(reference: Reference, ours: Path | None) -> Path | None:
    """The folder of a base that was fetched before: by us, or by the hub's own tools."""
    places = [own_folder(reference, ours)] if ours is not None else []
    places += _of_hugging_face(reference) if reference.kind == "hf" else _of_modelscope(reference)
    return next((place for place in places if place.is_dir()), None)


def _of_hugging_face(reference: Reference) -> list[Path]:
    """A revision is a commit, or a name that the cache keeps the commit of."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    folder = cache / f"models--{reference.place.replace('/', '--')}"
    named = folder / "refs" / reference.revision
    commit = named.read_text("ascii").strip() if named.is_file() else reference.revision
    return [folder / "snapshots" / commit] if re.fullmatch(r"[\w.-]+", commit) else []


def _of_modelscope(reference: Reference) -> list[Path]:
    """It keeps one revision; which one is not told, so only the usual one counts as found."""
    if reference.revision != "master":
        return []
    cache = Path(os.environ.get("MODELSCOPE_CACHE", "~/.cache/modelscope")).expanduser()
    place = reference.place.replace(".", "___")
    return [cache / "hub" / "models" / place, cache / "models" / place, cache / "hub" / place]


def _is_inside(path: Path, root: Path) -> bool:
    """A file of the folder itself, or of the store of blobs beside snapshots, to which Hugging Face's cache links."""
    target = path.resolve()
    blobs = root.parent.parent / "blobs"
    return target.is_relative_to(root) or (root.parent.name == "snapshots" and target.is_relative_to(blobs))
