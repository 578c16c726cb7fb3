"""Labels of people become a classifier of clips: each clip gets one name of a label set.

What `train` says of itself (accuracy, balanced accuracy, loss) is measured on clips the model had not seen, by
cross-validation. Start reading at `train`; the mathematics is in `classify.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import classify
import numpy as np


def train(job: Any) -> dict[str, Any]:
    """The weights, by the names that `algorithm.toml` declares."""
    found = classify.gather(job.data)
    targets = _one_hot(found)
    task = classify.Task(
        rows_ND=found["descriptor_ND"].astype(np.float64),
        targets_NC=targets,
        link="softmax",
        weights_N=classify.row_weights(targets, float(job.parameters["balance"])),
        groups_N=found["group_N"].astype(np.int64),
        first=classify.look_width(job.facts),
    )
    learned = classify.fit(task, hidden=int(job.parameters["hidden"]), seed=int(job.seed), told=job.progress)
    job.metrics(_figures(learned.unseen_NC, targets))
    return learned.weights


def evaluate(job: Any, weights: Mapping[str, Any] | None) -> dict[str, Any]:
    """The loss of each held-out clip, and the probabilities; without weights, those of the best constant answer."""
    found = classify.gather(job.held_out)
    targets = _one_hot(found)
    if weights is None:
        said = classify.constant(targets, "softmax")
    else:
        said = classify.predict(weights, found["descriptor_ND"], "softmax")
    return {"losses": classify.losses_of(said, targets, "softmax"), "outputs": said}


def _one_hot(found: Mapping[str, Any]) -> Any:
    """One name a clip: the one most people gave it."""
    targets = np.zeros(found["labels_NC"].shape)
    targets[np.arange(len(targets)), found["label_N"]] = 1
    return targets


def _figures(said_NC: Any, targets_NC: Any) -> dict[str, float]:
    right_N = said_NC.argmax(axis=1) == targets_NC.argmax(axis=1)
    there_C = targets_NC.sum(axis=0) > 0
    of_class_C = (targets_NC * right_N[:, None]).sum(axis=0)[there_C] / targets_NC.sum(axis=0)[there_C]
    loss = classify.losses_of(said_NC, targets_NC, "softmax").mean()
    return {"accuracy": right_N.mean(), "balanced_accuracy": of_class_C.mean(), "loss": loss}
