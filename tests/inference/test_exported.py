"""Models exported from the real architectures answer here what their own library answers (exported/make.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from malan.inference.depth import OnnxDepth
from malan.inference.encoders import OnnxEncoder
from malan.inference.picture_prep import parse_preparation

EXPORTED = Path(__file__).parent / "exported"


def test_clip_sees_and_reads_as_in_its_own_library() -> None:
    pytest.importorskip("tokenizers")
    encoder, truth = OnnxEncoder(EXPORTED / "clip", threads=1), np.load(EXPORTED / "clip" / "truth.npz")
    assert np.abs(encoder.encode_texts([str(text) for text in truth["texts"]]) - truth["said"]).max() < 1e-5
    assert np.abs(encoder.encode_pictures(truth["pictures"]) - truth["seen"]).max() < 1e-5


def test_depth_anything_is_prepared_as_in_its_own_library() -> None:
    truth = np.load(EXPORTED / "depth" / "truth.npz")
    said = json.loads((EXPORTED / "depth" / "preprocessor_config.json").read_text())
    made = parse_preparation(said).apply(truth["picture"])
    assert made.shape == truth["values"].shape[1:]
    assert np.abs(made - truth["values"][0]).max() < 0.02  # one step of 8 bits, divided by the deviation


def test_depth_anything_tells_the_same_order_of_nearness() -> None:
    truth = np.load(EXPORTED / "depth" / "truth.npz")
    depth = OnnxDepth(EXPORTED / "depth", threads=1).depth(truth["picture"])
    assert depth.shape == truth["picture"].shape[:2]
    near = (truth["near"] - truth["near"].min()) / np.ptp(truth["near"])
    rows = np.linspace(0, depth.shape[0] - 1, near.shape[0]).round().astype(int)
    columns = np.linspace(0, depth.shape[1] - 1, near.shape[1]).round().astype(int)
    assert np.corrcoef(depth[np.ix_(rows, columns)].ravel(), near.ravel())[0, 1] > 0.9
