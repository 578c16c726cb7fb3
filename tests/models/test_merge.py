"""Merging adds products: exact, linear, blind to order; shares follow it and add to one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_factory import Array, as_file, lora_tensors, trained_pair

from malan.core.errors import NotFound, Rejected, UsageError
from malan.inference.adapters import Pair
from malan.inference.tensors import Limits, Tensor, write_tensors
from malan.models.merge import Merged, Part, merge_adapters, merge_shares
from malan.models.safetensors import Adapter, load_adapter, read_adapter, save_adapter, write_adapter

ONE = {"湖南台": Fraction(1)}
SIDES = {"a.q": (24, 20), "a.v": (16, 28), "b.conv": (12, 36)}
INPUTS = {"a.q": (20,), "a.v": (28,), "b.conv": (4, 3, 3)}


def adapter(seed: int, rank: int, modules: tuple[str, ...] = tuple(SIDES)) -> Adapter:
    pairs = {}
    for number, module in enumerate(modules):
        up, down = trained_pair(*SIDES[module], rank, seed * 10 + number)
        pairs[module] = Pair(up.astype(np.float32), down.astype(np.float32), 0.5 + seed)
    return Adapter(pairs, {module: INPUTS[module] for module in modules})


def part(seed: int, rank: int = 4, weight: Fraction = Fraction(1, 2), **more: object) -> Part:
    return Part(adapter(seed, rank), weight, ONE, **more)  # type: ignore[arg-type]


def products(merged: Merged) -> dict[str, Array]:
    return {module: pair.product() for module, pair in merged.adapter.pairs.items()}


def sum_of(parts: list[Part], module: str) -> Array:
    return sum(float(p.weight) * p.adapter.pairs[module].product() for p in parts if module in p.adapter.pairs)


def relative(found: Array, wanted: Array) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_fifty_adapters_of_mixed_ranks_merge_to_one_in_a_million() -> None:
    parts = [part(seed, rank=1 + seed % 9, weight=Fraction(1 + seed, 50)) for seed in range(50)]
    merged = merge_adapters(parts)
    for module, product in products(merged).items():
        assert relative(product, sum_of(parts, module)) < 1e-6
    assert merged.error == 0.0


def test_the_same_holds_after_a_file() -> None:
    parts = [part(seed, rank=2) for seed in range(3)]
    read = read_adapter(write_adapter(merge_adapters(parts).adapter))
    for module, pair in read.pairs.items():
        assert relative(pair.product(), sum_of(parts, module)) < 1e-6


def test_adding_factors_would_be_another_model() -> None:
    """What the product of sums holds beside the sum of products."""
    parts = [part(seed) for seed in range(5)]
    up = sum(p.adapter.pairs["a.q"].up * float(p.weight) ** 0.5 for p in parts)
    down = sum(p.adapter.pairs["a.q"].down * float(p.weight) ** 0.5 for p in parts)
    assert relative(up @ down, sum_of(parts, "a.q")) > 0.5


def test_a_wished_rank_gives_the_nearest_product_of_that_rank() -> None:
    parts = [part(seed) for seed in range(6)]
    merged = merge_adapters(parts, rank=5)
    for module, product in products(merged).items():
        sigma = np.linalg.svd(sum_of(parts, module), compute_uv=False)
        best = float(np.linalg.norm(sigma[5:]) / np.linalg.norm(sigma))
        assert relative(product, sum_of(parts, module)) == pytest.approx(best, abs=1e-6)
        assert merged.errors[module] == pytest.approx(best, abs=1e-6)
        assert np.linalg.matrix_rank(product, tol=1e-4) == 5


@pytest.mark.parametrize("count", [2, 12])
def test_a_rank_that_is_enough_costs_nothing(count: int) -> None:
    parts = [part(seed) for seed in range(count)]
    assert merge_adapters(parts, rank=10_000).error == 0.0


def test_a_module_that_only_some_change_is_changed_by_those() -> None:
    parts = [part(1), Part(adapter(2, 3, ("a.q",)), Fraction(1), ONE)]
    merged = merge_adapters(parts)
    assert merged.adapter.pairs["a.v"].rank == 4
    assert relative(products(merged)["a.v"], sum_of(parts, "a.v")) < 1e-6


def test_an_adapter_can_be_taken_away_again() -> None:
    both = merge_adapters([part(1, weight=Fraction(1)), part(2, weight=Fraction(1))])
    back = merge_adapters([Part(both.adapter, Fraction(1), ONE), part(2, weight=Fraction(-1))])
    wanted = adapter(1, 4).pairs["a.q"].product()
    assert relative(products(back)["a.q"], wanted) < 1e-5


ranks = st.lists(st.integers(1, 7), min_size=1, max_size=6)
weights = st.fractions(Fraction(-2), Fraction(2), max_denominator=20).filter(bool)


@given(ranks, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_parts_does_not_matter(found: list[int], random: object) -> None:
    parts = [part(seed, rank) for seed, rank in enumerate(found)]
    mixed = list(parts)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    first, second = merge_adapters(parts), merge_adapters(mixed)
    assert first.shares == second.shares
    for module, product in products(first).items():
        assert np.allclose(product, products(second)[module], rtol=0, atol=1e-5)


@given(ranks, weights)
@settings(max_examples=20, deadline=None)
def test_merging_is_linear_in_the_weights(found: list[int], factor: Fraction) -> None:
    plain = merge_adapters([part(seed, rank, Fraction(1, 3)) for seed, rank in enumerate(found)])
    scaled = merge_adapters([part(seed, rank, Fraction(1, 3) * factor) for seed, rank in enumerate(found)])
    for module, product in products(plain).items():
        assert np.allclose(product * float(factor), products(scaled)[module], rtol=0, atol=2e-5)


@given(ranks.filter(lambda found: len(found) > 1))
@settings(max_examples=20, deadline=None)
def test_merging_in_two_steps_is_merging_at_once(found: list[int]) -> None:
    parts = [part(seed, rank) for seed, rank in enumerate(found)]
    head = merge_adapters(parts[:-1])
    twice = merge_adapters([Part(head.adapter, Fraction(1), head.shares), parts[-1]])
    once = merge_adapters(parts)
    for module, product in products(once).items():
        assert np.allclose(product, products(twice)[module], rtol=0, atol=2e-5)


owners = st.dictionaries(st.sampled_from("甲乙丙丁戊"), st.integers(1, 50), min_size=1)


def exact_shares(counts: dict[str, int]) -> dict[str, Fraction]:
    return {name: Fraction(count, sum(counts.values())) for name, count in counts.items()}


@given(st.lists(st.tuples(weights, owners), min_size=1, max_size=8))
def test_shares_add_to_exactly_one_and_nobody_is_below_zero(found: list[tuple[Fraction, dict[str, int]]]) -> None:
    shares = merge_shares([(weight, exact_shares(counts)) for weight, counts in found])
    assert sum(shares.values()) == 1
    assert all(share > 0 for share in shares.values())


@given(st.lists(st.tuples(weights.filter(lambda w: w > 0), owners), min_size=2, max_size=6), st.integers(1, 5))
def test_shares_of_a_merge_of_merges_are_those_of_one_merge(
    found: list[tuple[Fraction, dict[str, int]]], cut: int
) -> None:
    parts = [(weight, exact_shares(counts)) for weight, counts in found]
    cut = min(cut, len(parts) - 1)
    head, tail = parts[:cut], parts[cut:]
    whole = [(sum(w for w, _ in group), merge_shares(group)) for group in (head, tail)]
    assert merge_shares(whole) == merge_shares(parts)


def test_shares_follow_the_weights() -> None:
    shares = merge_shares(
        [(Fraction(3), {"甲": Fraction(1)}), (Fraction(1), {"甲": Fraction(1, 2), "乙": Fraction(1, 2)})]
    )
    assert shares == {"甲": Fraction(7, 8), "乙": Fraction(1, 8)}


@pytest.mark.parametrize("weight", [Fraction(0), 0.5, 1])
def test_a_weight_that_is_zero_or_not_exact_is_refused(weight: Fraction) -> None:
    with pytest.raises(UsageError):
        Part(adapter(1, 2), weight, ONE)


@pytest.mark.parametrize("shares", [{}, {"甲": Fraction(1, 2)}, {"甲": Fraction(2), "乙": Fraction(-1)}, {"甲": 1.0}])
def test_shares_that_do_not_add_to_one_are_refused(shares: dict[str, Fraction]) -> None:
    with pytest.raises(UsageError):
        Part(adapter(1, 2), Fraction(1), shares)


def test_adapters_of_different_bases_do_not_merge() -> None:
    with pytest.raises(Rejected) as caught:
        merge_adapters([part(1, base_model_id="wan"), part(2, base_model_id="ltx")])
    assert caught.value.code == "merge.other_base"


def test_a_module_of_another_shape_does_not_merge() -> None:
    other = Adapter({"a.q": Pair(np.ones((24, 2)), np.ones((2, 21)))}, {"a.q": (21,)})
    with pytest.raises(Rejected) as caught:
        merge_adapters([part(1), Part(other, Fraction(1), ONE)])
    assert caught.value.code == "merge.other_shape"


@pytest.mark.parametrize("rank", [0, -1])
def test_nothing_to_merge_is_a_misuse(rank: int) -> None:
    with pytest.raises(UsageError):
        merge_adapters([part(1)], rank=rank)
    with pytest.raises(UsageError):
        merge_adapters([])


# --- files


def tensors_of(values: dict[str, Array]) -> bytes:
    return write_tensors(Tensor.of(name, array) for name, array in values.items())


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("m.lora_A.weight", "m.lora_B.weight"),
        ("m.lora_A.default.weight", "m.lora_B.default.weight"),
        ("m.lora_down.weight", "m.lora_up.weight"),
        ("m.lora.down.weight", "m.lora.up.weight"),
        ("m.lora_embedding_A", "m.lora_embedding_B"),
    ],
)
def test_the_names_of_all_usual_trainers_are_understood(down: str, up: str) -> None:
    values = dict(zip((up, down), trained_pair(12, 10, 3, 1), strict=True))
    found = read_adapter(tensors_of(values), alpha=6)
    assert relative(found.pairs["m"].product(), 2 * values[up] @ values[down]) < 1e-6


def test_a_stored_alpha_counts_before_a_configured_one() -> None:
    up, down = trained_pair(12, 10, 4, 1)
    data = tensors_of({"m.lora_up.weight": up, "m.lora_down.weight": down, "m.alpha": np.array(2.0)})
    assert read_adapter(data, alpha=100).pairs["m"].scale == 0.5


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"m.lora_A.weight": np.ones((2, 3))}, "models.not_an_adapter"),
        ({"w": np.ones((2, 3))}, "models.not_an_adapter"),
        (
            {
                "m.lora_A.weight": np.ones((2, 3)),
                "m.lora_B.weight": np.ones((4, 2)),
                "m.lora_magnitude_vector": np.ones(4),
            },
            "models.not_an_adapter",
        ),
        ({"m.lora_A.weight": np.ones((2, 3)), "m.lora_B.weight": np.ones((2, 4))}, "models.misfit"),
        ({"m.lora_A.weight": np.ones(3), "m.lora_B.weight": np.ones(4)}, "models.misfit"),
        (
            {"m.lora_A.weight": np.ones((2, 3, 3, 3)), "m.lora_B.weight": np.ones((4, 2, 3, 3))},
            "models.misfit",
        ),
        ({"m.lora_A.weight": np.full((2, 3), np.nan), "m.lora_B.weight": np.ones((4, 2))}, "models.not_finite"),
        (
            {"m.lora_down.weight": np.ones((2, 3)), "m.lora_up.weight": np.ones((4, 2)), "m.alpha": np.array(np.inf)},
            "models.not_finite",
        ),
        (
            {"m.lora_down.weight": np.ones((2, 3)), "m.lora_up.weight": np.ones((4, 2)), "m.alpha": np.ones(3)},
            "models.misfit",
        ),
    ],
)
def test_what_is_no_plain_adapter_is_refused(values: dict[str, Array], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_adapter(tensors_of(values))
    assert caught.value.code == code


def test_a_saved_adapter_is_the_same_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    whole = read_adapter(as_file(lora_tensors(1)))
    save_adapter(path, whole, metadata={"malan.parts": "2"})
    assert load_adapter(path).digest == whole.digest
    assert [entry.name for entry in tmp_path.iterdir()] == ["adapter.safetensors"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, adapter(1, 2))
    before = path.read_bytes()
    with pytest.raises(UsageError):
        save_adapter(path, Adapter({"m": Pair(np.full((2, 1), 1e9), np.ones((1, 2)))}, {"m": (2,)}), dtype="F16")
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_not_there_or_too_large_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_adapter(tmp_path / "none")
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, adapter(1, 2))
    with pytest.raises(Rejected) as caught:
        load_adapter(path, limits=Limits(file_bytes=100))
    assert caught.value.code == "tensors.too_large"


def test_what_passed_the_gate_is_read_and_merged() -> None:
    """From two runs through the gate to one adapter: nothing but rounding lies between."""
    from weights_factory import SECRET, policy

    from malan.training.gate import inspect_output
    from malan.training.gate.gate import ADAPTER

    raw = [lora_tensors(seed) for seed in (1, 2)]
    left = [inspect_output({ADAPTER: as_file(tensors)}, policy(), SECRET).release()[ADAPTER] for tensors in raw]
    merged = merge_adapters([Part(read_adapter(data), Fraction(1, 2), ONE, "base") for data in left])
    for module, product in products(merged).items():
        plain = [read_adapter(as_file(tensors)).pairs[module].product() for tensors in raw]
        assert relative(product, (plain[0] + plain[1]) / 2) < 0.02
