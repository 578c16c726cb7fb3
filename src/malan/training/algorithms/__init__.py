"""Algorithms that come with Malan: folders of files, each with an `algorithm.toml`. Nothing here is imported from them.

What several of them need lies once in `shared/`; a folder names what it takes in `shared.txt`, and `builtin_files` puts
both together: a whole package, whose digest covers all of it. Start reading at `builtin_files`.
"""

from __future__ import annotations

from pathlib import Path

from malan.core.errors import NotFound

_HERE = Path(__file__).parent
_MANIFEST, _TAKES, _SHARED = "algorithm.toml", "shared.txt", "shared"
_OF_TRAINING = ("privacy.py",)
"""Shared files that the platform uses too, and which therefore lie one folder up."""


def builtin_names() -> tuple[str, ...]:
    """The algorithms that come with Malan, in order."""
    return tuple(sorted(path.parent.name for path in _HERE.glob(f"*/{_MANIFEST}")))


def builtin_files(name: str) -> dict[str, bytes]:
    """All files of one of them by their path in the package, those it shares with others included.

    Raises:
        NotFound: There is none of that name.
    """
    if name not in builtin_names():
        raise NotFound("lora.no_builtin", name=name[:80], names=", ".join(builtin_names()))
    folder = _HERE / name
    own = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if _counts(path)}
    takes = own.pop(_TAKES, b"").decode("utf-8").split()
    return dict(sorted({**own, **{file: _shared(file).read_bytes() for file in takes}}.items()))


def _shared(file: str) -> Path:
    return _HERE.parent / file if file in _OF_TRAINING else _HERE / _SHARED / file


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
