"""Ask a model what it learned by heart, each time in a fresh sandbox, and hold the answers against an honest yardstick.

Canaries are held against their like, pictures against footage that was not trained on. What cannot be measured is
None: the gate then leaves it to the owner. Start reading at `measure_memory`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import NotGranted, Rejected
from malan.inference.tensors import Tensor, digest_tensors, parse_tensors
from malan.training.gate.gate import Memory
from malan.training.gate.likeness import nearest_pictures
from malan.training.gate.memorisation import Exposure, Nearest, canary_exposure
from malan.training.gate.rewrite import rewrite, seed_of
from malan.training.loader import Loader
from malan.training.running.arrays import weights_file
from malan.training.running.plan import RunPlan
from malan.training.running.recall import FRAMES, TWIN, Recall
from malan.training.running.run import EVALUATION, SAMPLING, TRAINING, run_phase

Stop = Callable[[], bool] | None
Pictures = NDArray[np.uint8]

_AT_ONCE = 8
_MOST_CLIPS = 2_000  # of footage that pictures are compared with
_FRAMES_A_CLIP = 16
_NO_SECRET = b"\0" * 32  # the lots of weights that are thrown away


def measure_memory(plan: RunPlan, weights: Mapping[str, Tensor], stop: Stop = None) -> Memory:
    """What the model remembers, as far as the plan says how to ask it.

    Args:
        plan: Of the run.
        weights: As they will leave.
        stop: As for `run_algorithm`.
    """
    recall = plan.recall
    if recall is None:
        return Memory()
    try:
        if recall.measure == FRAMES:
            return Memory(frames=_pictures(plan, recall, weights, stop))
        return Memory(canaries=_canaries(plan, recall, weights, stop))
    except (Rejected, NotGranted):  # too little to compare, or a sandbox that did not end well: nothing was measured
        return Memory()


def _canaries(plan: RunPlan, recall: Recall, weights: Mapping[str, Tensor], stop: Stop) -> Exposure | None:
    if recall.canaries is None:
        return None
    asked = _twin(plan, recall, stop) if recall.measure == TWIN else weights
    phase = run_phase(replace(plan, held_out=recall.canaries), EVALUATION, _values(asked), stop=stop)
    losses = phase.evaluation.get("losses")
    if losses is None or len(losses) != len(recall.canaries):
        return None
    return canary_exposure(losses[: recall.planted], losses[recall.planted :])


def _twin(plan: RunPlan, recall: Recall, stop: Stop) -> Mapping[str, Tensor]:
    """The weights of the same training with canaries among its clips, rounded as they would be to leave."""
    if recall.twin is None:
        raise Rejected("gate.cannot_compare")
    trained = run_phase(replace(plan, data=recall.twin, restored=None), TRAINING, stop=stop)
    declared = plan.policy.declared
    found = parse_tensors(weights_file(trained.model, declared), declared.limits).tensors
    return rewrite(
        found, plan.policy.rounding, seed_of(_NO_SECRET, digest_tensors(found.values())), declared.fixed
    ).tensors


def _pictures(plan: RunPlan, recall: Recall, weights: Mapping[str, Tensor], stop: Stop) -> Nearest | None:
    if recall.captions is None or recall.footage is None or recall.unseen is None:
        return None
    phase = run_phase(replace(plan, held_out=recall.captions), SAMPLING, _values(weights), stop=stop)
    made = phase.evaluation.get("frames")
    if made is None or made.ndim != 5 or made.dtype != np.uint8:
        return None
    footage, unseen = (_frames_of(loader, plan.window) for loader in (recall.footage, recall.unseen))
    return nearest_pictures(made.reshape(-1, *made.shape[2:]), footage, unseen)


def _frames_of(loader: Loader, window: Mapping[str, Any]) -> Pictures:
    """Frames of the clips of a loader, in the windows that training was given, some of each."""
    found = []
    for batch in range(-(-min(len(loader), _MOST_CLIPS) // _AT_ONCE)):
        asked = {"do": "batch", "of": "data", "size": _AT_ONCE, "batch": batch, "deliver": ["frames"]}
        arrays = loader.serve({**asked, "window": dict(window)})
        if arrays is None:
            break
        frames_NTHWC = arrays["frames_NTHWC"]
        some = np.unique(np.linspace(0, frames_NTHWC.shape[1] - 1, _FRAMES_A_CLIP).round().astype(int))
        found.append(frames_NTHWC[:, some].reshape(-1, *frames_NTHWC.shape[2:]))
    if not found:
        raise Rejected("gate.cannot_compare")
    return np.concatenate(found)


def _values(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.values() for name, tensor in weights.items()}
