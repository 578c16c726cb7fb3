"""Search by meaning: what it finds that words do not, and how fast, beside plain text search and a bare product.

A drawn library whose truth is known: pictures of colours, some of them with words, words of two languages and of other
names for the same thing. Speed is measured on vectors alone, at 100,000 and a million clips.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Report, arguments

from malan.services.clips.meaning import MeaningAsk, build_index, find_meaning
from malan.store import ClipQuery
from malan.store.vectors import IndexFacts, VectorIndex
from malan.workspace import Workspace

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests" / part) for part in ("", "inference", "services")]

from onnx_factory import CHINESE, COLOURS, SYNONYMS  # noqa: E402  # drawn models of the tests
from services.meaning_place import stored_colours, with_encoder  # noqa: E402

WIDTH, ASKED, TEN = 512, 30, 10
MUST_RECALL, MUST_MS = 0.9, 200.0
WORDS_KNOWN = "the word that captions use"
WORDED, BESIDE = 0.3, 0.2  # shots with words; words that speak of something else than what is seen


def library(folder: Path, shots: int, seed: int = 5) -> tuple[Workspace, list[str], list[tuple[str, ...]]]:
    """A workspace of films of fifty shots, some of them with words; clip ids and their colours."""
    ws, drawn = Workspace.create(folder / "ws"), random.Random(seed)
    with_encoder(ws, folder)
    names, ids, truth = list(COLOURS), [], []
    for film in range(shots // 50):
        looks = [tuple(drawn.choices(names, k=drawn.choice((1, 2, 3)))) for _ in range(50)]
        said = {}
        for number, look in enumerate(looks):
            if drawn.random() < WORDED:
                named = drawn.choice(names) if drawn.random() < BESIDE else max(look, key=look.count)
                said[number] = f"{named} scene"
        ids += stored_colours(ws, looks, name=f"film{film}", captions=said)
        truth += looks
    return ws, ids, truth


def queries() -> dict[str, list[tuple[str, str]]]:
    """(text, the colour it means) by kind of wording."""
    return {
        WORDS_KNOWN: [(f"{name} scene", name) for name in COLOURS],
        "another word for it": [(f"a {word} view", name) for word, name in SYNONYMS.items() if word.isascii()],
        "Chinese": [(f"{word}色的画面", name) for word, name in CHINESE.items()],
    }


def recall(found: list[str], right: set[str]) -> float:
    """Of the ten first, the share that is right (where there are ten to be found)."""
    return len(set(found[:TEN]) & right) / min(TEN, len(right))


def found_by(report: Report, shots: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        ws, ids, truth = library(Path(place), shots)
        began = time.perf_counter()
        build_index(ws)
        took = time.perf_counter() - began
        for kind, asked in queries().items():
            words, meant = [], []
            for text, colour in asked:
                # a shot is right when half of it or more is that colour
                right = {one for one, look in zip(ids, truth, strict=True) if 2 * look.count(colour) >= len(look)}
                words.append(recall([h.row.id for h in ws.library.search(ClipQuery(text, limit=TEN)).hits], right))
                page = find_meaning(ws, ClipQuery(limit=TEN), MeaningAsk(text))
                meant.append(recall([hit.row.id for hit in page.hits], right))
            least = float(np.mean(words)) if kind == WORDS_KNOWN else MUST_RECALL
            report.add(
                f"recall@10, {kind}", f"{np.mean(meant):.0%}", peer=f"{np.mean(words):.0%} text search", limit="100 %",
                must="≥ text search" if kind == WORDS_KNOWN else f"≥ {least:.0%}", met=bool(np.mean(meant) >= least),
            )  # fmt: skip
        report.add("indexing, tiny encoder", f"{len(ids) / took:,.0f} clips/s", limit="encoder and JPEG decode")
        ws.database.dispose()


def speed(report: Report, count: int) -> None:
    """The nearest of many vectors, the clustered kind that encoders make; limit: one product over all of them."""
    drawn = np.random.default_rng(2)
    centres = drawn.standard_normal((count // 200 + 1, WIDTH)).astype(np.float32)
    folder = Path(tempfile.mkdtemp())
    try:
        index = VectorIndex(folder, "ab" * 32)
        index.begin(IndexFacts("ab" * 32, "drawn", WIDTH))
        parts = []
        for at in range(0, count, 50_000):
            here = min(50_000, count - at)
            part = centres[drawn.integers(0, len(centres), here)] + drawn.standard_normal((here, WIDTH)).astype("f4")
            part = (part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32)
            index.put([f"{at + n:064x}" for n in range(here)], part)
            parts.append(part)
        index.tend()
        vectors = np.concatenate(parts)
        took, limit, kept = [], [], []
        for _ in range(ASKED):
            asked = vectors[drawn.integers(0, count)] + 0.3 * drawn.standard_normal(WIDTH).astype("f4") / WIDTH**0.5
            began = time.perf_counter()
            ids, _ = index.nearest(asked / np.linalg.norm(asked), 100)
            took.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            scores = vectors @ asked
            best = np.argpartition(-scores, TEN)[:TEN]
            limit.append((time.perf_counter() - began) * 1000)
            kept.append(len({f"{n:064x}" for n in best} & set(ids[: 2 * TEN])) / TEN)
        report.add(
            f"nearest 100 of {count:,} × {WIDTH}", f"{np.median(took):.1f} ms, p95 {np.quantile(took, 0.95):.1f} ms",
            limit=f"{np.median(limit):.1f} ms, product in memory", must=f"≤ {MUST_MS:.0f} ms",
            met=bool(np.median(took) <= MUST_MS),
        )  # fmt: skip
        report.add(
            f"of the true ten nearest, found among {count:,}", f"{np.mean(kept):.1%}", limit="100 %",
            must="≥ 90 %", met=bool(np.mean(kept) >= 0.9),
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("Search by meaning")
    found_by(report, 200 if options.quick else 2000)
    for count in (4000,) if options.quick else (100_000, 1_000_000):
        speed(report, count)
    report.notes.append("The encoder is one whose answers are known by construction: recall is that of the search.")
    report.show()
    if options.json:
        report.save(options.json)


if __name__ == "__main__":
    main()
