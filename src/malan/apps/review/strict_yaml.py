"""YAML of rule packs: maps, lists and texts, each with its line; nothing else of YAML. Start at `read_yaml`.

No anchors, no tags, no types guessed: `no`, `2026-09-01` and `1.0` are texts. A key that stands twice is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from malan.core.errors import UsageError

LARGEST = 1_000_000
DEEPEST = 12


@dataclass(frozen=True, slots=True)
class At:
    """A value and its line."""

    value: Any  # str, list of plain values or dict of At
    line: int


def read_yaml(data: bytes, file: str) -> Fields:
    """The map at the top of a file.

    Raises:
        UsageError: It is no YAML of this kind; the line is named.
    """
    import yaml

    if len(data) > LARGEST:
        raise UsageError("review.pack.large", file=file, most=LARGEST)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError("review.pack.yaml", file=file, line=1, why="encoding") from None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, in C
        events = list(yaml.parse(text, Loader=loader))
        for event in events:
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
                raise UsageError("review.pack.yaml", file=file, line=event.start_mark.line + 1, why="anchors")
        node = yaml.compose(text, Loader=loader)
    except RecursionError:
        raise UsageError("review.pack.yaml", file=file, line=1, why="deep") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        why = str(getattr(error, "problem", None) or "encoding")
        raise UsageError("review.pack.yaml", file=file, line=mark.line + 1 if mark else 1, why=why) from None
    if node is None or node.id != "mapping":
        raise UsageError("review.pack.yaml", file=file, line=1, why="map")
    top = _plain(node, file, 0)
    return Fields(top.value, top.line, file)


def _plain(node: Any, file: str, deep: int) -> At:
    line = node.start_mark.line + 1
    if deep > DEEPEST:
        raise UsageError("review.pack.yaml", file=file, line=line, why="deep")
    if node.id == "scalar":
        return At(node.value, line)
    if node.id == "sequence":
        return At([_plain(one, file, deep + 1) for one in node.value], line)
    made: dict[str, At] = {}
    for key, value in node.value:
        if key.id != "scalar" or key.value in made:
            raise UsageError("review.pack.yaml", file=file, line=key.start_mark.line + 1, why="twice")
        made[key.value] = _plain(value, file, deep + 1)
    return At(made, line)


class Fields:
    """A map of a pack, asked for its fields by kind; what is not as it should be is refused with its line."""

    def __init__(self, values: Mapping[str, At], line: int, file: str) -> None:
        self._values, self.line, self.file = values, line, file

    def refuse(self, code: str, line: int, **values: Any) -> UsageError:
        """The error that names file and line."""
        return UsageError(code, file=self.file, line=line, **values)

    def has(self, name: str) -> bool:
        return name in self._values

    def line_of(self, name: str) -> int:
        return self._values[name].line if name in self._values else self.line

    def only(self, *known: str) -> None:
        """Refuse every key but these."""
        for name, said in self._values.items():
            if name not in known:
                raise self.refuse("review.pack.key", said.line, key=name[:40], known=", ".join(known))

    def text(self, name: str) -> str:
        """A text that must be there."""
        said = self._values.get(name)
        if said is None or not isinstance(said.value, str) or not said.value.strip():
            raise self.refuse("review.pack.field", self.line_of(name), field=name)
        return said.value.strip()

    def texts(self, name: str, *, optional: bool = False) -> list[str]:
        """A list of texts."""
        said = self._values.get(name)
        if said is None and optional:
            return []
        listed = said.value if said else None
        if not isinstance(listed, list) or not all(isinstance(one.value, str) for one in listed):
            raise self.refuse("review.pack.field", self.line_of(name), field=name)
        return [one.value for one in listed]

    def line_in(self, name: str, place: int) -> int:
        """The line of an entry of a list."""
        return int(self._values[name].value[place].line)

    def both(self, name: str) -> dict[str, str]:
        """A text in English and Chinese."""
        said = self._values.get(name)
        inner = Fields(said.value, said.line, self.file) if said and isinstance(said.value, dict) else None
        if inner is None:
            raise self.refuse("review.pack.field", self.line_of(name), field=name)
        inner.only("zh", "en")
        return {"zh": inner.text("zh"), "en": inner.text("en")}

    def listed(self, name: str, *, optional: bool = False) -> list[Fields]:
        """A list of maps, not empty; where it may be absent, none."""
        said = self._values.get(name)
        if said is None and optional:
            return []
        listed = said.value if said else None
        if not isinstance(listed, list) or not listed or not all(isinstance(one.value, dict) for one in listed):
            raise self.refuse("review.pack.field", self.line_of(name), field=name)
        return [Fields(one.value, one.line, self.file) for one in listed]

    def items(self, name: str | None = None) -> Iterator[tuple[str, At]]:
        """The entries of a map in this one, or of this one; lists of texts come as plain lists."""
        if name is None:
            found = self._values
        elif name not in self._values:
            return
        elif isinstance(self._values[name].value, dict):
            found = self._values[name].value
        else:
            raise self.refuse("review.pack.field", self.line_of(name), field=name)
        for key, said in found.items():
            is_list = isinstance(said.value, list)
            yield key, At([one.value for one in said.value], said.line) if is_list else said
