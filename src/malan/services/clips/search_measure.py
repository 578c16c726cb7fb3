"""How well search finds: a list of questions with their right clips is asked by words, and by meaning with the words.

    questions.csv (query, clip) ─┬─ by words ───────────────┬─▶ recall@k, mean reciprocal rank, time: side by side
                                 └─ by meaning and words ───┘

Nothing is written. What it says holds for this library and these questions alone. Start reading at `measure_search`.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.errors import MalanError, UsageError
from malan.services.access import HOUSE, Caller, require
from malan.services.clips.meaning import MeaningAsk, find_meaning
from malan.services.clips.search import find
from malan.store.query import ClipQuery

if TYPE_CHECKING:
    from malan.workspace import Workspace

MOST_ROWS, MOST_BYTES, MOST_TOP = 5000, 4 << 20, 100
_LOST = 20  # questions that are named

Questions = Mapping[str, frozenset[str]]  # text → ids of the clips that are right


@dataclass(frozen=True, slots=True)
class Way:
    """How one way of searching did: shares from 0 to 1, the median time of a question."""

    way: str
    recall: float
    reciprocal_rank: float
    median_ms: float
    lost: tuple[str, ...]  # questions of which nothing was found


@dataclass(frozen=True, slots=True)
class Measured:
    """Both ways, and what they were asked."""

    questions: int
    clips: int
    top: int
    ways: tuple[Way, ...]


def measure_search(
    ws: Workspace, truth: Path, *, engine: str = "", top: int = 10, caller: Caller = HOUSE
) -> Measured:  # fmt: skip
    """Ask every question of a list by words, and by meaning and words together.

    Args:
        truth: CSV with the columns `query` and `clip` (an id or a unique beginning of one); a row a right answer.
        engine: The encoder; the first one unless said otherwise.
        top: How many places of an answer count.

    Raises:
        UsageError: The list is no such CSV, too long, or empty; no encoder is configured.
        NotFound: There is no index yet.
        NotGranted: The caller may not, or the licence of the model forbids its use.
    """
    require(caller, "scan")
    if not 1 <= top <= MOST_TOP:
        raise UsageError("measure.bad_top", most=MOST_TOP, top=top)
    asked = read_questions(ws, truth)

    def by_words(text: str) -> list[str]:
        return [hit.row.id for hit in find(ws, ClipQuery(text, limit=top), caller=caller).hits]

    def by_meaning(text: str) -> list[str]:
        page = find_meaning(ws, ClipQuery(limit=top), MeaningAsk(text), engine=engine, caller=caller)
        return [hit.row.id for hit in page.hits]

    ways = (_way("meaning", by_meaning, asked, top), _way("words", by_words, asked, top))
    return Measured(len(asked), len(frozenset().union(*asked.values())), top, ways[::-1])


def read_questions(ws: Workspace, path: Path) -> Questions:
    """The list, with whole ids.

    Raises:
        UsageError: It is no such CSV; the line is named.
    """
    found: dict[str, set[str]] = {}
    for line, row in _rows(path):
        query, clip = (row.get("query") or "").strip(), (row.get("clip") or "").strip().lower()
        if not query or not clip:
            raise UsageError("measure.bad_row", line=line, path=path.name)
        try:
            found.setdefault(query, set()).add(ws.library.clip(clip).id)
        except MalanError as error:
            raise UsageError("measure.unknown_clip", line=line, clip=clip[:40]) from error
    if not found:
        raise UsageError("measure.no_rows", path=path.name)
    return {query: frozenset(clips) for query, clips in found.items()}


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("measure.unreadable", path=path.name, detail=str(error)[:120]) from error
    if len(data) > MOST_BYTES:
        raise UsageError("measure.too_long", most=MOST_ROWS)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if not {"query", "clip"} <= set(reader.fieldnames or ()):
            raise UsageError("measure.no_columns", path=path.name)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError("measure.unreadable", path=path.name, detail=str(error)[:120]) from error
    if len(rows) > MOST_ROWS:
        raise UsageError("measure.too_long", most=MOST_ROWS)
    return rows


def _way(name: str, search: Callable[[str], list[str]], asked: Questions, top: int) -> Way:
    recalls, ranks, times, lost = list[float](), list[float](), list[float](), list[str]()
    for text, right in asked.items():
        began = time.perf_counter()
        found = search(text)[:top]
        times.append(time.perf_counter() - began)
        hits = [place for place, clip in enumerate(found, 1) if clip in right]
        recalls.append(len(hits) / min(top, len(right)))
        ranks.append(1 / hits[0] if hits else 0.0)
        if not hits:
            lost.append(text)
    middle = 1000 * statistics.median(times)
    return Way(name, statistics.fmean(recalls), statistics.fmean(ranks), middle, tuple(lost[:_LOST]))
