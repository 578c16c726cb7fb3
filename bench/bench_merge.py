"""Merging 50 adapters of one base: `malan.models.merge` against peft, on the same machine in one run.

Where `.venv-peers` has peft (`make bench` installs it), the peer is peft itself (`peer_peft.py`): its
`add_weighted_adapter`, ways `linear`, `cat` and `svd`, on adapters that are loaded already. Elsewhere its steps are
done with numpy, and the table says so. All run on one thread. Errors are relative to the sum in float64, in the
Frobenius norm, the worst module. Limit: reading every factor once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy: threads that wait for one another burn time on a shared machine

import numpy as np  # noqa: E402
from common import Cost, Report, arguments, median_cost  # noqa: E402

from malan.inference.adapters import Pair  # noqa: E402
from malan.models.merge import Merged, Part, merge_adapters  # noqa: E402
from malan.models.safetensors import Adapter, read_adapter, write_adapter  # noqa: E402

ADAPTERS = 50
PEERS = Path(__file__).resolve().parents[1] / ".venv-peers" / "bin" / "python"


def main() -> None:
    given = arguments(__doc__.splitlines()[0])
    side, modules, runs = (64, 2, 1) if given.quick else (1024, 4, given.runs)
    has_peft = not given.quick and _has_peft()
    report = Report("Merging adapters")
    for title, ranks in (
        (f"{ADAPTERS} adapters, {modules} modules of {side}×{side}, all of rank 16", [16] * ADAPTERS),
        ("the same, ranks 4 to 64 mixed", [4, 8, 16, 32, 64] * (ADAPTERS // 5)),
    ):
        parts = draw(ranks, side, modules)
        truth = exact(parts)
        with tempfile.TemporaryDirectory() as folder:
            peer = Peft(Path(folder), parts, side, runs) if has_peft else Numpy(parts, runs)
            bench_exact(report, title, parts, truth, runs, peer)
            bench_cut(report, title, parts, truth, runs, peer)
    who = "peft itself, with torch" if has_peft else "peft's steps and types with numpy, for peft is not installed here"
    report.notes.append(
        f"The peer is {who}, on one thread; its adapters are loaded before the clock starts. `linear` sums factors, so "
        "its product holds terms that no adapter contains: its error is that of another model. `cat` is the exact way "
        "of peft; it keeps ranks above the sides of a module, where ours builds the smaller form, so those two do not "
        "compare. Calls of milliseconds are run once before and then often."
    )
    report.show()
    if given.json:
        report.save(given.json)


def draw(ranks: Sequence[int], side: int, modules: int) -> list[Part]:
    """Adapters as training leaves them: falling spectra, of different strength, written to files and read back."""
    parts = []
    for number, rank in enumerate(ranks):
        rng = np.random.default_rng(number)
        pairs = {}
        for module in range(modules):
            up = rng.standard_normal((side, rank)) * 0.9 ** np.arange(rank) / side**0.5
            pairs[f"block.{module}"] = Pair(up, rng.standard_normal((rank, side)) / side**0.5)
        adapter = read_adapter(write_adapter(Adapter(pairs, dict.fromkeys(pairs, (side,)))), alpha=rank)
        parts.append(Part(adapter, Fraction(number + 1, 100), {f"owner-{number % 7}": Fraction(1)}, "base"))
    return parts


def exact(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    return {
        name: sum(float(part.weight) * part.adapter.pairs[name].product() for part in parts)
        for name in parts[0].adapter.pairs
    }


def error_of(pairs: dict[str, Pair], truth: dict[str, np.ndarray]) -> float:
    return max(float(np.linalg.norm(pairs[n].product() - w) / np.linalg.norm(w)) for n, w in truth.items())


class Peft:
    """peft itself, in the environment of the peers."""

    def __init__(self, folder: Path, parts: Sequence[Part], side: int, runs: int) -> None:
        self._folder, self._side, self._runs = folder, side, runs
        self._modules = len(parts[0].adapter.pairs)
        plan = [{"rank": part.adapter.rank, "weight": float(part.weight)} for part in parts]
        (folder / "plan.json").write_text(json.dumps(plan))
        for number, part in enumerate(parts):
            (folder / f"{number}.safetensors").write_bytes(write_adapter(part.adapter))
        self.ways = ("linear", "cat") if len({one["rank"] for one in plan}) == 1 else ("cat",)

    def run(self, way: str, rank: int = 0) -> tuple[Cost, dict[str, Pair]]:
        """Medians as peft's own process measures them, and what it made."""
        runs = self._runs if way == "svd" else 5 * self._runs
        words = [str(self._folder), str(self._side), str(self._modules), way, str(rank), str(runs)]
        command = [str(PEERS), str(Path(__file__).with_name("peer_peft.py")), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        said = json.loads(done.stdout.splitlines()[-1])
        with np.load(self._folder / f"{way}.npz") as held:
            names = sorted({name.rpartition(".")[0] for name in held.files})
            pairs = {name: Pair(held[f"{name}.up"], held[f"{name}.down"]) for name in names}
        return Cost(said["wall_s"], said["cpu_s"]), pairs


class Numpy:
    """The steps of peft, with numpy."""

    def __init__(self, parts: Sequence[Part], runs: int) -> None:
        self._parts, self._runs = parts, runs
        self.ways = ("linear",) if len({part.adapter.rank for part in parts}) == 1 else ()

    def run(self, way: str, rank: int = 0) -> tuple[Cost, dict[str, Pair]]:
        if way == "linear":
            linear(self._parts)
            return median_cost(lambda: linear(self._parts), 5 * self._runs if self._runs > 1 else 1)
        return median_cost(lambda: svd(self._parts, rank), self._runs)


def linear(parts: Sequence[Part]) -> dict[str, Pair]:
    """peft `combination_type="linear"`: task arithmetic on the A factors and on the B factors, apart."""
    roots = np.array([float(part.weight) ** 0.5 for part in parts], np.float32)
    merged = {}
    for name in parts[0].adapter.pairs:
        sides = []
        for factor in ("up", "down"):
            stack = np.stack([getattr(part.adapter.pairs[name], factor) for part in parts])
            sides.append((stack * roots[:, None, None]).sum(axis=0))
        merged[name] = Pair(*sides)
    return merged


def svd(parts: Sequence[Part], rank: int) -> dict[str, Pair]:
    """peft `combination_type="svd"`: the dense sum, its full SVD, its first directions, the clamp at the quantile."""
    merged = {}
    for name in parts[0].adapter.pairs:
        stack = np.stack(
            [
                np.float32(part.adapter.pairs[name].scale)
                * (part.adapter.pairs[name].up @ part.adapter.pairs[name].down)
                for part in parts
            ]
        )
        weights = np.array([float(part.weight) for part in parts], np.float32)
        delta = (stack * weights[:, None, None]).sum(axis=0)
        left, sigma, right = np.linalg.svd(delta, full_matrices=True)
        left, right = left[:, :rank] * sigma[:rank], right[:rank]
        high = np.quantile(np.concatenate([left.ravel(), right.ravel()]), np.float32(0.99999))
        merged[name] = Pair(np.clip(left, -high, high), np.clip(right, -high, high))
    return merged


def bench_exact(
    report: Report, title: str, parts: Sequence[Part], truth: dict[str, np.ndarray], runs: int, peer: Peft | Numpy
) -> None:
    often = 1 if runs == 1 else 5 * runs
    merge_adapters(parts)
    ours, merged = median_cost(lambda: merge_adapters(parts), often)
    limit, _ = median_cost(lambda: [p.up.sum() + p.down.sum() for x in parts for p in x.adapter.pairs.values()], runs)
    error = error_of(dict(merged.adapter.pairs), truth)
    told_peers, met = [] if "linear" in peer.ways else ["linear: refuses mixed ranks"], error <= 1e-6
    for way in peer.ways:
        cost, pairs = peer.run(way)
        rank = max(pair.rank for pair in pairs.values())
        told_peers.append(f"{way}: {shown(cost)}, rank {rank}, error {error_of(pairs, truth):.2g}")
        met = met and (ours.cpu_s < cost.cpu_s or rank > merged.adapter.rank)
    report.add(
        f"{title}: exact, rank {merged.adapter.rank}",
        f"{shown(ours)}, error {error:.2g}",
        peer="; ".join(told_peers),
        limit=f"reading all factors: {limit.wall_s * 1e3:.0f} ms",
        must="error ≤ 1e-6, faster",
        met=met,
    )


def bench_cut(
    report: Report, title: str, parts: Sequence[Part], truth: dict[str, np.ndarray], runs: int, peer: Peft | Numpy
) -> None:
    rank = max(pair.rank for part in parts for pair in part.adapter.pairs.values())
    ours, merged = median_cost(lambda: merge_adapters(parts, rank=rank), runs)
    cost, pairs = peer.run("svd", rank)
    error, best = error_of(dict(merged.adapter.pairs), truth), optimum(truth, rank)
    report.add(
        f"{title}: nearest of rank {rank}",
        f"{shown(ours)}, error {error:.6f}, told {told(merged)}",
        peer=f"svd: {shown(cost)}, error {error_of(pairs, truth):.6f}",
        limit=f"best possible error {best:.6f}",
        must="best possible to 1e-6, faster",
        met=abs(error - best) <= 1e-6 and abs(merged.error - error) <= 1e-6 and ours.cpu_s < cost.cpu_s,
    )


def shown(cost: Cost) -> str:
    return f"{cost.wall_s * 1e3:.1f} ms ({cost.cpu_s * 1e3:.1f} CPU)"


def _has_peft() -> bool:
    if not PEERS.is_file():
        return False
    return subprocess.run([str(PEERS), "-c", "import peft"], capture_output=True, check=False).returncode == 0


def told(merged: Merged) -> str:
    return f"{merged.error:.6f}"


def optimum(truth: dict[str, np.ndarray], rank: int) -> float:
    """Eckart–Young: what the directions beyond the rank weigh."""
    sigmas = [np.linalg.svd(w, compute_uv=False) for w in truth.values()]
    return max(float(np.linalg.norm(s[rank:]) / np.linalg.norm(s)) for s in sigmas)


if __name__ == "__main__":
    main()
