"""A music-lm model says the same without torch as with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_job import modules_of

torch = pytest.importorskip("torch")


def test_numpy_and_torch_agree_on_every_token(tmp_path: Path) -> None:
    from malan.inference.music_lm import VOCABULARY, MusicModel, _Cache

    with modules_of("music-lm", tmp_path, "notes", "model") as found:
        torch.manual_seed(0)
        model = found["model"].Composer(32, 2, 4, 48).eval()
        assert found["notes"].VOCABULARY == VOCABULARY
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4)
            tokens = [1, *np.random.default_rng(0).integers(3, VOCABULARY, 40).tolist()]
            wanted = model(torch.tensor([tokens]))[0].numpy()
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    cache = _Cache(MusicModel(weights, 4))
    for number in range(1, len(tokens) + 1):
        assert np.abs(cache.next(tokens[:number]) - wanted[number - 1]).max() < 1e-4
