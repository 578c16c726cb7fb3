"""Sub-models for one request: all of their names find a place and they change the film, or they are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_diffusion import PROMPT, SIZES, ask_of

from malan.core.errors import MalanError, Rejected
from malan.inference.backends import ImageAsk
from malan.inference.diffusion import DiffusionFilmer, DiffusionPainter, open_diffusion
from malan.inference.opening import Adapter, Opening
from malan.inference.weights import base_modules

Arrays = dict[str, Any]
Openings = Callable[..., Opening]
PART = {"sd": "unet"}
TARGETS = ("to_q", "to_v")


def drawn(folder: Path, name: str, seed: int = 0, rank: int = 4, scale: float = 0.5) -> Arrays:
    """An adapter of every query and value of a base."""
    rng = np.random.default_rng(seed)
    found: Arrays = {}
    for module, shape in base_modules(folder, PART.get(name, "transformer")).items():
        if module.endswith(TARGETS) and len(shape) == 2:
            found[f"{module}.lora_A.weight"] = rng.standard_normal((rank, shape[1])).astype(np.float32) * scale
            found[f"{module}.lora_B.weight"] = rng.standard_normal((shape[0], rank)).astype(np.float32) * scale
    return found


class Shelf:
    """Adapters by name, as a registry would give them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.alpha = folder, None

    def put(self, name: str, arrays: Arrays) -> None:
        from safetensors.numpy import save_file

        save_file(arrays, self.folder / name)

    def __call__(self, name: str) -> Adapter:
        return Adapter(name.ljust(64, "0"), name, self.folder / name, self.alpha)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def filmer(opening: Openings, name: str, shelf: Shelf) -> DiffusionFilmer:
    engine = open_diffusion(opening(name, find_adapter=shelf))
    assert isinstance(engine, DiffusionFilmer)
    return engine


@pytest.mark.parametrize("name", sorted(SIZES))
def test_an_adapter_changes_the_film_as_diffusers_would_and_leaves_no_trace(
    name: str, opening: Openings, base: Callable[[str], Path], shelf: Shelf
) -> None:
    import torch
    from diffusers import DiffusionPipeline

    arrays = drawn(base(name), name)
    shelf.put("night", arrays)
    engine = filmer(opening, name, shelf)
    plain = engine.film(ask_of(name)).frames_THWC
    changed = engine.film(ask_of(name, adapters={"night": 0.7})).frames_THWC
    assert not np.array_equal(changed, plain)
    assert np.array_equal(engine.film(ask_of(name)).frames_THWC, plain)
    assert np.array_equal(engine.film(ask_of(name, adapters={"night": 0.7})).frames_THWC, changed)

    by_hand = DiffusionPipeline.from_pretrained(base(name))
    by_hand.load_lora_weights({key: torch.from_numpy(one) for key, one in arrays.items()}, adapter_name="night")
    by_hand.set_adapters(["night"], [0.7])
    engine._pipe = by_hand
    by_hand.set_progress_bar_config(disable=True)
    engine._attached.only = lambda _: []  # type: ignore[method-assign, assignment]
    assert np.array_equal(engine.film(ask_of(name)).frames_THWC, changed)


def test_several_work_together_and_their_weights_count(
    opening: Openings, base: Callable[[str], Path], shelf: Shelf
) -> None:
    for number, name in enumerate(("a", "b")):
        shelf.put(name, drawn(base("wan"), "wan", number, rank=4 + number))
    engine = filmer(opening, "wan", shelf)

    def film(**adapters: float) -> bytes:
        return engine.film(ask_of("wan", adapters=adapters)).frames_THWC.tobytes()

    films = [film(), film(a=1.0), film(b=1.0), film(a=1.0, b=1.0), film(a=1.0, b=-0.5), film(a=0.5)]
    assert len(set(films)) == len(films)
    assert film(b=1.0, a=1.0) == films[3]
    assert film() == films[0]


def test_alpha_of_a_file_or_a_card_scales(opening: Openings, base: Callable[[str], Path], shelf: Shelf) -> None:
    arrays = drawn(base("wan"), "wan")
    shelf.put("plain", arrays)
    modules = {key.partition(".lora_")[0] for key in arrays}
    shelf.put("half", arrays | {f"{module}.alpha": np.asarray(2.0, np.float32) for module in modules})
    engine = filmer(opening, "wan", shelf)
    half = engine.film(ask_of("wan", adapters={"half": 1.0})).frames_THWC
    assert np.array_equal(engine.film(ask_of("wan", adapters={"plain": 0.5})).frames_THWC, half)
    shelf.alpha = 2.0  # type: ignore[assignment]
    other = filmer(opening, "wan", shelf)
    assert np.array_equal(other.film(ask_of("wan", adapters={"plain": 1.0})).frames_THWC, half)


def test_an_adapter_of_a_unet_is_attached_too(opening: Openings, base: Callable[[str], Path], shelf: Shelf) -> None:
    shelf.put("style", drawn(base("sd"), "sd"))
    engine = open_diffusion(opening("sd", find_adapter=shelf))
    assert isinstance(engine, DiffusionPainter)
    ask = ImageAsk(PROMPT, 32, 32, 5, steps=2)
    plain = engine.paint(ask)
    assert not np.array_equal(engine.paint(replace(ask, adapters={"style": 1.0})), plain)
    assert np.array_equal(engine.paint(ask), plain)


def spoilt(arrays: Arrays) -> dict[str, tuple[str, Arrays]]:
    """Ways in which adapters do not fit, and what is said then."""
    first = sorted(arrays)[0]
    module = first.partition(".lora_")[0]
    down, up = arrays[f"{module}.lora_A.weight"], arrays[f"{module}.lora_B.weight"]
    without = {key: one for key, one in arrays.items() if not key.startswith(module)}
    bare = {key.partition(".")[2]: one for key, one in arrays.items()}
    misfit = "engines.adapter_misfit"

    def pair(name: str, down: Any = down, up: Any = up) -> Arrays:
        return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}

    return {
        "no prefix": (misfit, bare),
        "another prefix": (misfit, {f"diffusion_model.{key}": one for key, one in bare.items()}),
        "one module that is not there": (misfit, arrays | pair("transformer.x")),
        "half a pair": (misfit, arrays | {"transformer.x.lora_A.weight": down}),
        "more than pairs": (misfit, arrays | {f"{module}.dora_scale": up[:, 0].copy()}),
        "transposed": (misfit, {key: np.ascontiguousarray(one.T) for key, one in arrays.items()}),
        "another shape": (misfit, without | pair(module, down=down[:, :-1].copy())),
        "another rank": (misfit, without | pair(module, down=down[:-1].copy())),
        "nothing": (misfit, {"x": down}),
        "zero": ("engines.adapter_silent", {key: one * ("lora_A" in key) for key, one in arrays.items()}),
        "no numbers": ("engines.adapter_numbers", arrays | pair(module, up=np.full_like(up, np.nan))),
        "a norm": (misfit, without | pair("transformer.blocks.0.norm2")),
    }


def test_what_does_not_fit_is_refused_and_nothing_of_it_stays(
    opening: Openings, base: Callable[[str], Path], shelf: Shelf
) -> None:
    arrays = drawn(base("wan"), "wan")
    engine = filmer(opening, "wan", shelf)
    plain = engine.film(ask_of("wan")).frames_THWC
    for what, (code, bad) in spoilt(arrays).items():
        name = what.replace(" ", "-")
        shelf.put(name, bad)
        with pytest.raises(Rejected) as refused:
            engine.film(ask_of("wan", adapters={name: 1.0}))
        assert refused.value.code == code, what
        assert np.array_equal(engine.film(ask_of("wan")).frames_THWC, plain), what


def test_an_adapter_of_another_family_is_refused(opening: Openings, base: Callable[[str], Path], shelf: Shelf) -> None:
    shelf.put("ltx", drawn(base("ltx"), "ltx"))
    with pytest.raises(MalanError) as refused:
        filmer(opening, "wan", shelf).film(ask_of("wan", adapters={"ltx": 1.0}))
    assert refused.value.code == "engines.adapter_misfit"
