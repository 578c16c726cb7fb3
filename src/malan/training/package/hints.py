"""What a reviewer of code may want to look at first: imports and calls that algorithms seldom need.

Hints for people, never a guarantee: whoever wants to hide something from a reader of names can. What holds a program is
the sandbox, and what holds its result is the gate. Start reading at `find_hints`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from malan.training.package.environment import PACKAGES
from malan.training.package.source import Unreadable, parse_source

MOST_HINTS = 500
MOST_READ = 400_000  # bytes of Python
IMPORT, CALL, TEXT, SHADOW, UNREADABLE, BINARY = "import", "call", "text", "shadow", "unreadable", "binary"

_MODULES = re.compile(
    "asyncio|base64|binascii|builtins|bz2|codecs|code|ctypes|cffi|dbm|fcntl|ftplib|gc|gzip|http|imaplib|importlib|inspect|io"
    "|lzma|marshal|mmap|multiprocessing|os|pickle|pkgutil|pty|resource|runpy|select|shelve|shutil|signal|smtplib|socket"
    "|socketserver|sqlite3|ssl|subprocess|sys|tarfile|tempfile|threading|urllib|webbrowser|zipfile|zlib"
)
_CALLS = re.compile("__import__|breakpoint|compile|eval|exec|globals|input|locals|open|vars|getattr|setattr|delattr")
_ATTRIBUTES = re.compile(
    "__(subclasses|globals|builtins|bases|mro|code|reduce|dict)__|tofile|tobytes|frombuffer|memmap|packbits|unpackbits"
    "|system|popen|fork|environ"
)
_LONG_TEXT = re.compile(r"[A-Za-z0-9+/=_-]{200,}")


@dataclass(frozen=True, slots=True)
class Hint:
    """Something to look at: which file and line, of what kind, and the name it has there."""

    path: str
    line: int
    kind: str
    name: str

    def as_record(self) -> dict[str, str | int]:
        """For JSON."""
        return {"file": self.path, "line": self.line, "kind": self.kind, "name": self.name}


def find_hints(files: Mapping[str, bytes]) -> tuple[Hint, ...]:
    """Hints in all files, in order; at most `MOST_HINTS`."""
    found: list[Hint] = []
    left = MOST_READ
    for path, data in sorted(files.items()):
        is_python = path.endswith((".py", ".pyi"))
        left -= len(data) if is_python else 0
        if left < 0 and is_python:
            found.append(Hint(path, 0, UNREADABLE, ""))
        else:
            found += _python(path, data) if is_python else _other(path, data)
        if len(found) >= MOST_HINTS:
            break
    return tuple(found[:MOST_HINTS])


def _python(path: str, data: bytes) -> Iterator[Hint]:
    module = path.partition("/")[0].removesuffix(".py")
    if module in sys.stdlib_module_names or module in PACKAGES:
        yield Hint(path, 0, SHADOW, module)
    try:
        tree = parse_source(data)
    except Unreadable:
        yield Hint(path, 0, UNREADABLE, "")
        return
    for line, name in _imports(tree):
        if _MODULES.fullmatch(name.partition(".")[0]):
            yield Hint(path, line, IMPORT, name[:60])
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _CALLS.fullmatch(node.func.id):
            yield Hint(path, node.lineno, CALL, node.func.id)
        elif isinstance(node, ast.Attribute) and _ATTRIBUTES.fullmatch(node.attr):
            yield Hint(path, node.lineno, CALL, node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and _is_long(node.value):
            yield Hint(path, node.lineno, TEXT, f"{len(node.value)}")


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module or ""


def _other(path: str, data: bytes) -> Iterator[Hint]:
    if not _is_text(data):
        yield Hint(path, 0, BINARY, f"{len(data)}")


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _is_long(value: str | bytes) -> bool:
    text = value if isinstance(value, str) else value.decode("latin-1")
    return _LONG_TEXT.search(text) is not None
