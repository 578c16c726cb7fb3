"""How near everything in a picture is: depth models of the Depth Anything kind, as ONNX.

    config.json, preprocessor_config.json, model.onnx (or onnx/model.onnx)

Models that tell relative depth answer with large numbers for what is near; models that tell metres the other way
round, which `config.json` says (`depth_estimation_type`). Either way the answer here is 1 for the nearest and 0 for the
farthest. Start reading at `OnnxDepth`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import NotFound, Rejected, UsageError
from malan.inference.backends import Kind
from malan.inference.onnx_guard import open_session, run_session
from malan.inference.opening import Opening
from malan.inference.picture_prep import Preparation, parse_preparation, read_words

_MODELS = ("model.onnx", "onnx/model.onnx", "depth.onnx")
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "do_normalize": True}
_USUAL = {**_IMAGENET, "size": {"height": 518, "width": 518}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}
_FLAT = 1e-6


class OnnxDepth:
    """A depth model that stands ready.

    Args:
        files: Of the model, by their names in its folder; or the folder itself.
        threads: Inside one run; 0: as many as there are cores.
        device: `cpu`, or `cuda:0` where a runtime for it is installed.

    Raises:
        NotFound: There is no model among the files.
        Rejected: It is damaged or foreign.
    """

    kind: Kind = "depth"

    def __init__(self, files: Mapping[str, Path] | Path, *, threads: int = 0, device: str = "cpu") -> None:
        held = files_below(files) if isinstance(files, Path) else files
        self._session = open_session(one_of(held, _MODELS), threads=threads, device=device)
        self._prepare = _preparation(held)
        config = read_words(held["config.json"]) if "config.json" in held else {}
        self._is_metric = config.get("depth_estimation_type") == "metric"

    def depth(self, picture_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(height, width), 0 the farthest, 1 the nearest; a picture without depth is 0 everywhere.

        Raises:
            UsageError: It is no picture of three colours.
            Rejected: The model cannot be run on it.
        """
        if picture_HWC.ndim != 3 or picture_HWC.shape[2] != 3 or not picture_HWC.size:
            raise UsageError("engines.bad_picture", shape=str(picture_HWC.shape)[:40])
        given = self._session.get_inputs()[0]
        values = self._prepare.apply(picture_HWC)[None]
        kind = np.float16 if given.type == "tensor(float16)" else np.float32
        [found, *_] = run_session(self._session, None, {given.name: values.astype(kind)})
        plane = np.asarray(found, np.float32).squeeze()
        if plane.ndim != 2 or not np.isfinite(plane).all():
            raise Rejected("onnx.failed", detail=f"depth {np.shape(found)}")
        return _to_size(_nearness(plane, self._is_metric), *picture_HWC.shape[:2])

    def close(self) -> None:
        """Give the memory back. May be called twice."""
        self._session = None


def open_depth(opening: Opening) -> OnnxDepth:
    """The backend `onnx`, kind depth."""
    return OnnxDepth(opening.files, device=opening.processor)


def files_below(folder: Path) -> dict[str, Path]:
    """All files of a folder by their names in it."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def one_of(files: Mapping[str, Path], names: tuple[str, ...]) -> Path:
    """The first of these files that is there.

    Raises:
        NotFound: None is.
    """
    found = next((files[name] for name in names if name in files), None)
    if found is None:
        raise NotFound("encoder.no_file", name=", ".join(names))
    return found


def _preparation(files: Mapping[str, Path]) -> Preparation:
    path = files.get("preprocessor_config.json")
    return parse_preparation({**_USUAL, **(read_words(path) if path else {})})


def _nearness(plane: NDArray[np.float32], is_metric: bool) -> NDArray[np.float32]:
    """0 to 1. Of metres the inverse is taken, as relative models are trained on it."""
    if is_metric:
        plane = np.asarray(1 / np.maximum(plane, np.float32(1e-3)), np.float32)
    low, high = float(plane.min()), float(plane.max())
    if high - low < _FLAT * max(1.0, abs(high)):
        return np.zeros_like(plane)
    return np.asarray((plane - low) / (high - low), np.float32)


def _to_size(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    from PIL import Image

    if plane.shape == (height, width):
        return plane
    scaled = Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(scaled, np.float32), 0.0, 1.0)
