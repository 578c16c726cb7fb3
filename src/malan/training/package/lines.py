"""The difference of two texts, line by line, in time that a hostile text cannot stretch.

Myers' greedy search for the shortest edit, given up after `MOST_EDITS`: then everything between what both begin and end
with is shown as gone and new. Start reading at `unified_lines`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

MOST_EDITS = 400

Op = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]


class _Settled(difflib.SequenceMatcher[str]):
    """Operations that are known, for `difflib` to group."""

    def __init__(self, operations: list[Op]) -> None:
        super().__init__(None, "", "")
        self._operations = operations

    def get_opcodes(self) -> list[Op]:
        return self._operations


def unified_lines(path: str, old: Sequence[str], new: Sequence[str], context: int = 3) -> list[str]:
    """A unified diff of a file, without line ends; empty when nothing is different."""
    lines: list[str] = []
    for group in _Settled(_operations(old, new)).get_grouped_opcodes(context):
        lines.append(f"@@ -{_range(group[0][1], group[-1][2])} +{_range(group[0][3], group[-1][4])} @@")
        for kind, start, end, low, high in group:
            lines += [f" {line}" for line in old[start:end]] if kind == "equal" else []
            lines += [f"-{line}" for line in old[start:end]] if kind in ("replace", "delete") else []
            lines += [f"+{line}" for line in new[low:high]] if kind in ("replace", "insert") else []
    return [f"--- a/{path}", f"+++ b/{path}", *lines] if lines else []


def _operations(old: Sequence[str], new: Sequence[str]) -> list[Op]:
    """What to do from one to the other, as `difflib` says it."""
    begin = 0
    while begin < min(len(old), len(new)) and old[begin] == new[begin]:
        begin += 1
    end = 0
    while end < min(len(old), len(new)) - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    inner = _pairs(old[begin : len(old) - end], new[begin : len(new) - end])
    pairs = [(at, at) for at in range(begin)]
    pairs += [(begin + x, begin + y) for x, y in inner]
    pairs += [(len(old) - end + at, len(new) - end + at) for at in range(end)]
    return _told([*pairs, (len(old), len(new))])


def _told(pairs: Sequence[tuple[int, int]]) -> list[Op]:
    """Operations between equal lines; the last pair is the end of both."""
    found: list[Op] = []
    x = y = 0
    for at_x, at_y in pairs:
        if x < at_x or y < at_y:
            found.append(("replace" if x < at_x and y < at_y else "delete" if x < at_x else "insert", x, at_x, y, at_y))
        if (at_x, at_y) != pairs[-1]:
            found.append(("equal", at_x, at_x + 1, at_y, at_y + 1))
        x, y = at_x + 1, at_y + 1
    return _joined(found)


def _joined(operations: Sequence[Op]) -> list[Op]:
    """Neighbouring equal lines as one."""
    found: list[Op] = []
    for one in operations:
        if found and one[0] == found[-1][0] == "equal":
            found[-1] = ("equal", found[-1][1], one[2], found[-1][3], one[4])
        else:
            found.append(one)
    return found


def _pairs(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Lines that stay, by their numbers in both; none when more than `MOST_EDITS` edits would be needed."""
    reached: dict[int, int] = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(min(MOST_EDITS, len(old) + len(new)) + 1):
        trace.append(dict(reached))
        for diagonal in range(-edits, edits + 1, 2):
            x = _start(reached, diagonal, edits)
            while x < len(old) and 0 <= x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            reached[diagonal] = x
            if x >= len(old) and x - diagonal >= len(new):
                return _walked_back(trace, len(old), len(new))
    return []


def _start(reached: dict[int, int], diagonal: int, edits: int) -> int:
    """Where the furthest path on a diagonal goes on: one down from the diagonal above, or one right from that below."""
    if _comes_down(reached, diagonal, edits):
        return reached[diagonal + 1]
    return reached[diagonal - 1] + 1


def _comes_down(reached: dict[int, int], diagonal: int, edits: int) -> bool:
    return diagonal == -edits or (diagonal != edits and reached[diagonal - 1] < reached[diagonal + 1])


def _walked_back(trace: Sequence[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    """The pairs on the path to (x, y), from the way that was taken."""
    pairs: list[tuple[int, int]] = []
    for edits in range(len(trace) - 1, -1, -1):
        diagonal = x - y
        start = _start(trace[edits], diagonal, edits)
        while x > start:
            x, y = x - 1, y - 1
            pairs.append((x, y))
        if _comes_down(trace[edits], diagonal, edits):
            y -= 1
        else:
            x -= 1
    return pairs[::-1]


def _range(start: int, end: int) -> str:
    """`12,3`, as unified diffs count: from one, and from the line before when there is none."""
    length = end - start
    return f"{start + 1 if length else start}" if length == 1 else f"{start + 1 if length else start},{length}"
