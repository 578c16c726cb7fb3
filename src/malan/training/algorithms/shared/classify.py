"""Classifiers of clips from rows of numbers, with NumPy alone: what `tagger` and `review-classifier` share.

    rows ─ standardised ─▶ linear part + a small hidden layer ─▶ one of the classes (softmax), or several (sigmoid)

The linear part leaves as hidden units in opposite pairs (relu(z) − relu(−z) = z), so that the file is a plain network
of two layers whatever was chosen: `mean`, `scale`, `layers.0`, `layers.1`.

How strongly it is held back, and whether the hidden layer is worth having, is chosen by cross-validation; the figures
it reports are those of clips a model had not seen. The same data and seed give the same weights. Start at `fit`.

Arrays: N rows (clips), D numbers of each, C classes, H hidden units; float64 while learning, float32 when handed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_Kind = tuple[int, float]  # a linear part: how many numbers of a row it sees, how strongly it is held back

STRENGTHS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3)  # how hard weights are pulled to zero
EPOCHS = (10, 20, 40, 80, 160)  # how long the hidden layer may learn: early stopping chooses
FOLDS = 5
NAMES = ("mean", "scale", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")
_LEAST_SHARE = 0.02
_LOOKS = {"clip-features/1": 193}
_SLOPES = tuple(float(one) for one in np.geomspace(0.05, 4, 40))
_RATE, _BATCH, _DECAY = 3e-3, 64, 3e-2


@dataclass(frozen=True)
class Task:
    """Rows and what is true of them: `targets_NC` is one-hot for `softmax`, of zeros and ones for `sigmoid`.

    `weights_N` says how much each row counts; `groups_N` names rows that must stay together (shots of one film). The
    `first` numbers of a row are also tried alone, where 0 < first < D: more numbers are not always better.
    """

    rows_ND: Array
    targets_NC: Array
    link: str
    weights_N: Array
    groups_N: NDArray[np.int64]
    first: int = 0

    def only(self, some_N: NDArray[np.bool_]) -> Task:
        """The task with some of the rows."""
        return Task(
            self.rows_ND[some_N],
            self.targets_NC[some_N],
            self.link,
            self.weights_N[some_N],
            self.groups_N[some_N],
            self.first,
        )


@dataclass(frozen=True)
class Learned:
    """The weights by name, and what the model said of each row when it had not seen it: probabilities (N, C)."""

    weights: dict[str, NDArray[np.float32]]
    unseen_NC: Array


def gather(clips: Any, size: int = 512) -> dict[str, NDArray[Any]]:
    """All rows and labels of a set that a loader delivers, in its order; clips that nobody labelled are left out."""
    parts = list(clips.batches(size))
    names = [name for name in ("descriptor_ND", "label_N", "labels_NC", "group_N") if all(name in one for one in parts)]
    found = {name: np.concatenate([one[name] for one in parts]) for name in names}
    found.setdefault("group_N", np.arange(len(found["label_N"])))
    return {name: values[found["label_N"] >= 0] for name, values in found.items()}


def look_width(facts: Mapping[str, Any]) -> int:
    """How many numbers at the beginning of a row are the look of the clip; 0 for a layout that is not known."""
    return _LOOKS.get(str(facts.get("features", "")), 0)


# What is learned ------------------------------------------------------------------------------------------------------


def fit(task: Task, *, hidden: int, seed: int, told: Callable[[float], None] = lambda _share: None) -> Learned:
    """Learn a classifier; how is chosen by cross-validation.

    Raises:
        ValueError: Fewer than four rows, or fewer than two classes that occur.
    """
    occurring = int(np.count_nonzero(task.targets_NC.sum(axis=0)))
    if len(task.rows_ND) < 4 or occurring < (2 if task.link == "softmax" else 1):
        raise ValueError("a classifier needs four labelled clips, and two labels that differ")
    mean_D, scale_D = _standard(task.rows_ND)
    folds = list(_splits(task, _folds(task, seed)))
    shares, unseen_NC = _blend(task, folds, lambda share: told(0.5 * share))
    epochs = 0
    if hidden:
        epochs, unseen_NC = _choose_epochs(task, folds, shares, unseen_NC, hidden, seed, lambda s: told(0.5 + 0.4 * s))
    slope_C, shift_C = _calibration(task, unseen_NC)
    rows_ND = _standardised(task.rows_ND, mean_D, scale_D)
    weight_CD, bias_C = _blended(shares, _linear_all(task, rows_ND, shares))
    layer = _Layer.none(hidden, task)
    if epochs:
        layer = _learn_layer(task, rows_ND, _logits(rows_ND, weight_CD, bias_C), hidden, epochs, seed)[-1]
    told(1.0)
    weights = {"mean": mean_D, "scale": scale_D} | _named(weight_CD, bias_C, layer, slope_C, shift_C)
    return Learned(
        {name: np.asarray(values, np.float32) for name, values in weights.items()},
        _probabilities(unseen_NC * slope_C + shift_C, task.link),
    )


def predict(weights: Mapping[str, Any], rows_ND: NDArray[Any], link: str) -> Array:
    """The probabilities (N, C) a classifier gives rows."""
    held = {name: np.asarray(weights[name], np.float64) for name in NAMES}
    rows = _standardised(np.asarray(rows_ND, np.float64), held["mean"], held["scale"])
    inner = np.maximum(rows @ held["layers.0.weight"] + held["layers.0.bias"], 0)
    return _probabilities(inner @ held["layers.1.weight"] + held["layers.1.bias"], link)


def _named(weight_CD: Array, bias_C: Array, layer: _Layer, slope_C: Array, shift_C: Array) -> dict[str, Array]:
    """Linear part and hidden layer as one network, calibration folded into its last layer."""
    pair = np.diag(slope_C)
    return {
        "layers.0.weight": np.concatenate([weight_CD, -weight_CD, layer.weight]).T,
        "layers.0.bias": np.concatenate([bias_C, -bias_C, layer.bias]),
        "layers.1.weight": np.concatenate([pair, -pair, (layer.out * slope_C[:, None]).T]),
        "layers.1.bias": shift_C + layer.shift * slope_C,
    }


def losses_of(probabilities_NC: Array, targets_NC: NDArray[Any], link: str) -> Array:
    """The negative log likelihood of each row, (N,); for `sigmoid` the mean over labels."""
    sure_NC = np.clip(probabilities_NC, 1e-6, 1 - 1e-6)
    if link == "softmax":
        return np.asarray(-np.log((sure_NC * targets_NC).sum(axis=1)), np.float64)
    said = targets_NC * np.log(sure_NC) + (1 - targets_NC) * np.log(1 - sure_NC)
    return np.asarray(-said.mean(axis=1), np.float64)


def constant(targets_NC: NDArray[Any], link: str) -> Array:
    """What is best said of every row by one who cannot look: the share of each class, (N, C)."""
    pseudo = 1.0 if link == "softmax" else 0.5
    total = len(targets_NC) + (pseudo * targets_NC.shape[1] if link == "softmax" else 1.0)
    return np.tile((targets_NC.sum(axis=0) + pseudo) / total, (len(targets_NC), 1))


def row_weights(targets_NC: NDArray[Any], balance: float) -> Array:
    """How much each row counts: 0, all alike; 1, every class as much as every other whatever its share."""
    counts_C = np.maximum(targets_NC.sum(axis=0), 1)
    of_class_C = (len(targets_NC) / (targets_NC.shape[1] * counts_C)) ** balance
    rarest_N = np.where(targets_NC > 0, of_class_C, 0).max(axis=1)
    weights_N = np.where(rarest_N > 0, rarest_N, of_class_C.min())
    return np.asarray(weights_N / weights_N.mean(), np.float64)


# Choosing by cross-validation -----------------------------------------------------------------------------------------


def _folds(task: Task, seed: int) -> NDArray[np.int64]:
    """The fold of each row: groups stay together, classes are spread as evenly as they go."""
    rng = np.random.default_rng(seed)
    groups, group_N = np.unique(task.groups_N, return_inverse=True)
    counts_GC = np.zeros((len(groups), task.targets_NC.shape[1]))
    np.add.at(counts_GC, group_N, task.targets_NC)
    counts_GC = np.column_stack([counts_GC, np.bincount(group_N)])
    folds = max(2, min(FOLDS, len(groups)))
    held_FC, fold_G = np.zeros((folds, counts_GC.shape[1])), np.zeros(len(groups), np.int64)
    share_C = np.maximum(counts_GC.sum(axis=0), 1) / folds
    order = rng.permutation(len(groups))
    for group in order[np.argsort(-counts_GC[order, -1], kind="stable")]:
        after_FC = (held_FC + counts_GC[group]) / share_C
        crowding_F = np.where(counts_GC[group] > 0, after_FC**2 - (held_FC / share_C) ** 2, 0).sum(axis=1)
        fold_G[group] = int(np.argmin(crowding_F))
        held_FC[fold_G[group]] += counts_GC[group]
    return fold_G[group_N]


def _blend(task: Task, folds: Sequence[_Fold], told: Callable[[float], None]) -> tuple[dict[_Kind, float], Array]:
    """How much of each kind of linear part goes into the model, and the logits of that blend on rows not seen.

    Not the best kind alone: those that are as good within chance share, so that a lucky fold decides little. They are
    compared after calibration, else weak strengths, which name classes better but too loudly, would never win.
    """
    kinds = _kinds(task)
    unseen = {kind: np.zeros(task.targets_NC.shape) for kind in kinds}
    for done, fold in enumerate(folds):
        fold.parts |= _linear_all(fold.task, fold.seen_ND, kinds)
        for kind in kinds:
            unseen[kind][fold.apart_N] = _logits(fold.apart_ND, *fold.parts[kind])
        told((done + 1) / len(folds))
    slopes = {kind: _slope(task, logits) for kind, logits in unseen.items()}
    losses = {kind: _row_losses(task, logits * slopes[kind]) for kind, logits in unseen.items()}
    best = min(kinds, key=lambda kind: float(losses[kind].mean()))
    odds = {kind: math.exp(-0.5 * _errors_apart(losses[kind] - losses[best]) ** 2) for kind in kinds}
    total = sum(odds.values())
    shares = {kind: odds[kind] / total * slopes[kind] for kind in kinds if odds[kind] / total > _LEAST_SHARE}
    return shares, np.sum([share * unseen[kind] for kind, share in shares.items()], axis=0)


def _kinds(task: Task) -> list[_Kind]:
    """Every strength, on all numbers and on the first ones alone."""
    width = task.rows_ND.shape[1]
    widths = (width, task.first) if 0 < task.first < width else (width,)
    return [(numbers, strength) for numbers in widths for strength in STRENGTHS]


def _linear_all(task: Task, rows_ND: Array, kinds: Iterable[_Kind]) -> dict[_Kind, tuple[Array, Array]]:
    """Weights (C, D) and bias of each kind, learned in order: each begins where the one before ended."""
    found: dict[_Kind, tuple[Array, Array]] = {}
    start: tuple[Array, Array] | None = None
    for numbers, strength in kinds:
        if start is not None and start[0].shape[1] != numbers:
            start = None
        start = _linear(task, rows_ND[:, :numbers], strength, start)
        weight_CD = np.zeros((len(start[1]), rows_ND.shape[1]))
        weight_CD[:, :numbers] = start[0]
        found[numbers, strength] = weight_CD, start[1]
    return found


def _blended(shares: Mapping[_Kind, float], parts: Mapping[_Kind, tuple[Array, Array]]) -> tuple[Array, Array]:
    """A blend of linear parts is a linear part."""
    weight_CD = np.sum([share * parts[kind][0] for kind, share in shares.items()], axis=0)
    return weight_CD, np.sum([share * parts[kind][1] for kind, share in shares.items()], axis=0)


def _choose_epochs(
    task: Task,
    folds: Sequence[_Fold],
    shares: Mapping[_Kind, float],
    linear_NC: Array,
    hidden: int,
    seed: int,
    told: Callable[[float], None],
) -> tuple[int, Array]:
    """How long the hidden layer learns: where rows not seen are best off; 0 where it does not clearly help them."""
    unseen = [linear_NC.copy() for _ in EPOCHS]
    for done, fold in enumerate(folds):
        linear = _logits(fold.seen_ND, *_blended(shares, fold.parts))
        layers = _learn_layer(fold.task, fold.seen_ND, linear, hidden, EPOCHS[-1], seed)
        for logits_NC, layer in zip(unseen, layers, strict=True):
            logits_NC[fold.apart_N] += layer.logits(fold.apart_ND)
        told((done + 1) / len(folds))
    losses = [_row_losses(task, logits * _slope(task, logits)) for logits in unseen]
    best = int(np.argmin([one.mean() for one in losses]))
    gains_N = _row_losses(task, linear_NC * _slope(task, linear_NC)) - losses[best]
    stands_out = gains_N.mean() > 0 and _errors_apart(gains_N) > 2
    return (EPOCHS[best], unseen[best]) if stands_out else (0, linear_NC)


@dataclass
class _Fold:
    """Some rows held out: the task without them, its rows standardised, and those rows alike.

    `parts` are the linear parts learned without them.
    """

    task: Task
    seen_ND: Array
    apart_ND: Array
    apart_N: NDArray[np.bool_]
    parts: dict[_Kind, tuple[Array, Array]] = field(default_factory=dict)


def _splits(task: Task, folds_N: NDArray[np.int64]) -> Iterator[_Fold]:
    """Each fold held out in turn."""
    for fold in range(int(folds_N.max()) + 1):
        inner = task.only(folds_N != fold)
        mean_D, scale_D = _standard(inner.rows_ND)
        seen = _standardised(inner.rows_ND, mean_D, scale_D)
        yield _Fold(inner, seen, _standardised(task.rows_ND[folds_N == fold], mean_D, scale_D), folds_N == fold)


def _errors_apart(differences_N: Array) -> float:
    """A mean difference in standard errors; 0 where there is none."""
    spread = float(differences_N.std()) / math.sqrt(len(differences_N))
    return float(differences_N.mean()) / spread if spread > 0 else 0.0


def _row_losses(task: Task, logits_NC: Array) -> Array:
    return task.weights_N * losses_of(_probabilities(logits_NC, task.link), task.targets_NC, task.link)


def _mean_loss(task: Task, logits_NC: Array) -> float:
    return float(_row_losses(task, logits_NC).mean())


def _slope(task: Task, logits_NC: Array) -> float:
    """What logits are multiplied by for the least loss: one over the temperature (Guo et al. 2017)."""
    return min(_SLOPES, key=lambda slope: _mean_loss(task, logits_NC * slope))


# Probabilities that mean what they say --------------------------------------------------------------------------------


def _calibration(task: Task, unseen_NC: Array) -> tuple[Array, Array]:
    """What logits are multiplied by and what is added, so that of all rows said to be 80 % sure, 80 % are right.

    For `softmax` one temperature; for `sigmoid` a slope and a shift of each label (Platt 1999).
    """
    classes = task.targets_NC.shape[1]
    if task.link == "softmax":
        return np.full(classes, _slope(task, unseen_NC)), np.zeros(classes)
    fitted = [_platt(unseen_NC[:, c], task.targets_NC[:, c], task.weights_N) for c in range(classes)]
    slope_C, shift_C = (np.array(values) for values in zip(*fitted, strict=True))
    return slope_C, shift_C


def _platt(logits_N: Array, targets_N: Array, weights_N: Array) -> tuple[float, float]:
    """Slope and shift by Newton's method, on targets drawn in a little as Platt does; the slope never turns round."""
    yes, no = float(targets_N.sum()), float((1 - targets_N).sum())
    soft_N = np.where(targets_N > 0, (yes + 1) / (yes + 2), 1 / (no + 2))
    found = np.array([1.0, 0.0])
    inputs_N2 = np.column_stack([logits_N, np.ones_like(logits_N)])
    for _ in range(50):
        sure_N = _sigmoid(inputs_N2 @ found)
        gradient = inputs_N2.T @ (weights_N * (sure_N - soft_N)) + 1e-3 * (found - [1.0, 0.0])
        curve = (inputs_N2 * (weights_N * sure_N * (1 - sure_N))[:, None]).T @ inputs_N2 + 1e-3 * np.eye(2)
        step = np.linalg.solve(curve, gradient)
        found = found - step * min(1.0, 4 / max(1e-9, float(np.abs(step).max())))
        if float(np.abs(step).max()) < 1e-7:
            break
    return max(0.05, float(found[0])), float(found[1])


# The linear part ------------------------------------------------------------------------------------------------------


def _linear(
    task: Task, rows_ND: Array, strength: float, start: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Weights (C, D) and bias (C,) of the least loss plus half of `strength` times the square of the weights.

    With fewer rows than numbers the rows are turned onto the few directions they span: the same answer for less work.
    """
    classes = task.targets_NC.shape[1]
    turned, back = _turned(rows_ND)
    width = turned.shape[1]
    first = np.zeros((classes, width + 1))
    if start is not None:
        first[:, :width], first[:, width] = start[0] @ back.T, start[1]

    def cost(flat: Array) -> tuple[float, Array]:
        both_CW = flat.reshape(classes, width + 1)
        sure_NC = _probabilities(turned @ both_CW[:, :width].T + both_CW[:, width], task.link)
        loss_N = losses_of(sure_NC, task.targets_NC, task.link) * (1 if task.link == "softmax" else classes)
        wrong_NC = (sure_NC - task.targets_NC) * task.weights_N[:, None]
        gradient = np.column_stack([wrong_NC.T @ turned + strength * both_CW[:, :width], wrong_NC.sum(axis=0)])
        gradient[:, width] += 1e-3 * both_CW[:, width]
        held = 0.5 * strength * float((both_CW[:, :width] ** 2).sum()) + 5e-4 * float((both_CW[:, width] ** 2).sum())
        return float((task.weights_N * loss_N).sum()) + held, gradient.ravel()

    found = minimise(cost, first.ravel()).reshape(classes, width + 1)
    return found[:, :width] @ back, found[:, width]


def _turned(rows_ND: Array) -> tuple[Array, Array]:
    """Rows in at most N directions, and the way back (W, D)."""
    if len(rows_ND) >= rows_ND.shape[1]:
        return rows_ND, np.eye(rows_ND.shape[1])
    left, sizes, right = np.linalg.svd(rows_ND, full_matrices=False)
    return left * sizes, right


def minimise(cost: Callable[[Array], tuple[float, Array]], start: Array, rounds: int = 200, memory: int = 12) -> Array:
    """Where a smooth convex function is least, by L-BFGS (Nocedal & Wright, algorithm 7.5) with halved steps."""
    place, pairs = start, list[tuple[Array, Array]]()
    value, gradient = cost(place)
    for _ in range(rounds):
        if float(np.abs(gradient).max()) < 1e-5 * max(1.0, abs(value)):
            break
        direction = -_uphill(gradient, pairs)
        slope = float(direction @ gradient)
        step = 1.0 if pairs else min(1.0, 1.0 / float(np.abs(gradient).sum()))
        while True:
            there, ahead = cost(place + step * direction)
            if there <= value + 1e-4 * step * slope or step < 1e-10:
                break
            step /= 2
        moved, turned = step * direction, ahead - gradient
        if float(moved @ turned) > 1e-12:
            pairs = [*pairs, (moved, turned)][-memory:]
        place, gained, value, gradient = place + moved, value - there, there, ahead
        if gained < 1e-9 * max(1.0, abs(value)):
            break
    return place


def _uphill(gradient: Array, pairs: Sequence[tuple[Array, Array]]) -> Array:
    """The gradient times the inverse curvature that the last steps showed (two loops)."""
    found, shares = gradient.copy(), []
    for moved, turned in reversed(pairs):
        share = float(moved @ found) / float(moved @ turned)
        shares.append(share)
        found -= share * turned
    if pairs:
        moved, turned = pairs[-1]
        found *= float(moved @ turned) / float(turned @ turned)
    for (moved, turned), share in zip(pairs, reversed(shares), strict=True):
        found += (share - float(turned @ found) / float(moved @ turned)) * moved
    return found


# The hidden layer -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """H hidden units beside the linear part: `weight` (H, D), `bias` (H,), `out` (C, H), and what it adds (C,)."""

    weight: Array
    bias: Array
    out: Array
    shift: Array

    @classmethod
    def none(cls, hidden: int, task: Task) -> _Layer:
        width, classes = task.rows_ND.shape[1], task.targets_NC.shape[1]
        return cls(np.zeros((hidden, width)), np.zeros(hidden), np.zeros((classes, hidden)), np.zeros(classes))

    def logits(self, rows_ND: Array) -> Array:
        return np.asarray(np.maximum(rows_ND @ self.weight.T + self.bias, 0) @ self.out.T + self.shift, np.float64)


def _learn_layer(task: Task, rows_ND: Array, linear_NC: Array, hidden: int, until: int, seed: int) -> list[_Layer]:
    """The layer after each of `EPOCHS` up to `until`, on top of a linear part that stays (Adam, decoupled decay)."""
    rng = np.random.default_rng(seed)
    width, classes = rows_ND.shape[1], task.targets_NC.shape[1]
    held = [rng.normal(0, (2 / width) ** 0.5, (hidden, width)), np.zeros(hidden)]
    held += [np.zeros((classes, hidden)), np.zeros(classes)]
    first, second = [np.zeros_like(one) for one in held], [np.zeros_like(one) for one in held]
    layers, steps = [], 0
    for epoch in range(1, until + 1):
        order = rng.permutation(len(rows_ND))
        for at in range(0, len(order), _BATCH):
            steps += 1
            slopes = _slopes(task, rows_ND, linear_NC, held, order[at : at + _BATCH])
            for place, slope in enumerate(slopes):
                first[place] += 0.1 * (slope - first[place])
                second[place] += 0.001 * (slope**2 - second[place])
                change = first[place] / (1 - 0.9**steps) / (np.sqrt(second[place] / (1 - 0.999**steps)) + 1e-8)
                held[place] -= _RATE * (change + _DECAY * held[place])
        if epoch in EPOCHS:
            layers.append(_Layer(*(one.copy() for one in held)))
    return layers


def _slopes(
    task: Task, rows_ND: Array, linear_NC: Array, held: Sequence[Array], some: NDArray[np.int64]
) -> list[Array]:
    weight_HD, bias_H, out_CH, shift_C = held
    rows = rows_ND[some]
    inner_NH = rows @ weight_HD.T + bias_H
    lit_NH = np.maximum(inner_NH, 0)
    sure_NC = _probabilities(linear_NC[some] + lit_NH @ out_CH.T + shift_C, task.link)
    wrong_NC = (sure_NC - task.targets_NC[some]) * task.weights_N[some, None] / len(some)
    back_NH = (wrong_NC @ out_CH) * (inner_NH > 0)
    return [back_NH.T @ rows, back_NH.sum(axis=0), wrong_NC.T @ lit_NH, wrong_NC.sum(axis=0)]


# Numbers --------------------------------------------------------------------------------------------------------------


def _standard(rows_ND: Array) -> tuple[Array, Array]:
    """Mean and spread of each number.

    What leaves is rounded to some eight bits of the largest number of its tensor: so no spread is a small fraction of
    the largest, nor of its own mean, nor of the usual mean; what varies less than that says less instead of too much.
    """
    mean_D, spread_D = rows_ND.mean(axis=0), rows_ND.std(axis=0)
    usual = float(np.sqrt(np.mean(mean_D**2)))
    least_D = np.maximum(np.abs(mean_D) / 16, max(float(spread_D.max()) / 32, usual / 16, 1e-6))
    return mean_D, np.maximum(spread_D, least_D)


def _standardised(rows_ND: NDArray[Any], mean_D: Array, scale_D: Array) -> Array:
    return np.asarray((rows_ND - mean_D) / scale_D, np.float64)


def _logits(rows_ND: Array, weight_CD: Array, bias_C: Array) -> Array:
    return np.asarray(rows_ND @ weight_CD.T + bias_C, np.float64)


def _probabilities(logits_NC: Array, link: str) -> Array:
    if link != "softmax":
        return _sigmoid(logits_NC)
    raised = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -40, 40))), np.float64)
