"""The smoke test runs a package as a real run would: shut in, on data it never sees as files, up to the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from malan.core.errors import MissingExtra, UsageError
from malan.services.runs.algorithms import built_ins
from malan.training.drawn import draw_holdings
from malan.training.package import Package, ask_for_data, missing_packages, package_of
from malan.training.package.starter import starter_files
from malan.training.smoke import smoke_package

STARTER = starter_files("mine", "Example Lab")


def changed(code: tuple[str, str] = ("", ""), text: tuple[str, str] = ("", "")) -> Package:
    """The starter with something else in it."""
    files = dict(STARTER)
    for name, (old, new) in (("algorithm.py", code), ("algorithm.toml", text)):
        assert old.encode() in files[name]
        files[name] = files[name].replace(old.encode(), new.encode(), 1)
    return package_of(files)


def test_a_new_package_works_as_it_stands() -> None:
    found = smoke_package(package_of(STARTER))
    assert found.passed, found.log
    assert float(found.figures["accuracy"]) > 0.8
    assert found.level == "sandbox"


def test_without_a_word_about_it_the_drawn_labels_are_learned() -> None:
    text = STARTER["algorithm.toml"].decode().partition("# `malan algorithm smoke`")[0]
    assert "[smoke]" not in text
    assert smoke_package(package_of({**STARTER, "algorithm.toml": text.encode()})).passed


def test_an_error_is_told_with_what_the_algorithm_printed() -> None:
    found = smoke_package(changed(("start = job.restored", "raise ValueError('oh no')\n    start = job.restored")))
    assert not found.passed
    assert [one.code for one in found.reasons] == ["algorithm.smoke.failed"]
    assert "oh no" in found.log


def test_weights_of_another_shape_do_not_pass() -> None:
    found = smoke_package(changed(("return weights\n", "return {**weights, 'bias': weights['bias'][:1]}\n")))
    assert not found.passed


def test_a_figure_that_is_not_reached_does_not_pass() -> None:
    found = smoke_package(changed(text=("value = 0.8", "value = 1.1")))
    assert [one.code for one in found.reasons] == ["algorithm.smoke.figure"]


def test_an_attempt_to_reach_out_is_told() -> None:
    reach = "import socket\n    try: socket.socket()\n    except OSError: pass\n    start = job.restored"
    found = smoke_package(changed(("start = job.restored", reach)))
    assert found.passed
    assert found.attempts == {"socket.inet": 1}


def test_an_endless_algorithm_is_ended() -> None:
    endless = changed(
        ("start = job.restored", "while True: pass\n    start = job.restored"), ("max_seconds = 60", "max_seconds = 2")
    )
    found = smoke_package(endless)
    assert ("limit", "wall") in found.reasons[0].values or ("limit", "cpu") in found.reasons[0].values


def test_what_is_not_installed_is_named() -> None:
    package = changed(text=('lock = {numpy = "2.x"}', 'lock = {numpy = "1.26"}'))
    with pytest.raises(MissingExtra, match=r"numpy 1\.26"):
        smoke_package(package)
    base = changed(text=("[data]", '[base]\nfamilies = ["wan"]\n\n[data]'))
    with pytest.raises(UsageError, match="base model"):
        smoke_package(base)


SEES = """
import numpy as np

def train(job):
    found = next(iter(job.data.batches(8)))
    assert found["frames_NTHWC"].shape == (8, 4, 32, 32, 3), found["frames_NTHWC"].shape
    assert found["audio_NS"].shape == (8, 16000), found["audio_NS"].shape
    assert len(found["captions_offsets"]) == 9 and len(set(found["owner_N"])) == 2
    kinds = {}
    for batch in job.data.batches(8):
        for frames, kind in zip(batch["frames_NTHWC"], batch["label_N"]):
            kinds.setdefault(int(kind), []).append(frames.reshape(-1, 3).mean(0))
    return {"w": np.stack([np.mean(kinds[kind], 0) for kind in sorted(kinds)])}

def evaluate(job, weights):
    batches = list(job.held_out.batches(8))
    seen = np.concatenate([b["frames_NTHWC"].reshape(len(b["label_N"]), -1, 3).mean(1) for b in batches])
    labels = np.concatenate([b["label_N"] for b in batches])
    far = np.zeros((len(seen), 3)) if weights is None else np.linalg.norm(seen[:, None] - weights["w"][None], axis=2)
    said = np.exp(-far / 20); said /= said.sum(1, keepdims=True)
    if weights is not None:
        job.metrics({"accuracy": float((said.argmax(1) == labels).mean())})
    return {"losses": -np.log(said[np.arange(len(labels)), labels]), "outputs": said}
"""


def test_frames_sound_captions_and_owners_are_drawn_too() -> None:
    text = STARTER["algorithm.toml"].decode()
    text = text.replace(
        'deliver = ["descriptor", "labels"]', 'deliver = ["frames", "audio", "captions", "owner", "labels"]'
    )
    text = text.replace(
        "min_clips = 20", "min_clips = 20\nwindow = {frames = 4, size_px = 32, every = 2}\naudio = {seconds = 1}"
    )
    head, _, tail = text.partition("[outputs.model.tensors]")
    tail = '[outputs.model.tensors]\nw = ["F32", ["$classes", 3]]\n' + tail[tail.index("\n# The figures") :]
    files = {
        "algorithm.toml": (head + tail).encode(),
        "algorithm.py": SEES.encode(),
    }
    found = smoke_package(package_of(files), parameters={})
    assert found.passed, (found.reasons, found.log)
    assert float(found.figures["accuracy"]) > 0.9


@pytest.mark.parametrize("name", sorted(built_ins()))
def test_what_comes_with_malan_passes_its_own_smoke_test(name: str) -> None:
    package = built_ins()[name]
    if package.families or missing_packages(package.environment):
        pytest.skip("needs a base model, or packages of the extra")
    found = smoke_package(package)
    assert found.passed, (found.reasons, found.log)


def test_the_same_seed_draws_the_same_data(tmp_path: Path) -> None:
    request = ask_for_data(package_of(STARTER), {"label_set": "x"})
    first, again, other = (
        draw_holdings(request, clips=12, classes=3, seed=seed, folder=tmp_path) for seed in (1, 1, 2)
    )
    assert first.descriptors_ND is not None
    assert np.array_equal(first.descriptors_ND, again.descriptors_ND)
    assert not np.array_equal(first.descriptors_ND, other.descriptors_ND)
    assert {name for names in first.labels or () for name in names} == set(first.classes or ())
