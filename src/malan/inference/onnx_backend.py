"""The backends `onnx` and `sherpa` of `models.toml`: which class an opening leads to."""

from __future__ import annotations

from malan.inference.backends import Engine
from malan.inference.opening import Opening


def open_onnx(opening: Opening) -> Engine:
    """Encoders and depth models, on ONNX Runtime."""
    if opening.kind == "depth":
        from malan.inference.depth import open_depth

        return open_depth(opening)
    from malan.inference.encoders import open_encoder

    return open_encoder(opening)


def open_sherpa(opening: Opening) -> Engine:
    """Recognisers and voices, on sherpa-onnx."""
    if opening.kind == "speech":
        from malan.inference.speaking import open_speaker

        return open_speaker(opening)
    from malan.inference.listening import open_listener

    return open_listener(opening)
