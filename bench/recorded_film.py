"""A job of the gateway, carried out as always; then the same film by hand, in the same process, once more and timed.

Named to the worker as the function that carries jobs out; `film_by_hand.py` reads what it leaves. Both films are made
in turn by one process, so that neither has warmer caches or a quieter hour than the other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from film_by_hand import by_hand

from malan.apps.queue import inside
from malan.apps.video import diffuse
from malan.inference.diffusion import DiffusionFilmer

torch.set_num_threads(1)  # as the peer has


BASE = "MALAN_BENCH_BASE"  # family, folder and steps of the film by hand


def carry_out(root: str, job_id: str, *rest: Any) -> Any:
    """As `apps.queue.inside`; both films and their costs lie in `recorded/` of the workspace afterwards."""
    told: dict[str, Any] = {}
    with _watched(told):
        left = inside.carry_out(root, job_id, *rest)
    made = told.pop("made")
    cpu = time.process_time()
    film = _hand(os.environ[BASE], told["prompt"], made.shape)()
    told["hand_cpu_s"] = time.process_time() - cpu
    told["same"] = bool(np.array_equal(made, film))
    place = Path(root) / "recorded"
    place.mkdir(exist_ok=True)
    np.save(place / f"{job_id}.npy", made)
    (place / f"{job_id}.json").write_text(json.dumps(told))
    return left


@contextmanager
def _watched(told: dict[str, Any]) -> Iterator[None]:
    """What the engine is asked for, makes and costs, from its opening to its closing."""
    opened, filmed = diffuse.open_engine, DiffusionFilmer.film

    @contextmanager
    def open_engine(*given: Any, **more: Any) -> Iterator[Any]:
        cpu = time.process_time()
        with opened(*given, **more) as engine:
            yield engine
        told["cpu_s"] = time.process_time() - cpu

    def film(self: DiffusionFilmer, ask: Any, **more: Any) -> Any:
        made = filmed(self, ask, **more)
        told.update(prompt=ask.prompt, made=made.frames_THWC)
        return made

    diffuse.open_engine, DiffusionFilmer.film = open_engine, film  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        diffuse.open_engine, DiffusionFilmer.film = opened, filmed  # type: ignore[method-assign]


@lru_cache(maxsize=1)
def _hand(base: str, prompt: str, shape: tuple[int, ...]) -> Callable[[], Any]:
    """The film by hand, its models loaded and run once before anything is timed."""
    family, place, steps = json.loads(base)
    film = by_hand(family, Path(place), steps, prompt, {"width": shape[2], "height": shape[1], "num_frames": shape[0]})
    film()
    return film
