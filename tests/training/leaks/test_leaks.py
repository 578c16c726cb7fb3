"""No way out that we know of pays: what a run takes along is stopped, or charged to the budget of its contract.

Each attack has a secret of its own, and what counts is how much of it is in everything the buyer receives. Attacks that
leave no mark share a run here; `bench/bench_leaks.py` gives each its own, beside a sandbox of mounts alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from leak_attacks import ATTACKS, SECRET_BYTES, Attack, in_the_clear, program, recovered, together
from leak_ears import Ears, listening
from leak_peer import run_at_the_peer
from leak_run import POLICY, SHORT, run_ours, workspace

from malan.core.errors import NotGranted
from malan.rights.meter import OUTPUT_BYTES
from malan.runtime.sandbox import measure_level
from malan.services.settlement.metering import meter
from malan.workspace import Workspace

SILENT = [one for one in ATTACKS if one.is_silent]
LOUD = [one for one in ATTACKS if not one.is_silent]
DOZENS = [tuple(SILENT[at : at + 12]) for at in range(0, len(SILENT), 12)]


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ears]:
    if measure_level().name != "sandbox":
        pytest.skip("the sandbox does not reach its level on this machine")
    with listening(tmp_path_factory.mktemp("ears")) as made:
        yield made


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    made = workspace(tmp_path_factory.mktemp("leaks") / "ws")
    yield made
    made.database.dispose()


def test_there_are_attacks_enough_and_each_is_a_program() -> None:
    assert len({one.name for one in ATTACKS}) == len(ATTACKS) >= 50
    for one in ATTACKS:
        compile(program(one), one.name, "exec")


@pytest.mark.parametrize("number", range(len(LOUD)), ids=lambda n: LOUD[n].name)
def test_what_a_run_takes_along_is_stopped_or_charged(number: int, ws: Workspace, ears: Ears) -> None:
    attack, secret = LOUD[number], os.urandom(SECRET_BYTES)
    got = run_ours(ws, attack, secret, ears.where, number=100 + number, policy=POLICY if attack.evaluate else SHORT)
    got.heard = ears.heard()
    assert recovered(attack, got, secret) <= got.charged, got.state
    assert in_the_clear(got.heard, secret) == 0


@pytest.mark.parametrize("some", DOZENS, ids=lambda some: f"{some[0].name} and {len(some) - 1} more")
def test_what_is_left_lying_about_leaves_with_nobody(some: tuple[Attack, ...], ws: Workspace, ears: Ears) -> None:
    attack, secret = together(some), os.urandom(SECRET_BYTES)
    got = run_ours(ws, attack, secret, ears.where, number=500 + SILENT.index(some[0]))
    got.heard = ears.heard()
    assert recovered(attack, got, secret) == 0
    assert got.state == "ok, passed"


@pytest.mark.parametrize("seed", range(2))
def test_an_honest_run_is_left_alone(seed: int, ws: Workspace, ears: Ears) -> None:
    got = run_ours(ws, Attack("honest"), os.urandom(SECRET_BYTES), ears.where, number=900 + seed)
    assert (got.state, sorted(got.files)) == ("ok, passed", ["adapter.safetensors", "metrics.json"])
    assert ears.heard() == b""


def test_many_small_runs_take_along_no_more_than_the_budget(tmp_path: Path, ears: Ears) -> None:
    budget = 6_000
    ws = workspace(tmp_path / "ws", budget)
    attack = next(one for one in ATTACKS if one.name == "two bits in each of some weights")
    taken, runs, is_covered = 0, 0, True
    while is_covered:
        secret = os.urandom(SECRET_BYTES)
        try:
            taken += recovered(attack, run_ours(ws, attack, secret, ears.where, number=runs, policy=SHORT), secret)
            runs += 1
        except NotGranted:
            is_covered = False
    (account,) = (one for one in meter(ws).accounts("grant") if one.unit == OUTPUT_BYTES)
    assert 1 <= runs <= budget // 64
    assert taken <= account.consumed <= budget
    ws.database.dispose()


def test_without_walls_the_ways_out_are_real(tmp_path: Path, ears: Ears) -> None:
    for number, name in enumerate(WAYS_TO_OTHERS):
        attack, secret = next(one for one in ATTACKS if one.name == name), os.urandom(SECRET_BYTES)
        got = run_at_the_peer(attack, secret, ears.where, tmp_path / str(number), walls=False)
        got.heard = ears.heard_soon()
        assert in_the_clear(got.heard, secret) >= 39, name


WAYS_TO_OTHERS = (
    "shared memory of the system",
    "a datagram to a name server",
    "a connection",
    "an abstract socket",
    "a local socket",
    "a second stage, downloaded",
)


def test_the_measure_finds_what_is_there_and_nothing_else() -> None:
    secret = os.urandom(SECRET_BYTES)
    for said in (secret, secret[::-1], secret.hex().encode(), secret.hex().upper().encode()):
        assert in_the_clear(b"x" * 9 + said + b"y", secret) == SECRET_BYTES
    assert in_the_clear(b"--" + secret[7:19] + b"--", secret) == 12
    drawn = random.Random(7)  # four bytes in a row agree by chance once in some hundred draws
    assert in_the_clear(drawn.randbytes(200_000), drawn.randbytes(SECRET_BYTES)) == 0
