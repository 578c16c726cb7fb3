"""What an engine makes is what the pipeline makes by hand; what it cannot make it refuses before it computes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malan.core.errors import MalanError, Rejected, UsageError
from malan.inference.backends import ImageAsk, VideoAsk
from malan.inference.diffusion import DiffusionFilmer, DiffusionPainter, fit_picture, open_diffusion
from malan.inference.opening import Opening

PROMPT = "a red car at night"
SIZES = {"wan": (32, 16, 9), "ltx": (64, 32, 9), "cogvideox": (32, 16, 9)}
VIDEO = tuple(SIZES)
Openings = Callable[..., Opening]


class Stopped(Exception):
    """Raised by a stop of these tests."""


def ask_of(name: str, **more: Any) -> VideoAsk:
    width, height, frames = SIZES[name.partition("-")[0]]
    return VideoAsk(
        **({"prompt": PROMPT, "width": width, "height": height, "frames": frames, "seed": 7, "steps": 2} | more)
    )


def film_by_hand(folder: Path, ask: VideoAsk, **more: Any) -> Any:
    """The same with diffusers alone."""
    import torch
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.Generator("cpu").manual_seed(ask.seed)
    with torch.inference_mode():
        made = pipe(
            prompt=ask.prompt, width=ask.width, height=ask.height, num_frames=ask.frames, num_inference_steps=ask.steps,
            generator=noise, output_type="np", **more,
        )  # fmt: skip
    return (np.asarray(made.frames[0], np.float32) * 255).round().clip(0, 255).astype(np.uint8)


HAND = {"wan": {}, "ltx": {"frame_rate": 16, "max_sequence_length": 256}, "cogvideox": {"max_sequence_length": 16}}


@pytest.mark.parametrize("name", VIDEO)
def test_a_film_is_the_one_diffusers_makes_by_hand(name: str, base: Callable[[str], Path], opening: Openings) -> None:
    ask = ask_of(name)
    with_engine = open_diffusion(opening(name)).film(ask)  # type: ignore[attr-defined]
    by_hand = film_by_hand(base(name), ask, **HAND[name])
    assert with_engine.frames_THWC.shape == by_hand.shape
    assert np.array_equal(with_engine.frames_THWC, by_hand)
    assert by_hand.std() > 0


@pytest.mark.parametrize("name", VIDEO)
def test_the_seed_decides(name: str, opening: Openings) -> None:
    engine = open_diffusion(opening(name))
    assert isinstance(engine, DiffusionFilmer)
    first, again, other = (engine.film(ask_of(name, seed=seed)).frames_THWC for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_words_guidance_steps_and_what_is_not_wanted_are_heard(opening: Openings) -> None:
    engine = open_diffusion(opening("wan"))
    assert isinstance(engine, DiffusionFilmer)
    plain = engine.film(ask_of("wan")).frames_THWC
    for more in ({"prompt": "blue sky"}, {"guidance": 1.0}, {"steps": 3}, {"negative": "city street"}):
        assert not np.array_equal(engine.film(ask_of("wan", **more)).frames_THWC, plain), more


@pytest.mark.parametrize(
    ("name", "asked", "made"),
    [
        ("wan", (33, 20, 8), (32, 16, 9)),
        ("wan", (40, 9, 1), (48, 16, 1)),
        ("ltx", (50, 30, 10), (64, 32, 9)),
        ("ltx", (50, 30, 11), (64, 32, 13)),
        ("cogvideox", (30, 17, 10), (32, 16, 9)),
        ("wan", (1, 1, 2), (16, 16, 1)),
    ],
)
def test_what_it_cannot_make_exactly_is_rounded_to_the_nearest(
    name: str, asked: tuple[int, int, int], made: tuple[int, int, int], opening: Openings
) -> None:
    engine = open_diffusion(opening(name))
    assert isinstance(engine, DiffusionFilmer)
    width, height, frames = asked
    film = engine.film(ask_of(name, width=width, height=height, frames=frames, steps=1))
    assert film.frames_THWC.shape == (made[2], made[1], made[0], 3)


def test_a_film_has_the_rate_its_family_was_made_for(opening: Openings) -> None:
    rates = {"wan": 16, "ltx": 25, "cogvideox": 8}
    for name, rate in rates.items():
        engine = open_diffusion(opening(name))
        assert isinstance(engine, DiffusionFilmer)
        assert engine.film(ask_of(name, rate=25.0, steps=1)).rate == rate
    engine = open_diffusion(opening("wan", options={"rate": 24}))
    assert isinstance(engine, DiffusionFilmer)
    assert engine.film(ask_of("wan", steps=1)).rate == 24


@pytest.mark.parametrize("name", ["wan-image", "cogvideox-image", "ltx"])
def test_a_film_begins_with_a_picture(name: str, opening: Openings) -> None:
    engine = open_diffusion(opening(name))
    assert isinstance(engine, DiffusionFilmer)
    width, height, _ = SIZES[name.partition("-")[0]] if name != "cogvideox-image" else (16, 16, 9)  # it knows one size
    pictures = np.random.default_rng(0).integers(0, 255, (2, height, width, 3), np.uint8)
    first, other = (engine.film(ask_of(name, image_HWC=picture)).frames_THWC for picture in pictures)
    assert first.shape == (9, height, width, 3)
    assert not np.array_equal(first, other)
    if name == "ltx":
        assert not np.array_equal(first, engine.film(ask_of(name)).frames_THWC)


def test_a_picture_too_many_or_missing_is_refused(opening: Openings) -> None:
    picture = np.zeros((16, 32, 3), np.uint8)
    with pytest.raises(UsageError) as refused:
        open_diffusion(opening("wan")).film(ask_of("wan", image_HWC=picture))  # type: ignore[attr-defined]
    assert refused.value.code == "engines.no_image"
    with pytest.raises(UsageError) as refused:
        open_diffusion(opening("wan-image")).film(ask_of("wan"))  # type: ignore[attr-defined]
    assert refused.value.code == "engines.needs_image"


def test_a_picture_of_another_shape_is_cropped_not_stretched() -> None:
    wide = np.zeros((20, 100, 3), np.uint8)
    wide[:, 40:60] = 255
    assert np.asarray(fit_picture(wide, 20, 20)).min() == 255
    assert np.asarray(fit_picture(wide, 100, 20)).shape == (20, 100, 3)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UsageError):
            fit_picture(wrong, 4, 4)


def test_steps_are_told_and_a_stop_ends_the_work(opening: Openings) -> None:
    engine = open_diffusion(opening("wan"))
    assert isinstance(engine, DiffusionFilmer)
    told: list[tuple[int, int]] = []
    whole = engine.film(ask_of("wan", steps=3), tell=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]

    def stop() -> None:
        if len(told) > 3:
            raise Stopped

    with pytest.raises(Stopped):
        engine.film(ask_of("wan", steps=50), tell=lambda done, total: told.append((done, total)), stop=stop)
    assert len(told) == 4
    assert np.array_equal(engine.film(ask_of("wan", steps=3)).frames_THWC, whole.frames_THWC)


@pytest.mark.parametrize("after", range(8))
def test_a_stop_while_loading_ends_it(after: int, opening: Openings) -> None:
    asked = [0]

    def stop() -> None:
        asked[0] += 1
        if asked[0] > after:
            raise Stopped

    try:
        open_diffusion(opening("wan", stop=stop)).close()
    except Stopped:
        assert asked[0] == after + 1
    else:
        assert asked[0] <= after


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"prompt": ""}, "engines.bad_ask"),
        ({"prompt": " \n"}, "engines.bad_ask"),
        ({"prompt": "a" * 30_000}, "engines.bad_ask"),
        ({"prompt": "city " * 600}, "engines.long_prompt"),
        ({"negative": "city " * 600}, "engines.long_prompt"),
        ({"width": 0}, "engines.bad_ask"),
        ({"height": -16}, "engines.bad_ask"),
        ({"width": 10**9}, "engines.bad_ask"),
        ({"frames": 0}, "engines.bad_ask"),
        ({"frames": -3}, "engines.bad_ask"),
        ({"frames": 10**12}, "engines.too_large"),
        ({"width": 8192, "height": 8192, "frames": 99}, "engines.too_large"),
        ({"seed": -1}, "engines.bad_ask"),
        ({"seed": 2**64}, "engines.bad_ask"),
        ({"steps": -1}, "engines.bad_ask"),
        ({"steps": 10**6}, "engines.bad_ask"),
        ({"guidance": float("nan")}, "engines.bad_ask"),
        ({"guidance": -1.0}, "engines.bad_ask"),
        ({"adapters": {"x": float("nan")}}, "engines.adapter_weight"),
        ({"adapters": {"x": 0.0}}, "engines.adapter_weight"),
        ({"adapters": {str(n): 1.0 for n in range(9)}}, "engines.many_adapters"),
        ({"adapters": {"x": 1.0}}, "models.unknown"),
    ],
)
def test_asks_that_mean_nothing_are_refused(more: dict[str, Any], code: str, opening: Openings) -> None:
    engine = open_diffusion(opening("wan"))
    assert isinstance(engine, DiffusionFilmer)
    with pytest.raises(MalanError) as refused:
        engine.film(ask_of("wan", **more), stop=lambda: None)
    assert refused.value.code == code


@pytest.mark.parametrize("prompt", ["夜景 city 🌃", "\x00\u202e", "<script>{}%s", "word" * 2000])
def test_odd_prompts_do_no_harm(prompt: str, opening: Openings) -> None:
    engine = open_diffusion(opening("wan"))
    assert isinstance(engine, DiffusionFilmer)
    assert engine.film(ask_of("wan", prompt=prompt, steps=1)).frames_THWC.shape[0] == 9


def test_pictures_are_painted_and_each_follows_from_its_own_seed(opening: Openings) -> None:
    for name in ("sd", "flux"):
        engine = open_diffusion(opening(name))
        assert isinstance(engine, DiffusionPainter)
        ask = ImageAsk(PROMPT, 33, 32, 5, count=2, steps=2)
        two = engine.paint(ask)
        assert two.shape[0] == 2
        assert two.shape[1:] == (32, 32, 3)
        assert np.array_equal(engine.paint(ask), two)
        second = engine.paint(replace(ask, count=1, seed=6))[0].astype(int)
        assert np.abs(second - two[1]).max() <= 1  # sums in a batch of two may round otherwise
        assert np.abs(second - two[0]).max() > 1
        with pytest.raises(UsageError):
            engine.paint(replace(ask, count=17))


def test_an_engine_is_closed_twice_and_then_answers_nothing(opening: Openings) -> None:
    engine = open_diffusion(opening("wan"))
    engine.close()
    engine.close()
    with pytest.raises(UsageError) as refused:
        engine.film(ask_of("wan"))  # type: ignore[attr-defined]
    assert refused.value.code == "engines.closed"


@pytest.fixture
def broken(tmp_path: Path, base: Callable[[str], Path]) -> Path:
    """A copy of a base, to be broken."""
    return Path(shutil.copytree(base("wan"), tmp_path / "broken"))


def refused_code(folder: Path, **more: Any) -> str:
    from diffusion_bases import opening_of

    with pytest.raises(MalanError) as refused:
        open_diffusion(opening_of("wan", folder, **more))
    return refused.value.code


def change_index(folder: Path, **more: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_weights_that_lack_something_are_refused(broken: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    held = load_file(path)
    held.pop(sorted(held)[0])
    save_file(held, path)
    assert refused_code(broken) == "engines.missing_weights"


def test_weights_of_another_family_are_refused(broken: Path, base: Callable[[str], Path]) -> None:
    name = "transformer/diffusion_pytorch_model.safetensors"
    shutil.copy(base("ltx") / name, broken / name)
    assert refused_code(broken) in ("engines.missing_weights", "engines.part")


def test_truncated_weights_are_refused(broken: Path) -> None:
    path = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert refused_code(broken) == "engines.part"


def test_a_pickle_is_not_opened(broken: Path) -> None:
    path = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))
    assert refused_code(broken) == "engines.part"


def test_code_of_a_base_is_never_run(broken: Path) -> None:
    (broken / "mine.py").write_text("raise SystemExit('ran')")
    for where, kind in (
        ("mine", "A"),
        ("transformers_modules.x", "A"),
        ("diffusers", "os"),
        ("transformers", "AutoModel"),
    ):
        change_index(broken, transformer=[where, kind])
        assert refused_code(broken) == "engines.own_code"
    change_index(broken, transformer=["diffusers", "WanTransformer3DModel"])
    config = broken / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoModel": "mine.A"}}))
    assert refused_code(broken) == "engines.own_code"


def test_a_part_that_leads_out_of_the_folder_is_refused(broken: Path) -> None:
    change_index(broken, **{"../../x": ["diffusers", "WanTransformer3DModel"]})
    assert refused_code(broken) == "engines.no_pipeline"


def test_a_pipeline_nobody_knows_or_of_another_family_is_refused(broken: Path) -> None:
    assert refused_code(broken, family="ltx") == "engines.other_family"
    assert refused_code(broken, kind="image") == "engines.not_its_kind"
    change_index(broken, _class_name="HunyuanVideoPipeline")
    assert refused_code(broken) == "engines.unknown_family"
    change_index(broken, _class_name=3)
    assert refused_code(broken) == "engines.no_pipeline"
    (broken / "model_index.json").unlink()
    assert refused_code(broken) == "engines.no_pipeline"


@pytest.mark.parametrize(
    "options", [{"colour": "red"}, {"precision": "float8"}, {"offload": True}, {"rate": 0}, {"tiling": "yes"}]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], opening: Openings) -> None:
    with pytest.raises(UsageError) as refused:
        open_diffusion(opening("wan", options=options))
    assert refused.value.code == "engines.bad_option"


def test_numbers_that_are_none_are_refused(opening: Openings) -> None:
    import torch

    engine = open_diffusion(opening("wan"))
    assert isinstance(engine, DiffusionFilmer)
    with torch.no_grad():
        engine.pipeline.vae.decoder.conv_out.weight.fill_(float("nan"))
    with pytest.raises(Rejected) as refused:
        engine.film(ask_of("wan", steps=1))
    assert refused.value.code == "engines.no_numbers"
