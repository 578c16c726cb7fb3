"""Declaration, intake, figures, receipt, budget, effect and memory, each by itself."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_factory import SECRET, Array, as_file, declared, lora_tensors, policy

from malan.core.canonical import read_canonical
from malan.core.errors import NotGranted, Rejected, UsageError
from malan.training.gate import (
    Declared,
    GateResult,
    Metric,
    Run,
    collect_outputs,
    inspect_output,
    owner_receipt,
    party_receipt,
    reserve_output,
    settle_output,
    worst_case,
)
from malan.training.gate.budget import OUTCOME_BYTES, charge_of, most_of
from malan.training.gate.effect import Effect, check_effect
from malan.training.gate.gate import ADAPTER, METRICS
from malan.training.gate.memorisation import canary_exposure, nearest_frames
from malan.training.gate.metrics import metric_bits, read_metrics, three_digits, write_metrics
from malan.training.gate.receipt import minutes_of, outcome_of
from malan.training.gate.result import PASSED, approve

# --- declaration


def test_a_declaration_names_every_tensor() -> None:
    held = Declared.from_output(
        {"type": "lora", "max_bytes": 10_000, "rank": 2, "modules": {"a.b": [6, 4], "c": [6, 4, 3, 3]}}
    )
    assert {name: slot.shape for name, slot in held.slots.items()} == {
        "a.b.lora_A.weight": (2, 4),
        "a.b.lora_B.weight": (6, 2),
        "c.lora_A.weight": (2, 4, 3, 3),
        "c.lora_B.weight": (6, 2, 1, 1),
    }


def test_equal_declarations_have_equal_digests() -> None:
    assert declared().digest == declared().digest != declared(rank=4).digest


@pytest.mark.parametrize(
    "change",
    [
        {"type": "pickle"},
        {"format": "pt"},
        {"rank": 0},
        {"rank": 2.5},
        {"rank": True},
        {"dtype": "F64"},
        {"naming": "mine"},
        {"modules": {}},
        {"modules": {"../x": [4, 4]}},
        {"modules": {"m": [4]}},
        {"modules": {"m": [4, 0]}},
        {"modules": {"m": [2**40, 4]}},
        {"max_bytes": 100},
        {"max_norm": float("inf")},
        {"max_norm": -1.0},
        {"alpha": 0},
        {"surprise": 1},
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        declared(**change)


def test_what_we_write_fits_into_the_declared_bytes() -> None:
    result = inspect_output({ADAPTER: as_file(lora_tensors(1))}, policy(), SECRET)
    assert len(result.release()[ADAPTER]) <= declared().needed_bytes <= declared().max_bytes


# --- intake


def test_the_listed_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    assert collect_outputs(tmp_path, {"a": 3, "b": 9}, optional=frozenset({"b"})) == {"a": b"123"}


def plant_symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def plant_hard_link(path: Path) -> None:
    other = path.parent.parent / "other"
    other.write_bytes(b"x")
    os.link(other, path)


def plant_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def plant_socket(path: Path) -> None:
    held = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        held.bind(path.name)
    finally:
        os.chdir(here)
        held.close()


PLANTS = {
    "a symbolic link": plant_symlink,
    "a hard link": plant_hard_link,
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a sparse terabyte": plant_sparse,
    "a socket": plant_socket,
}


@pytest.mark.parametrize("what", PLANTS)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    PLANTS[what](folder / "a")
    with pytest.raises(Rejected):
        collect_outputs(folder, {"a": 1000})


@pytest.mark.parametrize("name", ["b", ".hidden", "a ", "A", "aGVsbG8=", "素材"])
def test_a_file_that_is_not_listed_is_refused_and_its_name_not_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(Rejected) as caught:
        collect_outputs(tmp_path, {"a": 10})
    assert caught.value.values == {"extra": 1}


def test_ten_thousand_names_are_not_read_to_the_end(tmp_path: Path) -> None:
    for n in range(300):
        (tmp_path / f"x{n}").touch()
    with pytest.raises(Rejected) as caught:
        collect_outputs(tmp_path, {"a": 10})
    assert caught.value.values["extra"] <= 65


@pytest.mark.parametrize("size", [11, 1000])
def test_a_file_above_its_limit_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(b"1" * size)
    with pytest.raises(Rejected):
        collect_outputs(tmp_path, {"a": 10})


def test_an_output_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(NotADirectoryError):
        collect_outputs(tmp_path / "out", {"a": 10})


# --- figures

LOSS, GAIN = Metric("loss", 0, 10), Metric("gain", -1, 1)


def figures(text: str | bytes) -> dict[str, str]:
    return read_metrics(text if isinstance(text, bytes) else text.encode(), (LOSS, GAIN))


def test_figures_leave_with_three_digits() -> None:
    assert figures('{"gain": -0.123456789, "loss": 2.71828182845}') == {"loss": "2.72", "gain": "-0.123"}


@pytest.mark.parametrize(
    "text",
    [
        '{"loss": 1}',
        '{"loss": 1, "gain": 0, "extra": 1}',
        '{"loss": 1, "gain": 0, "loss": 2}',
        '{"loss": NaN, "gain": 0}',
        '{"loss": Infinity, "gain": 0}',
        '{"loss": 1e999, "gain": 0}',
        '{"loss": "1", "gain": 0}',
        '{"loss": true, "gain": 0}',
        '{"loss": [1, 2], "gain": 0}',
        '{"loss": {"a": 1}, "gain": 0}',
        '{"loss": null, "gain": 0}',
        '{"loss": 11, "gain": 0}',
        '{"loss": -1, "gain": 0}',
        '{"loss": 1.' + "1" * 100 + ', "gain": 0}',
        '{"loss": ' + "9" * 5000 + ', "gain": 0}',
        "[1, 2]",
        "[" * 7000,
        "",
        '{"loss": 1, "gain": 0}' + " " * 9000,
        b'{"loss": 1, "gain": 0, "\xff": 1}',
    ],
)
def test_figures_that_are_not_those_agreed_on_are_refused(text: str | bytes) -> None:
    with pytest.raises(Rejected):
        figures(text)


@given(st.floats(0, 10), st.floats(-1, 1))
@settings(max_examples=200)
def test_a_figure_is_one_of_as_many_texts_as_are_counted(loss: float, gain: float) -> None:
    told = figures(json.dumps({"loss": loss, "gain": gain}))
    assert all(len(text.lstrip("-0.").replace(".", "").split("e")[0]) <= 3 for text in told.values())
    assert three_digits(float(told["loss"])) == told["loss"]
    assert told["gain"] != "-0"
    assert metric_bits((LOSS, GAIN)) < 28


def test_digits_behind_the_third_carry_nothing() -> None:
    hidden = [int.from_bytes(b"frame") / 10**12 * 1e-4 + 0.5, 0.5000321]
    assert {figures(json.dumps({"loss": value, "gain": 0}))["loss"] for value in hidden} == {"0.5"}


@pytest.mark.parametrize("value", [1e-300, 5e-324, -1e-200, -0.0])
def test_exponents_far_below_the_range_and_the_sign_of_zero_carry_nothing(value: float) -> None:
    assert figures(json.dumps({"loss": 1, "gain": value}))["gain"] == "0"


def test_the_file_of_figures_is_canonical() -> None:
    assert read_canonical(write_metrics(figures('{"loss": 1, "gain": 0.5}'))) == {"loss": "1", "gain": "0.5"}


@pytest.mark.parametrize("rules", [(LOSS, LOSS), tuple(Metric(f"m{n}") for n in range(33))])
def test_too_many_figures_or_one_twice_are_refused(rules: tuple[Metric, ...]) -> None:
    with pytest.raises(UsageError):
        read_metrics(b"{}", rules)


@pytest.mark.parametrize("bad", [("a b", 0, 1), ("", 0, 1), ("a.b", 0, 1), ("a", 1, 0), ("a", 0, float("inf"))])
def test_a_figure_without_a_plain_name_or_range_is_refused(bad: tuple[str, float, float]) -> None:
    with pytest.raises(UsageError):
        Metric(*bad)


# --- what leaves beside the files


@pytest.mark.parametrize(
    ("status", "word"), [(0, "ok"), (1, "failed"), (77, "failed"), (255, "failed"), (137, "limit"), (-9, "limit")]
)
def test_an_exit_status_says_one_of_three_words(status: int, word: str) -> None:
    assert outcome_of(status) == word


def test_all_exit_statuses_together_say_less_than_two_bits() -> None:
    assert len({outcome_of(status) for status in range(-64, 256)}) == 3


@pytest.mark.parametrize(("wall_s", "minutes"), [(0, 1), (0.1, 1), (59.9, 1), (60, 1), (60.01, 2), (3601, 61)])
def test_time_is_told_in_whole_minutes_rounded_up(wall_s: float, minutes: int) -> None:
    assert minutes_of(wall_s) == minutes


# --- receipt


def run(**more: Any) -> Run:
    held = {"tier": "code", "isolation": "sandbox", "microseconds_by_owner": {"a": 1_500_000, "b": 1}, "wall_s": 61.7}
    return Run("run-1", "grant-1", "s" * 64, "c" * 64, None, **{**held, **more})


def passed() -> GateResult:
    rules = policy(metrics=(Metric("loss"),))
    return inspect_output({ADAPTER: as_file(lora_tensors(1)), METRICS: b'{"loss": 0.25}'}, rules, SECRET)


def test_a_receipt_is_canonical_and_names_what_left() -> None:
    result = passed()
    told = read_canonical(owner_receipt(run(), result, charge_of(result)))
    assert told["files"][ADAPTER]["size_bytes"] == len(result.files[ADAPTER])
    assert (told["tier"], told["isolation"], told["epsilon"], told["minutes"]) == ("code", "sandbox", None, 2)
    assert [step["step"] for step in told["steps"]] == [step.name for step in result.steps]
    assert told["seconds"] == {"a": 1_500_000, "b": 1}
    assert told["metrics"] == {"loss": "0.25"}


def test_the_buyers_copy_holds_no_evidence_and_no_digest_of_what_the_run_wrote() -> None:
    result = passed()
    text = party_receipt(run(), result, charge_of(result)).decode()
    told = read_canonical(text.encode())
    assert "steps" not in told
    assert told["seconds_used"] == 2
    from malan.core.ids import digest_bytes

    assert digest_bytes(as_file(lora_tensors(1))) not in text


def test_the_buyers_copy_of_a_refused_run_is_the_same_whatever_was_tried() -> None:
    tries = [as_file({**lora_tensors(n), **lora_tensors(1, rank=n)}) for n in (2, 3, 5)]
    copies = {party_receipt(run(), inspect_output({ADAPTER: data}, policy(), SECRET), 64) for data in tries}
    assert len(copies) == 1


def test_a_held_result_tells_no_digests_and_no_figures() -> None:
    result = inspect_output({ADAPTER: as_file(lora_tensors(1))}, policy(is_held=True), SECRET)
    told = read_canonical(party_receipt(run(), result, 64))
    assert (told["files"], told["metrics"], told["state"]) == ({}, {}, "held")


@pytest.mark.parametrize(
    "bad", [{"tier": "magic"}, {"isolation": "hope"}, {"tier": "recipe-dp"}, {"tier": "code", "epsilon": "8"}]
)
def test_a_run_without_a_known_tier_level_or_epsilon_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        run(**bad)


# --- budget


class Account:
    """The least that fits the protocol: one number, one transaction a call."""

    def __init__(self, most: int) -> None:
        self.left, self.held, self.used, self.keys = most, dict[str, int](), 0, set[str]()

    def reserve(self, amount: int, key: str) -> str:
        if key not in self.held:
            if amount > self.left:
                raise NotGranted("gate.not_passed", state="–")
            self.left -= amount
            self.held[key] = amount
        return key

    def consume(self, hold: str, amount: int, *, key: str) -> bool:
        if key in self.keys:
            return False
        assert amount <= self.held[hold]
        self.keys.add(key)
        self.held[hold] -= amount
        self.used += amount
        return True

    def release(self, hold: str) -> int:
        given, self.held[hold] = self.held[hold], 0
        self.left += given
        return given


def refused() -> GateResult:
    return inspect_output({ADAPTER: b"no"}, policy(), SECRET)


def test_what_leaves_is_charged_to_the_byte_and_the_rest_given_back() -> None:
    account, result = Account(1_000_000), passed()
    rules = policy(metrics=(Metric("loss"),))
    charged = settle_output(account, reserve_output(account, rules, "r1"), result, "r1")
    assert charged == sum(map(len, result.files.values())) + OUTCOME_BYTES == account.used
    assert account.left == 1_000_000 - charged


def test_a_run_settled_twice_is_charged_once() -> None:
    account, result = Account(1_000_000), passed()
    hold = reserve_output(account, policy(metrics=(Metric("loss"),)), "r1")
    assert settle_output(account, hold, result, "r1") == settle_output(account, hold, result, "r1") == account.used


def test_many_small_runs_end_where_the_budget_ends() -> None:
    account = Account(most_of(policy()) + 20 * OUTCOME_BYTES)
    for n in range(21):
        settle_output(account, reserve_output(account, policy(), f"r{n}"), refused(), f"r{n}")
    with pytest.raises(NotGranted):
        reserve_output(account, policy(), "one more")


def test_runs_at_the_same_time_cannot_share_what_is_left() -> None:
    account = Account(most_of(policy()) + 1)
    reserve_output(account, policy(), "r1")
    with pytest.raises(NotGranted):
        reserve_output(account, policy(), "r2")


def test_a_held_result_is_charged_its_bytes_when_it_is_approved() -> None:
    held = inspect_output({ADAPTER: as_file(lora_tensors(1))}, policy(is_held=True), SECRET)
    assert charge_of(held) == OUTCOME_BYTES
    assert charge_of(approve(held, "p")) == len(held.files[ADAPTER]) + OUTCOME_BYTES
    assert approve(held, "p").state == PASSED


def test_no_result_is_charged_more_than_was_held() -> None:
    assert charge_of(passed()) <= most_of(policy(metrics=(Metric("loss"),)))


def test_the_meter_of_a_grant_is_such_an_account(tmp_path: Path) -> None:
    """Bound to a grant and a unit that counts; the unit of bytes is the meter's to name."""
    from sqlalchemy import create_engine

    from malan.rights.meter import UNITS, Meter, Reservation

    unit = "output_bytes" if "output_bytes" in UNITS else "outputs"
    meter = Meter(create_engine(f"sqlite:///{tmp_path / 'm.db'}"))
    meter.open("grant-1", {unit: 1_000_000})

    class Bound:
        def reserve(self, amount: int, key: str) -> Reservation:
            return meter.reserve("grant-1", unit, amount, key)

        def consume(self, hold: Reservation, amount: int, *, key: str) -> bool:
            return meter.consume(hold, amount, key=key)

        def release(self, hold: Reservation) -> int:
            return meter.release(hold)

    result = passed()
    charged = settle_output(Bound(), reserve_output(Bound(), policy(metrics=(Metric("loss"),)), "r1"), result, "r1")
    (account,) = meter.accounts("grant-1")
    assert (account.consumed, account.reserved) == (charged, 0)


# --- worst case


def test_fifty_megabytes_are_so_much_footage_at_worst() -> None:
    found = worst_case(50_000_000)
    assert (found.audio_s, found.video_s, found.small_video_s, found.stills) == (6250, 80, 800, 1000)
    assert "6,250" in found.statement()["en"]
    assert "6,250 秒音频" in found.statement()["zh"]


@pytest.mark.parametrize("value", [-1, 1.5, True, "9"])
def test_a_budget_is_a_whole_number(value: Any) -> None:
    with pytest.raises(UsageError):
        worst_case(value)


# --- effect


def effect(**more: Any) -> Effect:
    rng = np.random.default_rng(0)
    base, losses = rng.standard_normal((5, 4)), rng.uniform(1, 2, 30)
    held = {"wanted": {"a"}, "matched": {"a"}, "base_outputs": base, "outputs": base + 0.1, "base_losses": losses}
    return Effect(**{**held, "losses": losses * 0.8, **more})


def test_a_model_that_is_better_than_its_base_passes() -> None:
    gain = check_effect(effect())
    assert gain.gain == pytest.approx(0.2)
    assert gain.z > 2


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"matched": set()}, "gate.keys_matched"),
        ({"wanted": {"a", "b"}}, "gate.keys_matched"),
        ({"matched": {"a", "b"}}, "gate.keys_matched"),
        ({"outputs": effect().base_outputs}, "gate.no_change"),
        ({"losses": effect().base_losses}, "gate.no_gain"),
        ({"losses": effect().base_losses * 1.2}, "gate.no_gain"),
        ({"losses": np.random.default_rng(1).permutation(effect().base_losses)}, "gate.no_gain"),
        ({"losses": np.full(30, np.nan)}, "gate.cannot_compare"),
        ({"outputs": np.full((5, 4), np.inf)}, "gate.cannot_compare"),
        ({"outputs": np.ones((4, 5))}, "gate.cannot_compare"),
        ({"losses": np.ones(3)}, "gate.cannot_compare"),
        ({"losses": np.full(30, -1.7e308), "base_losses": np.full(30, 1.7e308)}, "gate.no_gain"),
        ({"losses": np.ones(1), "base_losses": np.ones(1)}, "gate.cannot_compare"),
        ({"wanted": set(), "matched": set()}, "gate.cannot_compare"),
    ],
)
def test_a_model_that_does_nothing_useful_is_refused(more: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_effect(effect(**more))
    assert caught.value.code == code


# --- memory


@pytest.mark.parametrize("seed", range(20))
def test_a_model_that_never_saw_the_canaries_is_not_accused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = canary_exposure(rng.standard_normal(10), rng.standard_normal(300))
    assert not found.is_remembered(1e-4)


@pytest.mark.parametrize(
    "canaries",
    [np.full(10, -9.0), np.linspace(-1.5, -0.8, 10), np.r_[[-9.0] * 3, np.zeros(7)]],
    ids=["all known well", "all known a little", "three of ten known well"],
)
def test_a_model_that_knows_its_canaries_is_found(canaries: Array) -> None:
    found = canary_exposure(canaries, np.random.default_rng(0).standard_normal(300))
    assert found.is_remembered()
    assert max(found.bits) <= found.ceiling


def test_exposure_is_the_bits_that_the_rank_saves() -> None:
    found = canary_exposure(np.array([-1.0, 0.5]), np.arange(31.0))
    assert found.ranks == (1, 2)
    assert found.bits == (5.0, 4.0)


def test_a_tie_counts_against_the_model() -> None:
    assert canary_exposure(np.zeros(1), np.zeros(30)).ranks == (1,)


def test_the_chance_of_one_canary_is_exact() -> None:
    """Of one canary and 19 others in random order the canary is first in one of 20; two questions were asked."""
    assert canary_exposure(np.array([-1.0]), np.arange(19.0)).chance == pytest.approx(2 / 20)


@pytest.mark.parametrize("canaries", [np.array([]), np.array([np.nan]), np.zeros((2, 2))])
def test_canaries_that_cannot_be_ranked_are_refused(canaries: Array) -> None:
    with pytest.raises(Rejected):
        canary_exposure(canaries, np.zeros(30))


def descriptors(seed: int, count: int) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 24)) + 1.0


def test_copies_of_training_frames_are_found_and_named() -> None:
    training = descriptors(1, 300)
    made = np.vstack([training[[7, 99]] + 0.02, descriptors(3, 8)])
    found = nearest_frames(made, training, descriptors(2, 100))
    assert found.copied.tolist() == [True, True] + [False] * 8
    assert found.index[:2].tolist() == [7, 99]
    assert found.share == 0.2


@pytest.mark.parametrize("seed", range(20))
def test_generations_as_different_as_unseen_footage_are_not_accused(seed: int) -> None:
    found = nearest_frames(descriptors(seed + 10, 50), descriptors(1, 300), descriptors(2, 100))
    assert found.share <= 0.02


def test_a_library_larger_than_one_piece_is_searched_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malan.training.gate.memorisation._CHUNK", 64)
    training = descriptors(1, 300)
    assert nearest_frames(training[[290, 3]], training, descriptors(2, 40)).index.tolist() == [290, 3]


@pytest.mark.parametrize("bad", [np.zeros((3, 24)), np.full((3, 24), np.nan), np.ones((3, 5)), np.ones(24)])
def test_descriptors_that_cannot_be_compared_are_refused(bad: Array) -> None:
    with pytest.raises(Rejected):
        nearest_frames(bad, descriptors(1, 30), descriptors(2, 30))
