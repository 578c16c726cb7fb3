"""What is hidden in how weights are written down cannot be read back; what they do stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_factory import SIDES, Array, bits_of, lora_tensors, trained_pair

from malan.core.errors import UsageError
from malan.inference.adapters import Pair, fold_pair
from malan.inference.lowrank import distance, frobenius, product_svd
from malan.inference.tensors import Tensor
from malan.training.gate.rewrite import Rounding, rewrite, rewrite_pair, round_by_lot, seed_of

M = "blocks.0.attn.to_q"
MESSAGE = bits_of(bytes(np.random.default_rng(99).integers(0, 256, 512, dtype=np.uint8)))


def pair_of(up: Array, down: Array) -> dict[str, Tensor]:
    names = (f"{M}.lora_B.weight", f"{M}.lora_A.weight")
    return {name: Tensor.of(name, values) for name, values in zip(names, (up, down), strict=True)}


def factors(tensors: dict[str, Tensor] | object) -> tuple[Array, Array]:
    held = dict(tensors)  # type: ignore[call-overload]
    up, down = held[f"{M}.lora_B.weight"].values(), held[f"{M}.lora_A.weight"].values()
    return up.astype(np.float64), down.astype(np.float64)


def agreement(read: Array, hidden: Array) -> float:
    """The share of bits that were read right: one half is chance."""
    return float(np.mean(read.astype(bool).ravel() == hidden.astype(bool).ravel()))


def is_chance(share: float, bits: int) -> bool:
    return abs(share - 0.5) < 4 * 0.5 / bits**0.5


# --- what stays


@pytest.mark.parametrize("rank", [1, 4, 8, 32])
@pytest.mark.parametrize("fall", [1.0, 0.8, 0.3])
def test_the_product_stays_within_two_per_cent_at_eight_bits(rank: int, fall: float) -> None:
    new = rewrite(lora_tensors(5, rank=rank, fall=fall), Rounding(8), 1)
    assert 0 < new.error < 0.02


@pytest.mark.parametrize("bits", [4, 6, 8, 10])
def test_the_error_is_within_four_steps_of_the_last_bit(bits: int) -> None:
    assert rewrite(lora_tensors(6), Rounding(bits), 1).error < 4 * 2.0**-bits


def test_what_a_layer_answers_stays() -> None:
    tensors = lora_tensors(7)
    inputs = np.random.default_rng(0).standard_normal((100, SIDES[M][1]))
    (up, down), (new_up, new_down) = factors(tensors), factors(rewrite(tensors, Rounding(8), 1).tensors)
    before, after = inputs @ down.T @ up.T, inputs @ new_down.T @ new_up.T
    assert np.linalg.norm(after - before) < 0.02 * np.linalg.norm(before)


def test_the_mean_over_many_lots_is_the_product_itself() -> None:
    tensors = lora_tensors(8)
    up, down = factors(tensors)
    sums = np.zeros_like(up @ down)
    for seed in range(200):
        new_up, new_down = factors(rewrite(tensors, Rounding(5), seed).tensors)
        sums += new_up @ new_down
    single = rewrite(tensors, Rounding(5), 0).error
    assert np.linalg.norm(sums / 200 - up @ down) < 0.25 * single * np.linalg.norm(up @ down)


def test_names_shapes_and_types_stay() -> None:
    tensors = lora_tensors(9, dtype="BF16")
    new = rewrite(tensors, Rounding(8), 1).tensors
    assert {n: (t.dtype, t.shape) for n, t in new.items()} == {n: (t.dtype, t.shape) for n, t in tensors.items()}


@pytest.mark.parametrize("kernel", [(3, 3), (1, 3, 3)])
def test_convolutions_are_rewritten_as_matrices_of_their_kernel(kernel: tuple[int, ...]) -> None:
    up, down = trained_pair(24, 16 * int(np.prod(kernel)), 4, 1)
    names = ("c.lora_B.weight", "c.lora_A.weight")
    shapes = ((24, 4, *(1 for _ in kernel)), (4, 16, *kernel))
    tensors = {n: Tensor.of(n, v.reshape(s)) for n, v, s in zip(names, (up, down), shapes, strict=True)}
    new = rewrite(tensors, Rounding(8), 1)
    assert new.error < 0.02
    assert new.tensors["c.lora_A.weight"].shape == shapes[1]


def test_an_alpha_that_was_declared_is_kept_as_it_is() -> None:
    up, down = trained_pair(24, 16, 4, 1)
    tensors = {"c.lora_up.weight": up, "c.lora_down.weight": down, "c.alpha": np.array(16.0)}
    held = {n: Tensor.of(n, v) for n, v in tensors.items()}
    assert float(rewrite(held, Rounding(8), 1, {"c.alpha"}).tensors["c.alpha"].values()) == 16.0


def test_what_is_only_called_alpha_is_rounded_like_anything_else() -> None:
    """Else a declaration of full weights would have a tensor that passes untouched."""
    up, down = trained_pair(24, 16, 4, 1)
    tensors = {"c.lora_up.weight": up, "c.lora_down.weight": down, "c.alpha": np.full((9, 9), 1 + 2.0**-20)}
    new = rewrite({n: Tensor.of(n, v) for n, v in tensors.items()}, Rounding(8), 1).tensors["c.alpha"].values()
    assert not (new.view("<u4") & 0xFFFF).any()


def test_an_adapter_of_zeros_stays_zero() -> None:
    new = rewrite(pair_of(np.zeros((48, 8)), np.ones((8, 40))), Rounding(8), 1)
    assert new.error == 0.0
    assert not factors(new.tensors)[0].any()


def test_full_weights_are_rounded_row_by_row() -> None:
    values = np.random.default_rng(2).standard_normal((30, 50)) * np.logspace(-4, 2, 30)[:, None]
    new = rewrite({"w": Tensor.of("w", values)}, Rounding(8), 1).tensors["w"].values()
    rows = np.linalg.norm(new - values, axis=1) / np.linalg.norm(values, axis=1)
    assert rows.max() < 0.01


# --- laws


@given(st.integers(0, 2**32), st.sampled_from([4, 6, 8]))
@settings(max_examples=25, deadline=None)
def test_the_same_file_and_seed_give_the_same_bytes(seed: int, bits: int) -> None:
    tensors = lora_tensors(seed % 7)
    first, second = (rewrite(tensors, Rounding(bits), seed).tensors for _ in range(2))
    assert {n: bytes(t.data) for n, t in first.items()} == {n: bytes(t.data) for n, t in second.items()}


@given(st.integers(0, 1000), st.integers(1, 12), st.floats(0.3, 1.0), st.sampled_from([6, 8]))
@settings(max_examples=25, deadline=None)
def test_rewriting_twice_changes_no_more_than_rounding_does(seed: int, rank: int, fall: float, bits: int) -> None:
    once = rewrite(lora_tensors(seed, rank=rank, fall=fall), Rounding(bits), seed)
    twice = rewrite(once.tensors, Rounding(bits), seed + 1)
    assert twice.error < 8 * 2.0**-bits


@given(st.integers(0, 1000), st.floats(-50, 50))
@settings(max_examples=40, deadline=None)
def test_what_is_on_the_grid_stays(seed: int, value: float) -> None:
    rng = np.random.default_rng(seed)
    once = round_by_lot(np.array([value]), 8, np.array(2.0**-6), rng)
    assert np.array_equal(round_by_lot(once, 8, np.array(2.0**-6), rng), once)


@given(st.floats(-1000, 1000), st.integers(2, 11))
@settings(max_examples=60, deadline=None)
def test_a_number_moves_by_less_than_a_step(value: float, bits: int) -> None:
    rounded = float(round_by_lot(np.array([value]), bits, np.array(2.0**-9), np.random.default_rng(1))[0])
    assert abs(rounded - value) <= max(2.0**-9, abs(value) * 2.0 ** (1 - bits))


def test_the_canonical_pair_does_not_depend_on_the_basis() -> None:
    """Before rounding the two are equal to the last digits; the lots are the same, so after it too, but for carries."""
    up, down = trained_pair(48, 40, 6, 3, fall=0.5)
    basis = np.random.default_rng(4).standard_normal((6, 6)) + 3 * np.eye(6)
    first = rewrite_pair(Pair(up, down), Rounding(8), np.random.default_rng(5))
    second = rewrite_pair(Pair(up @ basis, np.linalg.inv(basis) @ down), Rounding(8), np.random.default_rng(5))
    assert np.mean(first.pair.up == second.pair.up) > 0.999
    assert np.mean(first.pair.down == second.pair.down) > 0.999


# --- what is destroyed


def test_a_message_in_low_mantissa_bits_is_gone() -> None:
    up, down = trained_pair(48, 40, 8, 10)
    words = up.astype("<f4").view("<u4").ravel()
    hidden = MESSAGE[: len(words)]
    words = (words & ~np.uint32(1)) | hidden
    new_up, _ = factors(rewrite(pair_of(words.view("<f4").reshape(48, 8), down), Rounding(8), 1).tensors)
    read = new_up.astype("<f4").view("<u4").ravel() & 1
    assert not read.any()


def test_sixteen_low_bits_of_full_weights_are_gone() -> None:
    values = np.random.default_rng(11).standard_normal((64, 64)).astype("<f4")
    hidden = np.random.default_rng(12).integers(0, 2**16, values.size, dtype=np.uint32).reshape(values.shape)
    carrying = ((values.view("<u4") & np.uint32(0xFFFF0000)) | hidden).view("<f4")
    new = rewrite({"w": Tensor.of("w", carrying)}, Rounding(8), 1).tensors["w"].values()
    assert not (new.astype("<f4").view("<u4") & 0xFFFF).any()


def test_a_bit_below_the_rounding_is_drowned_by_our_lots() -> None:
    """The attacker writes ±¼ of a step on a grid it knows; one lot tells next to nothing of it."""
    rng = np.random.default_rng(13)
    base = np.round(rng.uniform(1.0, 1.99, (64, 64)) * 128) / 128
    hidden = rng.integers(0, 2, base.shape)
    carrying = base + (hidden - 0.5) * 2.0**-14
    new = rewrite({"w": Tensor.of("w", carrying)}, Rounding(8), 1).tensors["w"].values()
    assert is_chance(agreement(new > base, hidden), hidden.size)


def test_a_message_in_the_free_basis_of_a_pair_is_gone() -> None:
    """The buyer knows the honest factors and solves for the basis: it finds the same, whatever was hidden."""
    up, down = trained_pair(48, 40, 16, 14, fall=0.7)
    found = []
    for seed in range(2):
        hidden = np.where(np.random.default_rng(seed).integers(0, 2, (16, 16)), 1.0, -1.0) + 8 * np.eye(16)
        tensors = pair_of(up @ np.linalg.inv(hidden), hidden @ down)
        new_up, _ = factors(rewrite(tensors, Rounding(8), 7).tensors)
        found.append(np.linalg.pinv(up) @ new_up)
        read = np.sign(np.linalg.pinv(new_up) @ up)
        assert is_chance(agreement(read > 0, np.sign(hidden) > 0), 256)
    assert np.linalg.norm(found[0] - found[1]) < 0.05 * np.linalg.norm(found[0])


def test_a_message_in_the_basis_of_equal_singular_values_is_gone() -> None:
    """With a flat spectrum every rotation is an SVD: which one a decomposition returns depends on the buyer's basis."""
    rng = np.random.default_rng(15)
    left, right = (np.linalg.qr(rng.standard_normal((side, 16)))[0] for side in (48, 40))
    shares = []
    for seed in range(8):
        hidden = np.random.default_rng(100 + seed).integers(0, 2, (16, 16))
        turn = np.linalg.qr(np.where(hidden, 1.0, -1.0) + 0.1 * rng.standard_normal((16, 16)))[0]
        new_up, _ = factors(rewrite(pair_of(left @ turn, turn.T @ right.T), Rounding(8), seed).tensors)
        shares.append(agreement(left.T @ new_up > 0, turn > 0))
        assert np.abs(left.T @ new_up - turn).max() > 0.3
    assert is_chance(float(np.mean(shares)), 8 * 256)


@pytest.mark.parametrize("spread", [1e-5, 1e-3, 2e-2])
def test_nearly_equal_singular_values_carry_no_basis_either(spread: float) -> None:
    rng = np.random.default_rng(16)
    left, right = (np.linalg.qr(rng.standard_normal((side, 16)))[0] for side in (48, 40))
    turn = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    sigma = 1 + spread * np.arange(16)[::-1]
    tensors = pair_of((left @ turn) * sigma, turn.T @ right.T)
    plain = product_svd(*factors(tensors))
    assert (
        np.abs(turn.T @ left.T @ plain.left).max(axis=0).min() > 0.99
    )  # a decomposition alone hands the basis through
    bases = [left.T @ factors(rewrite(tensors, Rounding(8), seed).tensors)[0] for seed in range(2)]
    overlap = np.abs(
        bases[0].T @ bases[1] / (np.linalg.norm(bases[0], axis=0)[:, None] * np.linalg.norm(bases[1], axis=0))
    )
    assert overlap.max() < 0.95


def test_a_message_in_directions_too_weak_to_matter_is_gone() -> None:
    """Floating-point numbers keep their precision however small: so do directions that change nothing."""
    up, down = trained_pair(48, 40, 1, 17)
    hidden = MESSAGE[: 48 * 7].reshape(48, 7)
    tensors = pair_of(np.hstack([up, np.where(hidden, 1e-6, -1e-6)]), np.vstack([down, np.eye(7, 40)]))
    new = rewrite(tensors, Rounding(8), 1)
    assert new.dropped == 7
    assert not factors(new.tensors)[0][:, 1:].any()


def test_rank_beyond_what_is_used_leaves_as_zeros() -> None:
    up, down = trained_pair(48, 40, 2, 18)
    carrier = np.random.default_rng(1).standard_normal((48, 6))
    new_up, new_down = factors(
        rewrite(pair_of(np.hstack([up, carrier]), np.vstack([down, np.zeros((6, 40))])), Rounding(8), 1).tensors
    )
    assert not new_up[:, 2:].any()
    assert not new_down[2:].any()


def test_a_message_in_exponents_of_tiny_numbers_is_gone() -> None:
    values = np.random.default_rng(19).standard_normal((16, 64))
    values[:, ::2] = 2.0 ** -np.random.default_rng(20).integers(40, 100, (16, 32))
    new = rewrite({"w": Tensor.of("w", values)}, Rounding(8), 1).tensors["w"].values()
    assert not new[:, ::2].any()


def test_the_sign_of_zero_is_gone() -> None:
    values = np.where(MESSAGE[:1024].reshape(16, 64), -0.0, 0.0)
    values[:, 0] = 1.0
    new = rewrite({"w": Tensor.of("w", values)}, Rounding(8), 1).tensors["w"].values()
    assert not np.signbit(new).any()


def test_the_scale_between_the_factors_is_gone() -> None:
    up, down = trained_pair(48, 40, 6, 21, fall=0.5)
    scales = 2.0 ** np.random.default_rng(22).integers(-9, 9, 6)
    plain = factors(rewrite(pair_of(up, down), Rounding(8), 3).tensors)
    scaled = factors(rewrite(pair_of(up * scales, down / scales[:, None]), Rounding(8), 3).tensors)
    assert np.mean(plain[0] == scaled[0]) > 0.99


def test_what_can_still_be_carried_is_a_fraction_of_the_file() -> None:
    tensors = lora_tensors(23)
    size = sum(len(tensor.data) for tensor in tensors.values())
    ceilings = [rewrite(tensors, Rounding(bits), 1).ceiling_bytes for bits in (8, 6, 4)]
    assert size * 0.25 > ceilings[0] > ceilings[1] > ceilings[2]


def test_noise_lowers_what_can_be_carried_and_costs_precision() -> None:
    tensors = lora_tensors(24)
    assert rewrite(tensors, Rounding(8, 0.05), 1).error > 2 * rewrite(tensors, Rounding(8), 1).error


# --- seeds


def test_nobody_without_the_secret_knows_the_lots() -> None:
    assert seed_of(b"a" * 32, "d") != seed_of(b"b" * 32, "d")
    assert seed_of(b"a" * 32, "d") != seed_of(b"a" * 32, "e")
    with pytest.raises(UsageError):
        seed_of(b"short", "d")


def test_handing_the_same_file_in_twice_shows_the_same_lots() -> None:
    """Else the mean of many would have more digits than one."""
    tensors = lora_tensors(25)
    assert seed_of(b"s" * 32, "same") == seed_of(b"s" * 32, "same")
    first, second = (rewrite(tensors, Rounding(8), seed_of(b"s" * 32, "same")) for _ in range(2))
    assert factors(first.tensors)[0].tolist() == factors(second.tensors)[0].tolist()


@pytest.mark.parametrize(("bits", "noise"), [(1, 0.0), (12, 0.0), (8, -0.1), (8, float("nan")), (8, 2.0)])
def test_a_rounding_that_makes_no_sense_is_refused(bits: int, noise: float) -> None:
    with pytest.raises(UsageError):
        Rounding(bits, noise)


def test_more_bits_than_a_type_holds_are_refused() -> None:
    with pytest.raises(UsageError):
        rewrite(lora_tensors(1, dtype="BF16"), Rounding(9), 1)


def test_what_is_stored_in_bfloat16_is_what_was_rounded() -> None:
    wide, narrow = (rewrite(lora_tensors(26, dtype=dtype), Rounding(8), 1) for dtype in ("F32", "BF16"))
    assert narrow.error < 1.5 * wide.error


def test_the_norms_of_a_product_need_no_product() -> None:
    up, down = trained_pair(48, 40, 6, 27)
    folded = fold_pair(up, down)
    assert frobenius(folded.up, folded.down) == pytest.approx(np.linalg.norm(up @ down))
    assert distance(up, down, up * 2, down) == pytest.approx(np.linalg.norm(up @ down))


def test_a_message_in_the_product_itself_survives_and_is_within_the_ceiling() -> None:
    """What the weights *do* leaves: the gate says so, counts it, and the budget pays for it."""
    hidden = MESSAGE[: 48 * 40].reshape(48, 40)
    left, sigma, right = np.linalg.svd(np.where(hidden, 1.0, -1.0), full_matrices=False)
    new = rewrite(pair_of(left * sigma, right), Rounding(8), 1)
    new_up, new_down = factors(new.tensors)
    assert agreement(new_up @ new_down > 0, hidden) == 1.0
    assert hidden.size / 8 < new.ceiling_bytes
