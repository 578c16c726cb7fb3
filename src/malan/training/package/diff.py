"""What is different between two versions of a package: settings by key, files by name, lines of text.

Bounded: a reviewer reads a page, not a megabyte; what was left out is counted. Start reading at `compare_packages`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from malan.training.package.hints import Hint, find_hints
from malan.training.package.lines import unified_lines
from malan.training.package.package import Package

MOST_LINES = 2_000
MOST_COMPARED = 20_000
MOST_FILE_BYTES = 200_000
LONGEST_LINE = 400
ADDED, REMOVED, CHANGED = "added", "removed", "changed"


@dataclass(frozen=True)
class Difference:
    """From one package to another. `settings` maps a key to what it was and is; `lines` is a unified diff.

    `files` maps a name to `added`, `removed` or `changed`; `left_out` names files whose lines are not shown, being no
    text, or too much of it. `hints` are those that the older version did not have.
    """

    before: str
    after: str
    settings: Mapping[str, tuple[Any, Any]]
    files: Mapping[str, str]
    lines: tuple[str, ...]
    left_out: tuple[str, ...]
    hints: tuple[Hint, ...]

    @property
    def is_empty(self) -> bool:
        return not self.files


def compare_packages(before: Package, after: Package) -> Difference:
    """What a reviewer of `after` must look at who knows `before`."""
    files = dict(_files(before.files, after.files))
    lines: list[str] = []
    left_out: list[str] = []
    budget = _Budget()
    for path in files:
        shown = budget.lines(path, before.files.get(path, b""), after.files.get(path, b""))
        if shown is None:
            left_out.append(path)
        else:
            lines += shown
    known = {(hint.path, hint.kind, hint.name) for hint in find_hints(before.files)}
    new = tuple(one for one in find_hints(after.files) if (one.path, one.kind, one.name) not in known)
    settings = dict(_settings(before, after))
    return Difference(before.digest, after.digest, settings, files, tuple(lines), tuple(left_out), new)


def settings_of(package: Package) -> dict[str, Any]:
    """Everything a package says of itself, flat: `data.use`, `outputs.model.max_bytes`, …"""
    said = {
        name: _plain(getattr(package, name))
        for name in Package.__dataclass_fields__
        if name not in ("files", "digest", "parameters")
    }
    said["parameters"] = {one.name: _plain(one) for one in package.parameters}
    return dict(_flat("", said))


def _settings(before: Package, after: Package) -> Iterator[tuple[str, tuple[Any, Any]]]:
    old, new = settings_of(before), settings_of(after)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield key, (old.get(key), new.get(key))


def _files(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    for path in sorted(before.keys() | after.keys()):
        if path not in before:
            yield path, ADDED
        elif path not in after:
            yield path, REMOVED
        elif before[path] != after[path]:
            yield path, CHANGED


class _Budget:
    """What is left of the room for lines, and of the work of comparing."""

    def __init__(self) -> None:
        self.room, self.work = MOST_LINES, MOST_COMPARED

    def lines(self, path: str, before: bytes, after: bytes) -> list[str] | None:
        """A unified diff of two texts; None when they are none, or too much is left of neither."""
        if len(before) + len(after) > MOST_FILE_BYTES:
            return None
        try:
            old, new = (_shown(data.decode("utf-8")) for data in (before, after))
        except UnicodeDecodeError:
            return None
        self.work -= len(old) + len(new)
        if self.work < 0:
            return None
        found = unified_lines(path, old, new)
        if len(found) > self.room:
            return None
        self.room -= len(found)
        return found


def _shown(text: str) -> list[str]:
    """Lines with whatever could steer a terminal made visible, none of them long."""
    return [
        "".join(c if c.isprintable() or c == "\t" else "�" for c in line[:LONGEST_LINE]) for line in text.split("\n")
    ]


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}" if key else str(name), _plain(inner))
    elif isinstance(value, list | tuple):
        yield key, ", ".join(str(_plain(one)) for one in value)
    elif value not in (None, "", {}):
        yield key, value
