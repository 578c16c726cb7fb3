"""Which of several labels apply to a clip: a probability for each that means what it says, and where to ask a person.

A threshold is a probability from which a clip is shown to a reviewer. It is set on clips the model had not seen: as
high as the wished recall (or as low as the wished precision) allows. Start reading at `train` and `thresholds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import classify
import numpy as np

_BINS = 10


def train(job: Any) -> dict[str, Any]:
    """The weights and thresholds, by the names that `algorithm.toml` declares."""
    found = classify.gather(job.data)
    targets = found["labels_NC"].astype(np.float64)
    task = classify.Task(
        rows_ND=found["descriptor_ND"].astype(np.float64),
        targets_NC=targets,
        link="sigmoid",
        weights_N=classify.row_weights(targets, float(job.parameters["balance"])),
        groups_N=found["group_N"].astype(np.int64),
        first=classify.look_width(job.facts),
    )
    learned = classify.fit(task, hidden=int(job.parameters["hidden"]), seed=int(job.seed), told=job.progress)
    from_C = thresholds(learned.unseen_NC, targets, job.parameters["aim"], float(job.parameters["target"]))
    job.metrics(figures(learned.unseen_NC, targets, from_C))
    return learned.weights | {"thresholds": from_C.astype(np.float32)}


def evaluate(job: Any, weights: Mapping[str, Any] | None) -> dict[str, Any]:
    """The loss of each held-out clip, and the probabilities; without weights, the share of each label."""
    found = classify.gather(job.held_out)
    targets = found["labels_NC"].astype(np.float64)
    if weights is None:
        said = classify.constant(targets, "sigmoid")
    else:
        _ = weights["thresholds"]  # they change no probability, and are a part of the model all the same
        said = classify.predict(weights, found["descriptor_ND"], "sigmoid")
    return {"losses": classify.losses_of(said, targets, "sigmoid"), "outputs": said}


def thresholds(said_NC: Any, targets_NC: Any, aim: str, target: float) -> Any:
    """The threshold of each label, (C,): of those that reach the aim on these clips, the one that shows the fewest
    clips (for precision: the most). A label nobody gave shows from a half on."""
    return np.array([_threshold(said_NC[:, c], targets_NC[:, c], aim, target) for c in range(said_NC.shape[1])])


def figures(said_NC: Any, targets_NC: Any, from_C: Any) -> dict[str, float]:
    """Precision and recall over all labels at the thresholds, the worst recall of a label, the share of clips shown,
    and how far probabilities are from the shares they promise."""
    shown_NC = said_NC >= from_C
    hits_C, given_C = (shown_NC * targets_NC).sum(axis=0), targets_NC.sum(axis=0)
    return {
        "precision": float(hits_C.sum() / max(1, shown_NC.sum())),
        "recall": float(hits_C.sum() / max(1, given_C.sum())),
        "worst_recall": float((hits_C[given_C > 0] / given_C[given_C > 0]).min(initial=1.0)),
        "shown": float(shown_NC.any(axis=1).mean()),
        "calibration_error": _calibration_error(said_NC.ravel(), targets_NC.ravel()),
        "loss": float(classify.losses_of(said_NC, targets_NC, "sigmoid").mean()),
    }


def _threshold(said_N: Any, targets_N: Any, aim: str, target: float) -> float:
    given = float(targets_N.sum())
    if not given:
        return 0.5
    order = np.argsort(-said_N, kind="stable")
    hits_N, shown_N = np.cumsum(targets_N[order]), np.arange(1, len(order) + 1)
    recall_N, precision_N = hits_N / given, hits_N / shown_N
    last_of_equals = np.append(said_N[order][1:] < said_N[order][:-1], True)
    if aim == "recall":
        fitting, best = recall_N >= target, -shown_N.astype(np.float64)
    elif aim == "precision":
        fitting, best = precision_N >= target, recall_N
    else:
        fitting, best = np.full(len(order), True), 2 * precision_N * recall_N / np.maximum(precision_N + recall_N, 1e-9)
    fitting = fitting & last_of_equals
    if not fitting.any():
        return float(min(1.0, said_N.max() + 1e-3))  # no threshold is precise enough: nothing is shown
    places = np.flatnonzero(fitting)
    at = int(places[np.argmax(best[places])])
    return _between(said_N[order], at)


def _between(falling_N: Any, at: int) -> float:
    """Half way to the next lower probability, so that a little rounding shows neither fewer clips nor more."""
    lower = falling_N[at + 1] if at + 1 < len(falling_N) else 0.0
    return float((falling_N[at] + lower) / 2)


def _calibration_error(said: Any, true: Any) -> float:
    """The mean distance of what was promised and what came, over ten bins by the number of clips in them."""
    bins = np.minimum((said * _BINS).astype(int), _BINS - 1)
    errors = [abs(said[bins == b].mean() - true[bins == b].mean()) * (bins == b).mean() for b in set(bins.tolist())]
    return float(sum(errors))
