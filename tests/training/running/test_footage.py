"""Frames and sound on their way into a real sandbox: as they were, fresh, counted, and gone with the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_algorithm import Purse, plan_of
from drawn_footage import DrawnFootage, draw_footage, loader_of, seconds

from malan.core.errors import NotFound
from malan.runtime.sandbox import read_log
from malan.runtime.sandbox.inside.data import Clips
from malan.training.loader import Loader
from malan.training.running import run_algorithm

WINDOW = {"frames": 4, "size_px": 64, "pick": "random"}
PROGRAM = """
import hashlib
import numpy as np

def train(job):
    assert len(job.data) == 6 and job.facts["clips"] == 6
    for batch in job.data.batches(4, shuffle=True, epoch=2, audio={"rate_hz": 8000, "seconds": 0.2}):
        digest = hashlib.sha256()
        for name in sorted(batch):
            digest.update(name.encode() + batch[name].tobytes())
        print(digest.hexdigest())
        for array in batch.values():
            array[...] = 0
    BODY
    return {"w": np.zeros((2, 4)), "b": np.zeros(2)}

def evaluate(job, weights):
    return {}
"""


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> DrawnFootage:
    return draw_footage(tmp_path_factory.mktemp("footage"), audio=True)


@pytest.fixture
def purse() -> Purse:
    return Purse()


@pytest.fixture
def loader(footage: DrawnFootage, purse: Purse) -> Iterator[Loader]:
    found = loader_of(footage, "frames", "audio", "labels", counter=purse, seed=9)
    yield found
    found.close()


def run(loader: Loader, tmp_path: Path, body: str = "pass", **more: Any) -> tuple[Any, str]:
    source = PROGRAM.replace("BODY", body).encode()
    plan = plan_of(source, data=loader, metrics=False, window=WINDOW, **more)
    finished = run_algorithm(plan, log=tmp_path / "log")
    return finished, read_log(tmp_path / "log")


def test_what_arrives_inside_is_what_the_loader_makes(footage: DrawnFootage, loader: Loader, tmp_path: Path) -> None:
    finished, log = run(loader, tmp_path)
    assert finished.ran.end == "ok", log
    again = loader_of(footage, "frames", "audio", "labels", seed=9)

    def ask(**request: Any) -> Any:
        return again.serve(request)

    expected = []
    sound = {"rate_hz": 8000, "seconds": 0.2}
    for batch in Clips(ask, "data", 6, again.deliver, WINDOW).batches(4, shuffle=True, epoch=2, audio=sound):
        digest = hashlib.sha256()
        for name in sorted(batch):
            digest.update(name.encode() + batch[name].tobytes())
        expected.append(digest.hexdigest())
    again.close()
    assert log.split() == expected


def test_what_arrives_inside_is_counted_before(loader: Loader, purse: Purse, tmp_path: Path) -> None:
    run(loader, tmp_path)
    assert purse.total_us == 2 * seconds(40 + 25 + 12)  # labels bring the whole clip, its windows lie within


def test_a_run_that_is_killed_in_the_middle_has_paid_for_what_it_was_given(
    loader: Loader, purse: Purse, tmp_path: Path
) -> None:
    body = "next(job.data.batches(2, deliver=['frames'], epoch=3)); __import__('os').kill(1, 9); raise SystemExit(1)"
    finished, _ = run(loader, tmp_path, body)
    assert finished.ran.end == "failed"
    assert purse.total_us == finished.counted_us == 2 * seconds(77) + 2 * seconds(4)


def test_a_run_that_never_reads_its_answer_has_paid_for_it(loader: Loader, purse: Purse, tmp_path: Path) -> None:
    body = (
        "from malan_inside import frames; import os, time; os.write(3, frames.header({'do': 'take', 'of': 'data', "
        "'clips': [0], 'epoch': 5, 'deliver': ['frames'], 'window': {'frames': 4}})); time.sleep(0.5)"
    )
    run(loader, tmp_path, body)
    assert purse.total_us == 2 * seconds(77) + seconds(4)


def test_latents_live_in_scratch_and_end_with_the_run(loader: Loader, tmp_path: Path) -> None:
    body = "(job.cache / 'latents.bin').write_bytes(b'x' * 1000); print(sorted(p.name for p in job.cache.iterdir()))"
    _, log = run(loader, tmp_path, body)
    assert "['latents.bin']" in log
    _, log = run(loader, tmp_path, "print(list(job.cache.iterdir()))")
    assert "[]" in log


def test_a_file_that_disappears_in_the_middle_costs_its_clips_alone(footage: DrawnFootage, tmp_path: Path) -> None:
    broken = DrawnFootage(footage.films)
    shots, film = broken.shots(), broken.film

    def failing(clip: Any) -> Any:
        if clip.asset_id == "two":
            raise NotFound("dataset.source_missing", asset="two", path="–")
        return film(clip)

    broken.film = failing  # type: ignore[method-assign]
    found = loader_of(broken, "frames", clips=shots)
    source = b"def train(job):\n  print([b['clip_N'].tolist() for b in job.data.batches(8)])\ndef evaluate(j, w): pass"
    run_algorithm(plan_of(source, data=found, metrics=False, window=WINDOW), log=tmp_path / "log")
    found.close()
    assert read_log(tmp_path / "log").strip() == "[[0, 1, 2]]"
