"""The whole gate: hostile outputs are refused or flattened, honest ones pass, and what is unmeasured is held."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weights_factory import SECRET, SIDES, Array, as_file, declared, entry, lora_tensors, policy, raw_file

from malan.core.catalogue import LANGUAGES
from malan.core.errors import NotGranted, Rejected, UsageError
from malan.inference.adapters import find_pairs, fold_pair
from malan.inference.tensors import Tensor, parse_tensors
from malan.training.gate import Declared, GateResult, Metric, Policy, inspect_output
from malan.training.gate.effect import Effect
from malan.training.gate.gate import ADAPTER, METRICS, Memory
from malan.training.gate.memorisation import canary_exposure, nearest_frames
from malan.training.gate.result import HELD, PASSED, REFUSED, STATES, STEPS, approve, decline
from malan.training.gate.rewrite import Rounding

NOT_A_NUMBER = float("nan")
METRIC = Metric("loss", 0.0, 10.0)


class LinearTrial:
    """Runs the adapter for real: a linear layer that should answer as a teacher does."""

    def __init__(self, teacher: Mapping[str, Tensor], seed: int = 0, *, memory: Memory | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.module = next(iter(SIDES))
        self.base = rng.standard_normal(SIDES[self.module])
        self.inputs = rng.standard_normal((40, SIDES[self.module][1]))
        noise = 0.05 * rng.standard_normal((40, SIDES[self.module][0]))
        self.wanted = self.answer(teacher) + noise
        self._memory = memory or Memory()

    def answer(self, weights: Mapping[str, Tensor]) -> Array:
        return self.inputs @ (self.base + delta(weights, self.module)).T

    def effect(self, weights: Mapping[str, Tensor]) -> Effect:
        base, new = self.inputs @ self.base.T, self.answer(weights)
        losses = [np.mean((answer - self.wanted) ** 2, axis=1) for answer in (base, new)]
        return Effect(set(weights), set(weights), base, new, *losses)

    def memory(self, weights: Mapping[str, Tensor]) -> Memory:
        return self._memory


def delta(weights: Mapping[str, Tensor], module: str) -> Array:
    names = next(pair for pair in find_pairs(weights)[0] if pair.module == module)
    return fold_pair(weights[names.up].values(), weights[names.down].values()).product()


def inspect(data: bytes, rules: Policy | None = None, **more: Any) -> GateResult:
    return inspect_output({ADAPTER: data}, rules or policy(), SECRET, **more)


# --- honest runs


@pytest.mark.parametrize("seed", range(50))
def test_an_honest_run_passes(seed: int) -> None:
    rank, fall = 1 + seed % 12, (0.3, 0.6, 0.8, 0.95, 1.0)[seed % 5]
    dtype = ("F32", "BF16", "F16")[seed % 3]
    tensors = lora_tensors(seed, rank=rank, dtype=dtype, fall=fall)
    rng = np.random.default_rng(seed)
    memory = Memory(
        canary_exposure(rng.standard_normal(8), rng.standard_normal(200)),
        nearest_frames(*(rng.standard_normal((n, 32)) for n in (30, 200, 60))),
    )
    rules = Policy(
        declared(rank=rank, dtype=dtype), (METRIC,), needs=frozenset({"effect", "canaries", "frames"}), most_chance=1e-4
    )
    files = {ADAPTER: as_file(tensors), METRICS: b'{"loss": 0.4321}'}
    result = inspect_output(files, rules, SECRET, LinearTrial(tensors, seed, memory=memory))
    assert result.state == PASSED, [reason.text("en") for reason in result.reasons]
    assert [step.name for step in result.steps if step.name != "memory"] == [s for s in STEPS if s != "memory"]
    assert result.release()[METRICS] == b'{"loss":"0.432"}'


def test_what_leaves_is_the_same_function_written_by_us() -> None:
    tensors = lora_tensors(1)
    result = inspect(as_file(tensors, {"author": "buyer"}))
    found = parse_tensors(result.release()[ADAPTER])
    for module in SIDES:
        wanted = delta(tensors, module)
        assert np.linalg.norm(delta(found.tensors, module) - wanted) < 0.02 * np.linalg.norm(wanted)


def test_the_same_file_leaves_as_the_same_bytes_whatever_its_spelling() -> None:
    """Order of names and tensors, spaces, metadata: none of it reaches the other side."""
    tensors = lora_tensors(2)
    plain = inspect(as_file(tensors)).release()[ADAPTER]
    header, body, at = {}, b"", 0
    for name in sorted(tensors, reverse=True):
        data = bytes(tensors[name].data)
        header[name] = entry(tensors[name].shape, at, at + len(data))
        body, at = body + data, at + len(data)
    header["__metadata__"] = {"secret": "帧" * 500}
    assert inspect(raw_file(header, body)).release()[ADAPTER] == plain


def test_our_metadata_replace_theirs() -> None:
    found = parse_tensors(inspect(as_file(lora_tensors(3), {"payload": "x" * 1000})).release()[ADAPTER])
    assert found.metadata == {"format": "pt", "malan.declared": declared().digest, "malan.rewritten": "1"}


# --- hostile weights


def changed(**new: Tensor | None) -> bytes:
    tensors: dict[str, Any] = {**lora_tensors(4), **{name.replace("__", "."): held for name, held in new.items()}}
    return as_file({name: held for name, held in tensors.items() if held is not None})


def tar_of(data: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        member = tarfile.TarInfo("../../etc/cron.d/x")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return held.getvalue()


Q = "blocks.0.attn.to_q.lora_B.weight"
NAN, BIG = np.full((48, 8), np.nan), np.full((48, 8), 1e6)
ATTACKS: dict[str, tuple[bytes, str]] = {
    "a pickle": (pickle.dumps(NAN), "parse"),
    "an archive": (tar_of(b"\0" * 100_000), "parse"),
    "bytes behind the tensors": (as_file(lora_tensors(4)) + b"footage", "parse"),
    "an extra tensor": (changed(payload=Tensor.of("payload", np.ones(500))), "match"),
    "an extra tensor named with data": (changed(x6d6573736167=Tensor.of("x6d6573736167", np.ones(1))), "match"),
    "a missing tensor": (changed(**{Q.replace(".", "__"): None}), "match"),
    "a renamed tensor": (
        changed(**{Q.replace(".", "__"): None, "q__lora_B__weight": Tensor.of("q.lora_B.weight", np.ones((48, 8)))}),
        "match",
    ),
    "a transposed tensor": (changed(**{Q.replace(".", "__"): Tensor.of(Q, np.ones((8, 48)))}), "match"),
    "a larger rank": (as_file(lora_tensors(4, rank=16)), "match"),
    "another type": (as_file(lora_tensors(4, dtype="BF16")), "match"),
    "not-a-number": (changed(**{Q.replace(".", "__"): Tensor.of(Q, NAN)}), "finite"),
    "one not-a-number with a payload": (
        changed(**{Q.replace(".", "__"): Tensor.of(Q, np.where(np.arange(384).reshape(48, 8) == 7, np.nan, 1.0))}),
        "finite",
    ),
    "infinity": (changed(**{Q.replace(".", "__"): Tensor.of(Q, NAN * 0 + np.inf)}), "finite"),
    "numbers far too large": (changed(**{Q.replace(".", "__"): Tensor.of(Q, BIG)}), "norms"),
}


@pytest.mark.parametrize("what", ATTACKS)
def test_a_hostile_adapter_is_refused(what: str) -> None:
    data, step = ATTACKS[what]
    result = inspect(data)
    assert (result.state, result.steps[-1].name) == (REFUSED, step)
    assert not result.files
    with pytest.raises(NotGranted):
        result.release()


def test_a_wrong_alpha_is_refused() -> None:
    table = {"type": "lora", "max_bytes": 50_000, "rank": 2, "alpha": 4.1, "naming": "kohya", "dtype": "F32"}
    rules = Policy(Declared.from_output({**table, "modules": {"m": [8, 6]}}), needs=frozenset())
    rng = np.random.default_rng(0)
    values = {"m.lora_up.weight": rng.standard_normal((8, 2)), "m.lora_down.weight": rng.standard_normal((2, 6))}
    states = [
        inspect(as_file({n: Tensor.of(n, v) for n, v in {**values, "m.alpha": np.array(alpha)}.items()}), rules).state
        for alpha in (4.1, 4.100001)
    ]
    assert states == [PASSED, REFUSED]


def test_a_model_that_lives_in_the_last_digits_is_refused() -> None:
    """Small differences of large directions: what the rounding takes away is what it was for."""
    up, down = np.zeros((48, 8)), np.zeros((8, 40))
    up[:, :2] = np.random.default_rng(1).standard_normal((48, 1))
    up[:, 1] *= 1 + 1e-4 * np.random.default_rng(2).standard_normal(48)
    down[0], down[1] = 50.0, -50.0
    tensors = lora_tensors(4)
    for name, values in ((Q, up), (Q.replace("lora_B", "lora_A"), down)):
        tensors[name] = Tensor.of(name, values)
    assert inspect(as_file(tensors), policy(most_error=1e-4)).steps[-1].name == "rewrite"


def test_numbers_at_the_edge_of_their_type_cannot_make_the_gate_fall() -> None:
    table = {"type": "weights", "max_bytes": 50_000, "max_norm": 1e9, "tensors": {"w": ["F16", [4, 4]]}}
    rules = Policy(Declared.from_output(table), needs=frozenset())
    states = {inspect(as_file({"w": Tensor.of("w", np.full((4, 4), v), "F16")}), rules).state for v in (65504.0, 6e-8)}
    assert REFUSED in states


@pytest.mark.parametrize("bits", [0x7C01, 0x7E00, 0xFFFF])
def test_no_spelling_of_not_a_number_gets_past(bits: int) -> None:
    table = {"type": "weights", "max_bytes": 50_000, "tensors": {"w": ["F16", [4]]}}
    data = raw_file({"w": entry([4], 0, 8, "F16")}, np.full(4, bits, "<u2").tobytes())
    assert inspect(data, Policy(Declared.from_output(table), needs=frozenset())).steps[-1].name == "finite"


def test_an_unlisted_file_refuses_everything() -> None:
    result = inspect_output({ADAPTER: as_file(lora_tensors(1)), "notes.txt": b"hi"}, policy(), SECRET)
    assert (result.state, result.steps[-1].name) == (REFUSED, "collect")


@pytest.mark.parametrize("missing", [ADAPTER, METRICS])
def test_a_missing_file_refuses_everything(missing: str) -> None:
    files = {ADAPTER: as_file(lora_tensors(1)), METRICS: b'{"loss": 1}'}
    del files[missing]
    assert inspect_output(files, policy(metrics=(METRIC,)), SECRET).state == REFUSED


# --- effect and memory


def test_an_adapter_that_does_nothing_is_refused() -> None:
    zeros = {name: Tensor.of(name, np.zeros(t.shape)) for name, t in lora_tensors(1).items()}
    result = inspect(as_file(zeros), Policy(declared()), trial=LinearTrial(lora_tensors(1)))
    assert result.reasons[0].code == "gate.no_change"


def test_an_adapter_no_better_than_its_base_is_refused() -> None:
    result = inspect(as_file(lora_tensors(2)), Policy(declared()), trial=LinearTrial(lora_tensors(1)))
    assert result.reasons[0].code == "gate.no_gain"


def test_what_nobody_measured_is_held() -> None:
    rules = Policy(declared(), needs=frozenset({"effect", "canaries", "frames"}))
    result = inspect(as_file(lora_tensors(1)), rules)
    assert result.state == HELD
    assert [reason.code for reason in result.reasons] == ["gate.not_measured"] * 3


def test_a_model_that_knows_its_canaries_is_held() -> None:
    memory = Memory(canary_exposure(np.full(8, -3.0), np.random.default_rng(0).standard_normal(200)))
    rules = Policy(declared(), needs=frozenset({"canaries"}))
    tensors = lora_tensors(1)
    result = inspect(as_file(tensors), rules, trial=LinearTrial(tensors, memory=memory))
    assert (result.state, result.reasons[0].code) == (HELD, "gate.canaries")


def test_a_model_that_repeats_frames_is_held() -> None:
    rng = np.random.default_rng(0)
    training, unseen = rng.standard_normal((200, 32)), rng.standard_normal((60, 32))
    memory = Memory(frames=nearest_frames(training[:10] + 0.05, training, unseen))
    tensors = lora_tensors(1)
    rules = Policy(declared(), needs=frozenset({"frames"}))
    result = inspect(as_file(tensors), rules, trial=LinearTrial(tensors, memory=memory))
    assert (result.state, result.reasons[0].code) == (HELD, "gate.copied")


# --- the owner's hold


def held() -> GateResult:
    return inspect(as_file(lora_tensors(1)), policy(is_held=True))


def test_nothing_leaves_while_it_is_held() -> None:
    assert held().state == HELD
    with pytest.raises(NotGranted):
        held().release()


def test_a_person_lets_what_is_held_through() -> None:
    result = approve(held(), "person-1")
    assert (result.state, result.decided_by) == (PASSED, "person-1")
    assert result.release()[ADAPTER] == inspect(as_file(lora_tensors(1))).release()[ADAPTER]


def test_a_person_declines_and_nothing_is_left_to_leave() -> None:
    result = decline(held(), "person-1")
    assert result.state == REFUSED
    assert not result.files


@pytest.mark.parametrize("decide", [approve, decline])
def test_what_was_refused_no_person_lets_through(decide: Any) -> None:
    refused = inspect(ATTACKS["a pickle"][0])
    for result in (refused, approve(held(), "p")):
        with pytest.raises(Rejected):
            decide(result, "person-1")


def test_every_reason_speaks_both_languages() -> None:
    results = [inspect(data) for data, _ in ATTACKS.values()]
    for result in [*results, held(), inspect(as_file(lora_tensors(1)))]:
        for reason in (*result.reasons, *result.party_reasons):
            assert all("?" not in reason.text(lang) and reason.text(lang) for lang in LANGUAGES), reason


def test_the_buyer_reads_no_value_that_the_run_chose() -> None:
    """Two runs that fail alike in different ways say the same to the buyer."""
    extra = [changed(**{name: Tensor.of(name, np.ones(n))}) for n, name in enumerate(("aa", "bb", "cc"), 1)]
    told = {tuple((r.code, r.values) for r in inspect(data).party_reasons) for data in extra}
    assert told == {(("gate.party.match", ()),)}


def test_a_shorter_secret_is_refused_before_anything() -> None:
    result = inspect_output({ADAPTER: as_file(lora_tensors(1))}, policy(), b"short")
    assert result.state == REFUSED


@pytest.mark.parametrize(
    "bad",
    [
        {"needs": frozenset({"efect"})},
        {"rounding": Rounding(9)},
        {"metrics": (METRIC, METRIC)},
        *({name: NOT_A_NUMBER} for name in ("most_error", "least_gain", "most_chance", "most_copied")),
    ],
)
def test_a_policy_that_would_check_less_than_it_says_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(Policy(declared(dtype="BF16")), **bad)


def test_the_policy_lists_the_files_that_are_read() -> None:
    assert set(policy(metrics=(METRIC,)).file_limits) == {ADAPTER, METRICS}
    assert set(replace(policy(), metrics=()).file_limits) == {ADAPTER}


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_no_file_makes_the_gate_raise(data: st.DataObject) -> None:
    whole = bytearray(as_file(lora_tensors(1, rank=2)))
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(data.draw(st.integers(1, 6))):
        reach = data.draw(st.sampled_from([8, header, len(whole)]))
        whole[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    figures = data.draw(st.one_of(st.binary(max_size=60), st.just(b'{"loss": 1}')))
    rules = Policy(declared(rank=2), (METRIC,), needs=frozenset())
    result = inspect_output({ADAPTER: bytes(whole), METRICS: figures}, rules, SECRET)
    assert result.state in STATES
    assert bool(result.files) == (result.state != REFUSED)
