"""peft itself at work on adapters that `bench_merge` wrote: run by it, in the environment of the peers, one thread.

    python peer_peft.py FOLDER SIDE MODULES WAY RANK RUNS

FOLDER holds `0.safetensors`, … with `rank` and `weight` in `plan.json`. Loading is not measured; what is measured is
`add_weighted_adapter`. Writes `WAY.npz` (the merged factors) and prints wall and CPU seconds, medians, as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

torch.set_num_threads(1)


class Blocks(torch.nn.Module):
    """As many linear layers as the adapters have modules."""

    def __init__(self, side: int, modules: int) -> None:
        super().__init__()
        self.block = torch.nn.ModuleList([torch.nn.Linear(side, side, bias=False) for _ in range(modules)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.block:
            x = layer(x)
        return x


def main() -> None:
    folder, side, modules, way, rank, runs = sys.argv[1:]
    plan = json.loads((Path(folder) / "plan.json").read_text())
    model = loaded(Path(folder), plan, int(side), int(modules))
    names, weights = [f"a{n}" for n in range(len(plan))], [one["weight"] for one in plan]
    more = {"svd_rank": int(rank)} if way == "svd" else {}
    walls, cpus = [], []
    for _ in range(int(runs)):
        wall, cpu = time.perf_counter(), time.process_time()
        model.add_weighted_adapter(names, weights, "merged", combination_type=way, **more)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        if len(walls) < int(runs):
            model.delete_adapter("merged")
    np.savez(Path(folder) / f"{way}.npz", **factors(model))
    print(json.dumps({"wall_s": statistics.median(walls), "cpu_s": statistics.median(cpus)}))


def loaded(folder: Path, plan: list[dict], side: int, modules: int):
    """A model with every adapter in it."""
    targets = [f"block.{n}" for n in range(modules)]
    model = None
    for number, one in enumerate(plan):
        config = LoraConfig(r=one["rank"], lora_alpha=one["rank"], target_modules=targets, bias="none")
        if model is None:
            model = get_peft_model(Blocks(side, modules), config, adapter_name="a0")
        else:
            model.add_adapter(f"a{number}", config)
        held = {f"base_model.model.{name}": t for name, t in load_file(folder / f"{number}.safetensors").items()}
        result = set_peft_model_state_dict(model, held, adapter_name=f"a{number}")
        assert not result.unexpected_keys, result.unexpected_keys
    return model.base_model


def factors(model) -> dict[str, np.ndarray]:
    """The merged pair of every module; peft's scaling is in the second factor."""
    found = {}
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A") and "merged" in layer.lora_A:
            module = name.split("model.")[-1]
            found[f"{module}.down"] = layer.lora_A["merged"].weight.detach().numpy()
            up = layer.lora_B["merged"].weight.detach().numpy()
            found[f"{module}.up"] = up * np.float32(layer.scaling["merged"])
    return found


if __name__ == "__main__":
    main()
