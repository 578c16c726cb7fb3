"""A job of the gateway, carried out as always, with what its engine was asked for and made written down beside it.

Named to the worker as the function that carries jobs out; `film_by_hand.py` reads what it leaves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from malan.apps.queue import inside
from malan.apps.video import diffuse
from malan.inference.diffusion import DiffusionFilmer

torch.set_num_threads(1)  # as the peer has


def carry_out(root: str, job_id: str, *rest: Any) -> Any:
    """As `apps.queue.inside`; the film and its cost lie in `recorded/` of the workspace afterwards."""
    told: dict[str, Any] = {}
    opened, filmed = diffuse.open_engine, DiffusionFilmer.film

    @contextmanager
    def open_engine(*given: Any, **more: Any) -> Iterator[Any]:
        wall, cpu = time.perf_counter(), time.process_time()
        with opened(*given, **more) as engine:
            yield engine
        told.update(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)

    def film(self: DiffusionFilmer, ask: Any, **more: Any) -> Any:
        made = filmed(self, ask, **more)
        told.update(prompt=ask.prompt, width=ask.width, height=ask.height, frames=ask.frames, seed=ask.seed)
        told["made"] = made.frames_THWC
        return made

    diffuse.open_engine, DiffusionFilmer.film = open_engine, film  # type: ignore[assignment, method-assign]
    try:
        return inside.carry_out(root, job_id, *rest)
    finally:
        diffuse.open_engine, DiffusionFilmer.film = opened, filmed  # type: ignore[method-assign]
        place = Path(root) / "recorded"
        place.mkdir(exist_ok=True)
        np.save(place / f"{job_id}.npy", told.pop("made", np.zeros(0)))
        (place / f"{job_id}.json").write_text(json.dumps(told))
