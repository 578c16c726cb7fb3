"""How well label sets are learned: drawn films whose truth is known, and real films of which the making is known.

Films are added and scanned as any; classifiers see what a run would see, and whole films are held out, several times
over. Peers in the same run, on the same rows: the most common label, and what people do by hand, standardised
descriptors and a logistic regression as libraries set it up (squared penalty, C = 1). A few labels in a hundred are
wrong, as people's are. "Must" compares means over all splits; the camera, which 180 lines hardly show, is told besides.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from common import Report, arguments, footage_folder, measure
from labelled_films import RATE, SETS, Film, draw_films
from numpy.typing import NDArray

from malan.inference.tensors import Tensor
from malan.models.classifier import Classifier, read_classifier
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.store.features import FEATURES, features_of
from malan.training.algorithms import builtin_files
from malan.workspace import Workspace

Rows = NDArray[np.float64]

WRONG = 0.04  # of the labels that are learned from
SHARE = 0.6  # of the films are learned from
ANIMATED = ("bbb_", "sintel_")
MUST = SETS[:3]


@dataclass(frozen=True)
class Clips:
    """Rows of one library: the features, the film each comes from, and its truth in each label set."""

    rows_ND: Rows
    film_N: NDArray[np.int64]
    truth: dict[str, list[str]]


def main() -> None:
    options = arguments(__doc__ or "")
    report = Report("Tagger: label sets on films not seen")
    splits = 1 if options.quick else 12
    with tempfile.TemporaryDirectory() as name, classifier(Path(name)) as classify:
        drawn = drawn_clips(Path(name), *((3, 4) if options.quick else (32, 10)))
        for label_set in SETS:
            bench_set(report, classify, drawn, label_set, splits, must=label_set in MUST)
        footage = footage_folder()
        if footage is not None and not options.quick:
            real = real_clips(Path(name), footage)
            bench_set(report, classify, real, "animated or filmed", splits, must=True)
    report.notes.append("Accuracy on films that nothing was learned from, mean over splits; 4 % of the labels wrong.")
    report.show()
    if options.json:
        report.save(options.json)


def bench_set(report: Report, classify: Any, clips: Clips, label_set: str, splits: int, *, must: bool) -> None:
    """One label set: accuracy of ours, by hand and of the most common label, over the same splits."""
    names = sorted(set(clips.truth[label_set]))
    truth_N = np.array([names.index(one) for one in clips.truth[label_set]])
    ours, hand, common, seconds, sure, counts = [], [], [], [], [], []
    for seed in range(splits):
        seen = split(clips.film_N, truth_N, seed)
        said_N = mistaken(truth_N[seen], len(names), seed)
        if len(set(said_N)) < 2 or not (~seen).any():
            continue
        cost, model = measure(lambda seen=seen, said=said_N, seed=seed: learn(classify, clips, seen, said, names, seed))
        probabilities = model.probabilities(clips.rows_ND[~seen].astype(np.float32))
        ours.append(float((probabilities.argmax(axis=1) == truth_N[~seen]).mean()))
        sure.append(float(probabilities.max(axis=1).mean()))
        hand.append(by_hand(clips.rows_ND, truth_N, seen, said_N, len(names)))
        common.append(float((truth_N[~seen] == np.bincount(said_N).argmax()).mean()))
        seconds.append(cost.cpu_s)
        counts.append(int(seen.sum()))
    if not ours:  # so few films that no split has two labels
        return
    report.add(
        f"{label_set}: {', '.join(names)}; {min(counts)}–{max(counts)} clips learned from",
        f"{mean(ours):.3f}, {mean(seconds):.2f} s CPU; says it is {mean(sure):.2f} sure",
        peer=f"by hand {mean(hand):.3f}",
        limit=f"most common {mean(common):.3f}",
        must="≥ by hand" if must else "",
        met=mean(ours) >= mean(hand) > mean(common) if must else None,
    )


def learn(classify: Any, clips: Clips, seen: NDArray[np.bool_], said_N: Any, names: list[str], seed: int) -> Classifier:
    """A classifier as the tagger learns it, read back as the registry reads it."""
    targets = np.eye(len(names))[said_N]
    task = classify.Task(
        rows_ND=clips.rows_ND[seen],
        targets_NC=targets,
        link="softmax",
        weights_N=np.ones(len(targets)),
        groups_N=np.arange(len(targets)),
        first=classify.look_width({"features": FEATURES}),
    )
    weights = classify.fit(task, hidden=0, seed=seed).weights
    return read_classifier({name: Tensor.of(name, values) for name, values in weights.items()}, names)


def by_hand(rows_ND: Rows, truth_N: Any, seen: NDArray[np.bool_], said_N: Any, classes: int) -> float:
    """Standardise, fit with C = 1, name the likeliest: the accuracy. (Bound optimisation, Böhning 1992.)"""
    average, spread = rows_ND[seen].mean(axis=0), rows_ND[seen].std(axis=0)
    rows = (rows_ND - average) / np.where(spread > 1e-9, spread, 1)
    rows = np.column_stack([rows, np.ones(len(rows))])
    held = np.append(np.ones(rows_ND.shape[1]), 1e-9)  # the constant is not held back
    inside, targets = rows[seen], np.eye(classes)[said_N]
    step = np.linalg.inv(0.5 * inside.T @ inside + np.diag(held))
    found = np.zeros((rows.shape[1], classes))
    for _ in range(300):
        logits = inside @ found
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found -= step @ (inside.T @ (powers / powers.sum(axis=1, keepdims=True) - targets) + held[:, None] * found)
    return float(((rows[~seen] @ found).argmax(axis=1) == truth_N[~seen]).mean())


def split(film_N: NDArray[np.int64], truth_N: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which rows are learned from: those of some films, drawn until both parts hold every label where that can be."""
    films, rng = np.unique(film_N), np.random.default_rng(seed)
    for _ in range(50):
        seen = np.isin(film_N, rng.permutation(films)[: max(1, round(SHARE * len(films)))])
        if set(truth_N[seen]) == set(truth_N[~seen]) == set(truth_N):
            break
    return np.asarray(seen, bool)


def mistaken(truth_N: NDArray[np.int64], classes: int, seed: int) -> NDArray[np.int64]:
    """Labels as a person gives them: some are wrong."""
    rng = np.random.default_rng([seed, 1])
    slips = rng.random(len(truth_N)) < WRONG
    return np.where(slips, (truth_N + rng.integers(1, classes, len(truth_N))) % classes, truth_N)


@contextmanager
def classifier(folder: Path) -> Iterator[Any]:
    """The mathematics of the built-in package, from its own files."""
    code = folder / "package"
    code.mkdir()
    for name, content in builtin_files("tagger").items():
        (code / name).write_bytes(content)
    sys.path.insert(0, str(code))
    import classify

    yield classify
    sys.path.remove(str(code))


def drawn_clips(folder: Path, films: int, shots: int) -> Clips:
    """Drawn films, scanned; clips that lie within one shot."""
    (folder / "films").mkdir()
    drawn = draw_films(folder / "films", films, shots)
    ws = scanned(folder / "drawn", [film.path for film in drawn])
    chosen: list[tuple[str, int, dict[str, str]]] = []
    for number, film in enumerate(drawn):
        for clip_id, start_s, end_s in clips_of(ws, film.path.name):
            truth = shot_at(film, start_s * RATE, end_s * RATE)
            if truth:
                chosen.append((clip_id, number, truth))
    return gathered(ws, chosen)


def shot_at(film: Film, start: float, end: float) -> dict[str, str] | None:
    """What is true from one frame to another, where that lies within one shot."""
    for shot in film.shots:
        if min(end, shot.end) - max(start, shot.first) > 0.8 * (end - start):
            return dict(shot.truth)
    return None


def real_clips(folder: Path, footage: Path) -> Clips:
    """The shared footage: which films are animated is known of each as a whole."""
    paths = sorted(path for path in (footage / "video").rglob("*") if path.suffix in (".mp4", ".mkv", ".webm", ".avi"))
    ws = scanned(folder / "real", paths)
    chosen = []
    for number, path in enumerate(paths):
        truth = {"animated or filmed": "animated" if path.name.startswith(ANIMATED) else "filmed"}
        chosen += [
            (clip_id, number, truth) for clip_id, start_s, end_s in clips_of(ws, path.name) if end_s - start_s > 0.4
        ]
    return gathered(ws, chosen)


def gathered(ws: Workspace, chosen: Sequence[tuple[str, int, dict[str, str]]]) -> Clips:
    rows = features_of(ws.library, [clip_id for clip_id, _, _ in chosen]).astype(np.float64)
    truth = {name: [one[name] for _, _, one in chosen] for name in chosen[0][2]}
    return Clips(rows, np.array([number for _, number, _ in chosen]), truth)


def scanned(folder: Path, paths: Sequence[Path]) -> Workspace:
    ws = Workspace.create(folder)
    add_assets(ws, list(paths), owner="bench")
    scan_assets(ws, captions=False)
    return ws


def clips_of(ws: Workspace, name: str) -> list[tuple[str, float, float]]:
    """Id, start and end of the clips of a file."""
    for row in ws.library.assets():
        if row.locations and Path(row.locations[0].path).name == name:
            return [(one.id, one.span.start_s, one.span.end_s) for one in ws.library.clips(row.asset.id)]
    return []


if __name__ == "__main__":
    main()
