"""What `bench_generation.py` measures, in a process with torch: films by our engine, and by diffusers alone.

    python film_by_hand.py FAMILY FOLDER RUNS STEPS JOBS      prints one line of JSON

Each run makes the same film twice, one after the other in turn: opened by `open_engine` (licence asked, files certain,
device locked, words counted, limits checked) and by a call of the pipeline that an engineer has loaded himself. Then as
many jobs are sent to a gateway over HTTP and carried out by its worker, in a process of its own; what their engine made
and what it cost is held against the same ask by hand.
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
sys.path[:0] = [str(_TESTS / folder) for folder in ("", "web", "training/algorithms")]
CODE = "001191110000802100433B10001"  # a well-formed code of an organisation that does not exist

SIDES, FRAMES, RATE = {"wan": 96, "ltx": 256, "cogvideox": 96}, 17, 16  # of LTX 32 pixels are one, of the others 8
PROMPT = "a red car at night"
BY_HAND: dict[str, dict[str, Any]] = {
    "wan": {"max_sequence_length": 512},
    "ltx": {"frame_rate": RATE, "max_sequence_length": 256},
    "cogvideox": {"max_sequence_length": 226},
}


def main() -> None:
    family, folder, (runs, steps, jobs) = sys.argv[1], Path(sys.argv[2]) / sys.argv[1], map(int, sys.argv[3:6])
    import numpy as np
    from tiny_models import save_video_base

    place = save_video_base(family, folder / "base")
    if family == "cogvideox":  # as long prompts as the real one reads
        config = place / "transformer" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"max_text_seq_length": 226}))
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
    told |= {"same": same, "ratio": ratio, "loaded_s": loaded_s, "shape": list(first.shape)}
    print(json.dumps(told | (through_the_gateway(folder / "ws", family, place, steps, jobs) if jobs else {})))


def engine(family: str, folder: Path, place: Path, steps: int) -> tuple[Callable[[], Any], float]:
    """Films by an engine of a workspace; and what the first opening took, with loading."""
    from malan.inference.backends import VideoAsk
    from malan.services.engines.opening import open_engine
    from malan.services.models.bases import add_base
    from malan.workspace import Workspace

    (folder / "ws").mkdir()
    (folder / "ws" / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n')
    ws = Workspace(folder / "ws")
    add_base(ws, place, licence="Apache-2.0", family=family, name=family)
    (ws.root / "models.toml").write_text(f'[engines.film]\nkind="video"\nbackend="diffusers"\nmodel="{family}"\n')
    asked = VideoAsk(PROMPT, SIDES[family], SIDES[family], FRAMES, 7, rate=RATE, steps=steps)

    def film() -> Any:
        with open_engine(ws, "film", "video") as found:
            return found.film(asked).frames_THWC  # type: ignore[attr-defined]

    begun = time.perf_counter()
    with open_engine(ws, "film", "video"):
        loaded_s = time.perf_counter() - begun
    return film, loaded_s


def through_the_gateway(root: Path, family: str, place: Path, steps: int, jobs: int) -> dict[str, Any]:
    """Jobs over HTTP, carried out by a worker; their engine's film and cost beside those of the same ask by hand."""
    import urllib.request

    import numpy as np
    from console_factory import serving
    from recorded_film import BASE

    from malan.apps.queue.work import work
    from malan.services.access import COMMAND_LINE
    from malan.services.accounts.parties import add_party
    from malan.services.gateway.keys import Allowance, make_gateway_key
    from malan.workspace import Workspace

    ws = Workspace(root)
    add_party(ws, COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",))
    key = make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance("desk"))
    said = {"model": "film", "prompt": PROMPT, "seconds": 1, "size": "640x360", "seed": 7}
    said |= {"steps": steps, "model_lines": SIDES[family]}
    headers = {"authorization": f"Bearer {key.text}", "content-type": "application/json"}
    os.environ[BASE] = json.dumps([family, str(place), steps])
    with serving(ws) as url:
        for _ in range(jobs):
            asked = urllib.request.Request(f"{url}/v1/videos", json.dumps(said).encode(), headers)
            urllib.request.urlopen(asked).close()
        work(ws, "cpu", once=True, function="recorded_film:carry_out")
    found = [json.loads(path.read_text()) for path in sorted((root / "recorded").glob("*.json"))]
    films = [np.load(path) for path in sorted((root / "recorded").glob("*.npy"))]
    return {
        "gateway_same": len(films) == jobs and all(one["same"] for one in found),
        "gateway_cpu_s": min(one["cpu_s"] for one in found),  # the first also loads
        "gateway_hand_cpu_s": min(one["hand_cpu_s"] for one in found),
        "gateway_shape": list(films[0].shape),
    }


def by_hand(
    family: str, place: Path, steps: int, prompt: str = PROMPT, size: dict[str, int] | None = None
) -> Callable[[], Any]:
    """Films by diffusers alone, as frames of bytes."""
    import numpy as np
    import torch
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(place)
    pipe.set_progress_bar_config(disable=True)

    def film() -> Any:
        noise = torch.Generator("cpu").manual_seed(7)
        shape = size or {"width": SIDES[family], "height": SIDES[family], "num_frames": FRAMES}
        with torch.inference_mode():
            made = pipe(
                prompt=prompt, generator=noise, output_type="np", num_inference_steps=steps, **shape, **BY_HAND[family]
            )
        return (np.asarray(made.frames[0], np.float32) * 255).round().clip(0, 255).astype(np.uint8)

    return film


if __name__ == "__main__":
    main()
