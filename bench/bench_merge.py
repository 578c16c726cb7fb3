"""Merging 50 adapters of one base: `malan.models.merge` against the ways of peft, on the same machine in one run.

The peers are written here with numpy as peft's `add_weighted_adapter` does them with torch (which is not installed):
`linear` stacks the factors, multiplies each side by the root of the weight and sums (equal ranks only); `svd` sums the
dense products in float32, takes their full SVD and cuts it to the largest rank. Both stay in float32, as peft does. All
run on one thread. Errors are relative to the sum in float64, in the Frobenius norm, the worst module. Limit: reading
every factor once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction

os.environ["OPENBLAS_NUM_THREADS"] = (
    "1"  # before numpy: threads that wait for one another burn time on a shared machine
)

import numpy as np
from common import Report, arguments, median_cost

from malan.inference.adapters import Pair
from malan.models.merge import Merged, Part, merge_adapters
from malan.models.safetensors import Adapter, read_adapter, write_adapter

ADAPTERS = 50


def main() -> None:
    given = arguments(__doc__.splitlines()[0])
    side, modules, runs = (64, 2, 1) if given.quick else (1024, 4, given.runs)
    report = Report("Merging adapters")
    for title, ranks in (
        (f"{ADAPTERS} adapters, {modules} modules of {side}×{side}, all of rank 16", [16] * ADAPTERS),
        ("the same, ranks 4 to 64 mixed", [4, 8, 16, 32, 64] * (ADAPTERS // 5)),
    ):
        parts = draw(ranks, side, modules)
        truth = exact(parts)
        bench_exact(report, title, parts, truth, runs)
        bench_cut(report, title, parts, truth, runs)
    report.notes.append(
        "peft's two ways are re-written with numpy, since torch is not installed; the steps and types are peft's. "
        "`linear` sums factors, so its product holds terms that no adapter contains: its error is that of another "
        "model. Calls of milliseconds are run once before and then often, ours and the peer's."
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


def bench_exact(report: Report, title: str, parts: Sequence[Part], truth: dict[str, np.ndarray], runs: int) -> None:
    often = 1 if runs == 1 else 5 * runs
    merge_adapters(parts)
    ours, merged = median_cost(lambda: merge_adapters(parts), often)
    limit, _ = median_cost(lambda: [p.up.sum() + p.down.sum() for x in parts for p in x.adapter.pairs.values()], runs)
    error = error_of(dict(merged.adapter.pairs), truth)
    ranks = {pair.rank for part in parts for pair in part.adapter.pairs.values()}
    peer, met = "linear: refuses mixed ranks", error <= 1e-6
    if len(ranks) == 1:
        linear(parts)
        cost, pairs = median_cost(lambda: linear(parts), often)
        peer = f"linear: {cost.wall_s * 1e3:.1f} ms ({cost.cpu_s * 1e3:.1f} CPU), error {error_of(pairs, truth):.2g}"
        met = met and ours.cpu_s < cost.cpu_s
    report.add(
        f"{title}: exact, rank {merged.adapter.rank}",
        f"{ours.wall_s * 1e3:.1f} ms ({ours.cpu_s * 1e3:.1f} CPU), error {error:.2g}",
        peer=peer,
        limit=f"reading all factors: {limit.wall_s * 1e3:.0f} ms",
        must="error ≤ 1e-6, faster",
        met=met,
    )


def bench_cut(report: Report, title: str, parts: Sequence[Part], truth: dict[str, np.ndarray], runs: int) -> None:
    rank = max(pair.rank for part in parts for pair in part.adapter.pairs.values())
    ours, merged = median_cost(lambda: merge_adapters(parts, rank=rank), runs)
    cost, pairs = median_cost(lambda: svd(parts, rank), runs)
    error, best = error_of(dict(merged.adapter.pairs), truth), optimum(truth, rank)
    report.add(
        f"{title}: nearest of rank {rank}",
        f"{ours.wall_s * 1e3:.0f} ms ({ours.cpu_s * 1e3:.0f} CPU), error {error:.6f}, told {told(merged)}",
        peer=f"svd: {cost.wall_s * 1e3:.0f} ms ({cost.cpu_s * 1e3:.0f} CPU), error {error_of(pairs, truth):.6f}",
        limit=f"best possible error {best:.6f}",
        must="best possible to 1e-6, faster",
        met=abs(error - best) <= 1e-6 and abs(merged.error - error) <= 1e-6 and ours.cpu_s < cost.cpu_s,
    )


def told(merged: Merged) -> str:
    return f"{merged.error:.6f}"


def optimum(truth: dict[str, np.ndarray], rank: int) -> float:
    """Eckart–Young: what the directions beyond the rank weigh."""
    sigmas = [np.linalg.svd(w, compute_uv=False) for w in truth.values()]
    return max(float(np.linalg.norm(s[rank:]) / np.linalg.norm(s)) for s in sigmas)


if __name__ == "__main__":
    main()
