"""What `bench_generation.py` measures, in a process with torch: films by our engine, and by diffusers alone.

    python film_by_hand.py FAMILY FOLDER RUNS STEPS      prints one line of JSON

Each run makes the same film twice, one after the other in turn: opened by `open_engine` (licence asked, files certain,
device locked, words counted, limits checked) and by a call of the pipeline that an engineer has loaded himself.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "DIFFUSERS_VERBOSITY": "error"}
_TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(_TESTS / folder) for folder in ("", "training/algorithms")]

SIDE, FRAMES, RATE = 96, 17, 16
PROMPT = "a red car at night"
BY_HAND: dict[str, dict[str, Any]] = {
    "wan": {"max_sequence_length": 512},
    "ltx": {"frame_rate": RATE, "max_sequence_length": 256},
    "cogvideox": {"max_sequence_length": 16},
}


def main() -> None:
    family, folder, runs, steps = sys.argv[1], Path(sys.argv[2]) / sys.argv[1], int(sys.argv[3]), int(sys.argv[4])
    import numpy as np
    from tiny_models import save_video_base

    place = save_video_base(family, folder / "base")
    ours, loaded_s = engine(family, folder, place, steps)
    hand = by_hand(family, place, steps)
    first, second = ours(), hand()  # also warms both up
    costs: dict[str, list[tuple[float, float]]] = {"ours": [], "hand": []}
    for _ in range(runs):
        for name, call in (("ours", ours), ("hand", hand)):
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            costs[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    told = {f"{name}_{what}_s": statistics.median(one[at] for one in found)
            for name, found in costs.items() for at, what in enumerate(("wall", "cpu"))}  # fmt: skip
    # what else runs on the machine only ever adds: the quickest of many is what a shared machine disturbs least
    ratio = min(cpu for _, cpu in costs["ours"]) / min(cpu for _, cpu in costs["hand"])
    same = first.shape == second.shape and bool(np.array_equal(first, second))
    print(json.dumps(told | {"same": same, "ratio": ratio, "loaded_s": loaded_s, "shape": list(first.shape)}))


def engine(family: str, folder: Path, place: Path, steps: int) -> tuple[Callable[[], Any], float]:
    """Films by an engine of a workspace; and what the first opening took, with loading."""
    from malan.inference.backends import VideoAsk
    from malan.services.engines import open_engine
    from malan.services.model_bases import add_base
    from malan.workspace import Workspace

    ws = Workspace.create(folder / "ws")
    add_base(ws, place, licence="Apache-2.0", family=family, name=family)
    (ws.root / "models.toml").write_text(f'[engines.film]\nkind="video"\nbackend="diffusers"\nmodel="{family}"\n')
    asked = VideoAsk(PROMPT, SIDE, SIDE, FRAMES, 7, rate=RATE, steps=steps)

    def film() -> Any:
        with open_engine(ws, "film", "video") as found:
            return found.film(asked).frames_THWC  # type: ignore[attr-defined]

    begun = time.perf_counter()
    with open_engine(ws, "film", "video"):
        loaded_s = time.perf_counter() - begun
    return film, loaded_s


def by_hand(family: str, place: Path, steps: int) -> Callable[[], Any]:
    """Films by diffusers alone, as frames of bytes."""
    import numpy as np
    import torch
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(place)
    pipe.set_progress_bar_config(disable=True)

    def film() -> Any:
        noise = torch.Generator("cpu").manual_seed(7)
        size = {"width": SIDE, "height": SIDE, "num_frames": FRAMES, "num_inference_steps": steps}
        with torch.inference_mode():
            made = pipe(prompt=PROMPT, generator=noise, output_type="np", **size, **BY_HAND[family])
        return (np.asarray(made.frames[0], np.float32) * 255).round().clip(0, 255).astype(np.uint8)

    return film


if __name__ == "__main__":
    main()
