"""Music from tags by ACE-Step: exactly as long as asked, by seed, as its pipeline makes it by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malan.core.errors import MalanError
from malan.inference.ace_step import AceStepMusician, open_ace_step
from malan.inference.backends import MusicAsk
from malan.inference.opening import Opening

Openings = Callable[..., Opening]


def ask_of(**more: Any) -> MusicAsk:
    extra = {"steps": 2} | more.pop("extra", {})
    return MusicAsk(**({"prompt": "night city", "seconds": 1.5, "seed": 3, "extra": extra} | more))


@pytest.fixture
def engine(opening: Openings) -> AceStepMusician:
    made = open_ace_step(opening("ace-step"))
    assert isinstance(made, AceStepMusician)
    return made


def test_it_is_the_music_its_pipeline_makes_by_hand(engine: AceStepMusician, base: Callable[[str], Path]) -> None:
    import torch
    from diffusers import AceStepPipeline

    pipe = AceStepPipeline.from_pretrained(base("ace-step"))
    pipe.set_progress_bar_config(disable=True)
    longer = (1.5 * pipe.latents_per_second + 1) / pipe.latents_per_second
    with torch.inference_mode():
        made = pipe(
            "night city", audio_duration=longer, num_inference_steps=2, output_type="np",
            generator=torch.Generator("cpu").manual_seed(3),
        )  # fmt: skip
    sound = engine.play(ask_of())
    assert np.array_equal(sound.samples_NC, made.audios[0].T[: len(sound.samples_NC)])


@pytest.mark.parametrize("seconds", [0.5, 1.5, 1.51])
def test_it_is_exactly_as_long_as_asked(seconds: float, engine: AceStepMusician) -> None:
    sound = engine.play(ask_of(seconds=seconds))
    assert sound.samples_NC.shape == (round(seconds * 100), 2)
    assert sound.rate_hz == 100
    assert 0 < np.abs(sound.samples_NC).max() <= 1


def test_seed_words_tempo_and_key_are_heard(engine: AceStepMusician) -> None:
    plain = engine.play(ask_of()).samples_NC
    assert np.array_equal(engine.play(ask_of()).samples_NC, plain)
    for more in ({"seed": 4}, {"prompt": "blue sky"}, {"extra": {"tempo": 90}}, {"extra": {"key": "a at"}}):
        assert not np.array_equal(engine.play(ask_of(**more)).samples_NC, plain), more


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"lyrics": "la " * 9000}, "lyrics"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": 36_000.0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"seed": -1}, "seed"),
        ({"extra": {"tempo": 10_000}}, "tempo"),
        ({"extra": {"tempo": True}}, "tempo"),
        ({"extra": {"steps": 0}}, "steps"),
        ({"extra": {"guidance": float("nan")}}, "guidance"),
        ({"extra": {"latents": 1}}, "latents"),
    ],
)
def test_what_means_nothing_is_refused(more: dict[str, Any], field: str, engine: AceStepMusician) -> None:
    with pytest.raises(MalanError) as refused:
        engine.play(ask_of(**more))
    assert (refused.value.code, refused.value.values["field"]) == ("engines.bad_ask", field)


def test_a_film_engine_does_not_play(opening: Openings) -> None:
    with pytest.raises(MalanError) as refused:
        open_ace_step(opening("wan", kind="music"))
    assert refused.value.code == "engines.not_its_kind"
