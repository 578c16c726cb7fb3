"""A run on real films, from the agreement to the model: frames and sound go in, counted; a small model comes out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from market_place import BUYER_NAME, CURATOR, STATION, terms_of
from media_factory import draw_film
from run_place import BUYER, OPEN, OWNER

from malan.rights.meter import CLIP_SECONDS
from malan.rights.usage import MICROSECONDS
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.market.contracts import accept_contract, order_product, sign_contract
from malan.services.market.products import Price, offer_product
from malan.services.models.registry import get_model
from malan.services.runs.algorithms import submit_algorithm
from malan.services.runs.approvals import approve_algorithm
from malan.services.runs.submission import Asked, decide_run, get_run, run_log, submit_run
from malan.services.runs.worker import work
from malan.services.settlement.metering import meter
from malan.workspace import Workspace

MANIFEST = f"""
[algorithm]
name = "mean-colour"
version = "1.0.0"
licence = "Apache-2.0"
publisher = "{BUYER_NAME}"
title = {{en = "Mean colour", zh = "平均色"}}
summary = {{en = "The mean colour and level of clips.", zh = "片段的平均色与平均响度。"}}

[data]
use = "train"
modality = "video"
deliver = ["frames", "audio"]
min_clips = 2
window = {{frames = 4, size_px = 32, every = 2}}
audio = {{rate_hz = 8000, seconds = 1}}

[entry]
train = "colour:train"
evaluate = "colour:evaluate"

[resources]
memory_mb = 512
wall_s = 120
processes = 2
scratch_mb = 16

[outputs.model]
type = "weights"
max_norm = 10.0
[outputs.model.tensors]
colour = ["F32", [3]]
level = ["F32", [1]]

[metrics.error]
low = 0
high = 10
"""
SOURCE = """
import numpy as np

def seen(clips, epoch):
    for batch in clips.batches(4, shuffle=True, epoch=epoch):
        assert batch["frames_NTHWC"].shape[1:] == (4, 32, 32, 3), batch["frames_NTHWC"].shape
        assert batch["audio_NS"].shape[1] <= 8000
        for n, samples in enumerate(batch["samples_N"]):
            colour = batch["frames_NTHWC"][n].reshape(-1, 3).mean(0) / 255
            yield np.append(colour, np.abs(batch["audio_NS"][n, :samples]).mean())

def train(job):
    mean = np.mean([one for epoch in range(2) for one in seen(job.data, epoch)], axis=0)
    return {"colour": mean[:3], "level": mean[3:]}

def evaluate(job, weights):
    guess = np.zeros(4) if weights is None else np.append(weights["colour"], weights["level"])
    losses = np.array([((one - guess) ** 2).sum() for one in seen(job.held_out, 0)])
    if weights is not None:
        job.metrics({"error": float(losses.mean())})
    return {"losses": losses, "outputs": np.tile(guess, (len(losses), 1))}
"""


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, str]:
    """Five films of one owner, and a grant on what was frozen of them."""
    ws = Workspace.create(tmp_path / "ws")
    options = {"preset": "ultrafast", "g": "12"}
    for number in range(5):
        film = draw_film(tmp_path / f"{number}.mp4", (40, 30), seed=10 * number, options=options, audio=True)
        add_assets(ws, [film.path], owner=STATION, terms=terms_of(STATION, **OPEN))
    scan_assets(ws, captions=False)
    shares = {"train": Fraction(6, 10), "test": Fraction(4, 10)}
    freeze_snapshot(ws, "films", condition(""), caller=CURATOR, shares=shares)
    product = offer_product(ws, "films", price=Price.read("100:CNY"))
    number = order_product(ws, product.id, BUYER_NAME).number
    accept_contract(ws, number)
    sign_contract(ws, number)
    grant_id = sign_contract(ws, number, caller=BUYER).grant_id
    assert grant_id is not None
    return ws, grant_id


def test_frames_and_sound_of_real_films_become_a_model_under_a_grant(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    files = {"algorithm.toml": MANIFEST.encode(), "colour.py": SOURCE.encode()}
    submit_algorithm(ws, files, grant=grant, caller=BUYER)
    approve_algorithm(ws, "mean-colour", caller=OWNER)
    run = submit_run(ws, "mean-colour", grant, {}, asked=Asked(), caller=BUYER)
    work(ws, once=True)
    run = get_run(ws, run.id)
    assert run.state == "held", (run.state, run.why, run_log(ws, run.id))
    run = decide_run(ws, run.id, "release", "looks fine", caller=OWNER)
    assert get_model(ws, run.model_id or "").run["id"] == run.id
    (used,) = (one for one in meter(ws).accounts(grant) if one.unit == CLIP_SECONDS)
    assert used.reserved == 0
    assert 0 < used.consumed <= (2 + 3) * 16 * MICROSECONDS  # a second at most of every window, five passes
