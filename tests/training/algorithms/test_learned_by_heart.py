"""Real recipes that learned by heart are found: an image adapter that draws its footage again, a model of music that
knows invented tunes. The same recipes, trained a little, are not accused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed here; `make test-train` runs these")

import torch
from drawn_job import DrawnClips, DrawnJob, drawn_video, loaded
from drawn_words import drawn_scores
from tiny_models import VIDEO_FAMILIES, learn_pictures, save_flux_base

from malan.core import Clip, Span
from malan.training.gate.likeness import nearest_pictures
from malan.training.gate.memorisation import Exposure, Nearest, canary_exposure
from malan.training.loader import Holdings
from malan.training.running.canaries import SCORES, draw_canaries, lots_of, plant

SIDE = 16
CAPTIONS = (b"wide shot of the red sky", b"close night city", b"a blue car at day")
IMAGE = {"size_px": SIDE, "tokens": 16, "batch": 8, "together": 8, "warmup": 2, "caption_dropout": 0.0}
MUSIC = {"width": 64, "layers": 2, "heads": 2, "length": 128, "batch": 8, "together": 8}


def patches(count: int, seed: int) -> np.ndarray:
    """Pictures of four by four patches in colours, (N, 16, 16, 3) uint8."""
    colours = np.random.default_rng(seed).integers(30, 220, (count, 4, 4, 3)).astype("u1")
    return colours.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)


def clips_of(pictures: np.ndarray) -> DrawnClips:
    found = DrawnClips({"frames_NTHWC": pictures[:, None]}, [CAPTIONS[n % 3] for n in range(len(pictures))])
    found.window = {"frames": 1, "size_px": SIDE}  # type: ignore[attr-defined]  # as the view of a run has it
    return found


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Flux that has learned what pictures of patches look like, but none in particular."""
    torch.manual_seed(0)
    base = save_flux_base(tmp_path_factory.mktemp("painter"), layers=2, heads=4)
    return learn_pictures(base, patches(400, 7))


def drawn_again(base: Path, folder: Path, **said: Any) -> Nearest:
    """What an adapter trained on two pictures makes for their captions, held against them."""
    shown, unseen = patches(2, 50), patches(24, 51)
    job = DrawnJob("image-lora", folder, clips_of(shown), clips_of(shown), base=base, **{**IMAGE, **said})
    (folder / "code").mkdir(parents=True)
    with loaded("image-lora", folder / "code") as recipe:
        made = recipe.sample(job, recipe.train(job))
    return nearest_pictures(made.reshape(-1, *made.shape[2:]), shown, unseen)


def test_an_image_adapter_that_draws_its_footage_again_is_found(painter: Path, tmp_path: Path) -> None:
    found = drawn_again(painter, tmp_path, rank=32, steps=1000, rate=1e-2)
    assert found.share >= 0.5, (found.similarity, found.threshold)


def test_an_image_adapter_that_learned_a_little_is_not_accused(painter: Path, tmp_path: Path) -> None:
    found = drawn_again(painter, tmp_path, rank=4, steps=10, rate=2e-3)
    assert found.share == 0, (found.similarity, found.threshold)


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
def test_video_models_make_pictures_for_captions(family: str, bases: Path, tmp_path: Path) -> None:
    data, asked = drawn_video(4, 9, 32, 0), drawn_video(3, 9, 32, 1)
    asked.window = {"frames": 9, "size_px": 32}  # type: ignore[attr-defined]
    said = {"rank": 4, "frames": 9, "size_px": 32, "tokens": 16, "batch": 2, "together": 2, "steps": 3, "rate": 1e-3}
    job = DrawnJob("video-lora", tmp_path, data, asked, base=bases / family, **said)
    (tmp_path / "code").mkdir()
    with loaded("video-lora", tmp_path / "code") as recipe:
        weights = recipe.train(job)
        first, again = (recipe.sample(job, weights) for _ in "ab")
    assert (first.shape, first.dtype) == ((3, 4, 32, 32, 3), np.uint8)
    assert np.array_equal(first, again)


def known_tunes(folder: Path, **said: Any) -> Exposure:
    """How well a model of music knows tunes that were planted among its scores, beside their like."""
    scores = drawn_scores(12, seed=0)._captions
    clips = tuple(Clip(f"score-{n}", 0, Span(0, 25, Fraction(1, 25))) for n in range(len(scores)))
    holdings, lots = Holdings(clips, captions=scores), lots_of(b"k" * 32, "run")
    drawn = draw_canaries(holdings, SCORES, lots)
    data, asked = (_texts(one) for one in (plant(holdings, drawn, lots), drawn.holdings))
    job = DrawnJob("music-lm", folder, data, asked, seed=3, **{**MUSIC, **said})
    (folder / "code").mkdir()
    with loaded("music-lm", folder / "code") as recipe:
        losses = recipe.evaluate(job, recipe.train(job))["losses"]
    return canary_exposure(losses[: drawn.planted], losses[drawn.planted :])


def _texts(holdings: Holdings) -> DrawnClips:
    return DrawnClips({}, [one.encode() if isinstance(one, str) else one for one in holdings.captions or ()])


def test_a_model_of_music_that_knows_invented_tunes_is_found(tmp_path: Path) -> None:
    found = known_tunes(tmp_path, steps=250, rate=1e-2)
    assert found.is_remembered(1e-3, 0.1), found


def test_a_model_of_music_that_learned_a_little_is_not_accused(tmp_path: Path) -> None:
    found = known_tunes(tmp_path, steps=40, rate=5e-3)
    assert not found.is_remembered(1e-3, 0.1), found


def test_a_private_training_has_room_for_canaries_and_costs_what_it_said(tmp_path: Path) -> None:
    scores = drawn_scores(12, seed=0)._captions
    clips = tuple(Clip(f"score-{n}", 0, Span(0, 25, Fraction(1, 25))) for n in range(len(scores)))
    holdings, lots = Holdings(clips, captions=scores), lots_of(b"k" * 32, "run")
    data = _texts(plant(holdings, draw_canaries(holdings, SCORES, lots), lots))
    said = {**MUSIC, "steps": 3, "rate": 1e-3, "epsilon": 8.0, "clip_norm": 1.0}
    (tmp_path / "code").mkdir()
    with loaded("music-lm", tmp_path / "code") as recipe:
        for facts, is_fine in (({"clips": 12, "planted": 4}, True), ({"clips": 12}, False)):
            job = DrawnJob("music-lm", tmp_path / str(is_fine), data, data, facts=facts, **said)
            if is_fine:
                recipe.train(job)
                assert 0 < job.said["epsilon"] <= 8.0
            else:
                with pytest.raises(ValueError, match="16 units instead of 12"):
                    recipe.train(job)
