"""`tagger` and `review-classifier` learn what people said, say honestly how well, and always the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from training.classifier_factory import WIDTH, algorithm, job, loader, one_of, ring, several_of

from malan.inference.tensors import Tensor
from malan.models.classifier import SIGMOID, read_classifier
from malan.training.algorithms import builtin_files
from malan.training.gate.rewrite import Rounding, rewrite
from malan.training.package import check_files, declare_outputs

TAGGER = {"label_set": "time", "hidden": 0, "balance": 0.0}
REVIEW = {"label_set": "review", "hidden": 0, "balance": 0.5, "aim": "recall", "target": 0.9}
TIMES = ("day", "dusk", "night")
THINGS = ("alcohol", "smoking", "weapon")


@pytest.fixture
def tagger(tmp_path: Path) -> Iterator[ModuleType]:
    with algorithm("tagger", tmp_path) as module:
        yield module


@pytest.fixture
def review(tmp_path: Path) -> Iterator[ModuleType]:
    with algorithm("review-classifier", tmp_path) as module:
        yield module


def accuracy(said: np.ndarray, labels: list[list[str]], names: tuple[str, ...]) -> float:
    return float(np.mean([names[row.argmax()] in given for row, given in zip(said, labels, strict=True)]))


@pytest.mark.parametrize("name", ["tagger", "review-classifier"])
def test_the_package_is_sound(name: str) -> None:
    report = check_files(builtin_files(name))
    assert [problem.message() for problem in report.problems] == []
    assert report.package is not None
    assert report.package.environment.packages == ("numpy",)


def test_it_learns_what_people_said(tagger: ModuleType, tmp_path: Path) -> None:
    seen, unseen = one_of(90, TIMES, seed=1), one_of(300, TIMES, seed=2)
    made = job(TAGGER, loader(*seen), loader(*unseen), tmp_path)
    result = tagger.evaluate(made, tagger.train(made))
    assert accuracy(result["outputs"], unseen[1], TIMES) > 0.9


def test_it_is_better_than_the_best_constant_answer(tagger: ModuleType, tmp_path: Path) -> None:
    made = job(
        TAGGER, loader(*one_of(60, TIMES, seed=1, noise=2)), loader(*one_of(90, TIMES, seed=2, noise=2)), tmp_path
    )
    constant, learned = tagger.evaluate(made, None), tagger.evaluate(made, tagger.train(made))
    assert constant["losses"].shape == learned["losses"].shape == (90,)
    assert np.ptp(constant["outputs"], axis=0).max() == 0
    assert learned["losses"].mean() < 0.7 * constant["losses"].mean()


def test_what_it_says_of_itself_holds_for_clips_not_seen(tagger: ModuleType, tmp_path: Path) -> None:
    seen, unseen = one_of(400, TIMES, seed=1, noise=3), one_of(2000, TIMES, seed=2, noise=3)
    made = job(TAGGER, loader(*seen), loader(*unseen), tmp_path)
    result = tagger.evaluate(made, tagger.train(made))
    assert made.said["accuracy"] == pytest.approx(accuracy(result["outputs"], unseen[1], TIMES), abs=0.06)
    assert made.said["loss"] == pytest.approx(result["losses"].mean(), abs=0.12)


def test_it_claims_nothing_where_there_is_nothing_to_learn(tagger: ModuleType, tmp_path: Path) -> None:
    rows, labels = one_of(120, TIMES, seed=1)
    shuffled = np.random.default_rng(0).permutation(rows)
    made = job(TAGGER, loader(shuffled, labels), loader(rows, labels), tmp_path)
    result = tagger.evaluate(made, tagger.train(made))
    assert made.said["accuracy"] < 0.55
    assert made.said["loss"] < 1.25  # a third each is 1.10
    assert result["outputs"].max() < 0.75


def test_the_same_data_and_seed_give_the_same_weights(tagger: ModuleType, tmp_path: Path) -> None:
    made = [job({**TAGGER, "hidden": 4}, loader(*ring(200, seed=1)), loader(*ring(9, seed=2)), tmp_path) for _ in "ab"]
    first, second = (tagger.train(one) for one in made)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_hidden_layer_is_used_where_it_helps(tagger: ModuleType, tmp_path: Path) -> None:
    unseen = ring(400, seed=2)
    found = {}
    for hidden in (0, 16):
        made = job({**TAGGER, "hidden": hidden}, loader(*ring(600, seed=1)), loader(*unseen), tmp_path)
        found[hidden] = accuracy(tagger.evaluate(made, tagger.train(made))["outputs"], unseen[1], ("far", "near"))
    assert found[16] > 0.8 > found[0] + 0.1


def test_a_hidden_layer_is_left_out_where_it_does_not(tagger: ModuleType, tmp_path: Path) -> None:
    made = job(
        {**TAGGER, "hidden": 8},
        loader(*one_of(60, TIMES, seed=1, noise=2)),
        loader(*one_of(9, TIMES, seed=2)),
        tmp_path,
    )
    assert not tagger.train(made)["layers.1.weight"][6:].any()


def test_a_rare_class_is_found_more_often_when_classes_count_alike(tagger: ModuleType, tmp_path: Path) -> None:
    rows, labels = one_of(900, TIMES, seed=1, noise=3)
    rare = [n for n, given in enumerate(labels) if given != ["night"] or n < 60]
    recalls = []
    for balance in (0.0, 1.0):
        made = job(
            {**TAGGER, "balance": balance},
            loader(rows[rare], [labels[n] for n in rare]),
            loader(rows, labels),
            tmp_path,
        )
        said = tagger.evaluate(made, tagger.train(made))["outputs"]
        recalls.append(
            np.mean([TIMES[row.argmax()] == "night" for row, one in zip(said, labels, strict=True) if one == ["night"]])
        )
    assert recalls[1] > recalls[0] + 0.1


def test_what_leaves_is_what_was_declared(tagger: ModuleType, tmp_path: Path) -> None:
    package = check_files(builtin_files("tagger")).package
    assert package is not None
    for hidden in (0, 5):
        made = job(
            {**TAGGER, "hidden": hidden},
            loader(*one_of(30, TIMES, seed=1)),
            loader(*one_of(9, TIMES, seed=2)),
            tmp_path,
        )
        facts = {"classes": 3, "descriptor_width": WIDTH}
        slots = declare_outputs(package, {"hidden": hidden, "label_set": "time"}, facts)["model"].slots
        weights = tagger.train(made)
        assert {name: slot.shape for name, slot in slots.items()} == {name: one.shape for name, one in weights.items()}
        assert made.said.keys() == {metric.name for metric in package.metrics}


def test_it_survives_the_gates_rounding(tagger: ModuleType, tmp_path: Path) -> None:
    unseen = one_of(300, TIMES, seed=2, noise=2)
    made = job(TAGGER, loader(*one_of(90, TIMES, seed=1, noise=2)), loader(*unseen), tmp_path)
    weights = tagger.train(made)
    tensors = {name: Tensor.of(name, values, "F32") for name, values in weights.items()}
    left = rewrite(tensors, Rounding(8), 5).tensors
    before = tagger.evaluate(made, weights)["outputs"]
    after = tagger.evaluate(made, {name: tensor.values() for name, tensor in left.items()})["outputs"]
    assert np.abs(before - after).max() < 0.05


def test_the_registry_reads_it_and_says_the_same(tagger: ModuleType, tmp_path: Path) -> None:
    unseen = ring(40, seed=2)
    made = job({**TAGGER, "hidden": 16}, loader(*ring(300, seed=1)), loader(*unseen), tmp_path)
    weights = tagger.train(made)
    tensors = {name: Tensor.of(name, values, "F32") for name, values in weights.items()}
    said = read_classifier(tensors, ("far", "near")).probabilities(unseen[0].astype(np.float32))
    assert np.abs(said - tagger.evaluate(made, weights)["outputs"]).max() < 1e-4


@pytest.mark.parametrize("labels", [["day"] * 20, ["day", "night", "day"]])
def test_too_little_to_learn_from_is_an_error(tagger: ModuleType, tmp_path: Path, labels: list[str]) -> None:
    data = loader(np.zeros((len(labels), WIDTH)), [[one] for one in labels])
    with pytest.raises(ValueError, match="four labelled clips"):
        tagger.train(job(TAGGER, data, data, tmp_path))


def test_a_class_with_a_single_clip_does_no_harm(tagger: ModuleType, tmp_path: Path) -> None:
    rows, labels = one_of(41, TIMES[:2], seed=1)
    labels[40] = ["dusk"]
    made = job(TAGGER, loader(rows, labels), loader(rows, labels), tmp_path)
    assert np.isfinite(tagger.evaluate(made, tagger.train(made))["losses"]).all()
    assert made.said["accuracy"] > 0.85


def test_numbers_that_never_change_say_nothing(tagger: ModuleType, tmp_path: Path) -> None:
    rows, labels = one_of(60, TIMES, seed=1)
    rows[:, 3] = 5.0
    made = job(TAGGER, loader(rows, labels), loader(rows, labels), tmp_path)
    weights = tagger.train(made)
    rows[:, 3] = 5.5
    moved = job(TAGGER, loader(rows, labels), loader(rows, labels), tmp_path)
    before, after = (tagger.evaluate(one, weights)["outputs"] for one in (made, moved))
    assert np.abs(before - after).max() < 1e-3


# Review ---------------------------------------------------------------------------------------------------------------


def test_each_label_is_judged_by_itself(review: ModuleType, tmp_path: Path) -> None:
    seen, unseen = several_of(500, THINGS, seed=1), several_of(500, THINGS, seed=2)
    made = job(REVIEW, loader(*seen), loader(*unseen), tmp_path)
    said = review.evaluate(made, review.train(made))["outputs"]
    names = sorted({*THINGS, "none"})
    for name in THINGS:
        column = said[:, names.index(name)]
        given = np.array([name in one for one in unseen[1]])
        assert column[given].mean() > 0.6
        assert column[~given].mean() < 0.2


def test_thresholds_keep_the_recall_that_was_asked_for(review: ModuleType, tmp_path: Path) -> None:
    seen, unseen = several_of(800, THINGS, seed=1), several_of(800, THINGS, seed=2)
    made = job(REVIEW, loader(*seen), loader(*unseen), tmp_path)
    weights = review.train(made)
    assert made.said["worst_recall"] >= 0.9
    said = review.evaluate(made, weights)["outputs"] >= weights["thresholds"]
    names = sorted({*THINGS, "none"})
    truth = np.array([[name in one for name in names] for one in unseen[1]])
    assert (said & truth).sum() / truth.sum() > 0.85


def test_a_wish_for_precision_shows_less(review: ModuleType, tmp_path: Path) -> None:
    seen = several_of(800, THINGS, seed=1)
    shown, precision = {}, {}
    for aim in ("recall", "precision", "f1"):
        made = job({**REVIEW, "aim": aim}, loader(*seen), loader(*seen), tmp_path)
        review.train(made)
        shown[aim], precision[aim] = made.said["shown"], made.said["precision"]
    assert shown["precision"] < shown["f1"] < shown["recall"]
    assert precision["precision"] >= 0.89


def test_probabilities_mean_what_they_say(review: ModuleType, tmp_path: Path) -> None:
    seen, unseen = several_of(600, THINGS, seed=1), several_of(2000, THINGS, seed=2)
    made = job({**REVIEW, "balance": 0.0}, loader(*seen), loader(*unseen), tmp_path)
    said = review.evaluate(made, review.train(made))["outputs"][:, 0]
    true = np.array(["alcohol" in one for one in unseen[1]])
    assert made.said["calibration_error"] < 0.06
    for low, high in ((0.1, 0.4), (0.6, 0.9)):
        some = (said >= low) & (said < high)
        assert true[some].mean() == pytest.approx(said[some].mean(), abs=0.1)


def test_the_registry_reads_thresholds_too(review: ModuleType, tmp_path: Path) -> None:
    made = job(REVIEW, loader(*several_of(200, THINGS, seed=1)), loader(*several_of(9, THINGS, seed=2)), tmp_path)
    tensors = {name: Tensor.of(name, values, "F32") for name, values in review.train(made).items()}
    read = read_classifier(tensors, ("alcohol", "none", "smoking", "weapon"), output=SIGMOID)
    assert len(read.thresholds) == 4


@pytest.mark.parametrize(
    ("said", "given", "aim", "target", "least", "most"),
    [
        ([0.9, 0.8, 0.3, 0.2], [1, 1, 1, 0], "recall", 0.9, 0.2, 0.3),
        ([0.9, 0.8, 0.3, 0.2], [1, 1, 1, 0], "recall", 0.6, 0.3, 0.8),
        ([0.9, 0.8, 0.3, 0.2], [1, 0, 1, 0], "precision", 0.9, 0.8, 0.9),
        ([0.9, 0.8, 0.3, 0.2], [0, 1, 0, 0], "precision", 0.9, 0.9, 1.0),
        ([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0], "f1", 0.9, 0.3, 0.8),
        ([0.5, 0.5, 0.5, 0.1], [1, 0, 1, 0], "recall", 0.5, 0.1, 0.5),
        ([0.5, 0.5], [0, 0], "recall", 0.9, 0.5, 0.5),
    ],
)
def test_where_thresholds_lie(
    review: ModuleType, said: list[float], given: list[int], aim: str, target: float, least: float, most: float
) -> None:
    [found] = review.thresholds(np.array(said)[:, None], np.array(given, float)[:, None], aim, target)
    assert least <= found <= most
