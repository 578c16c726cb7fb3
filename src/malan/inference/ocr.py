"""Reading text in pictures: the `TextReader` protocol and the adapter for the PP-OCR weights of the RapidOCR wheel.

Two things only: `recognise` reads pictures that each hold one line of text, `detect` finds the lines in a picture.
The weights run directly on ONNX Runtime; the pictures are prepared in numpy, so neither OpenCV nor the rest of the
RapidOCR package is imported. What the text is for (a caption, a sign) is not decided here. Start at `TextReader`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MissingExtra
from malan.inference.onnx_denormals import without_denormals

Picture = NDArray[np.uint8]  # (H, W) luma or (H, W, 3) RGB, 0-255
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, ends excluded

LINE_HEIGHT_PX = 48  # what the recognition weights were trained on
MIN_LINE_WIDTH_PX = 48
BATCH_WIDTH_PX = 1600  # line pictures of one run, side by side: bounds its memory
LIKE_WIDTH = 1.05  # lines run together when none is padded by more than this; padding costs as much as text
DETECT_MULTIPLE_PX = 32
SPACE = " "


class ReadLine(NamedTuple):
    """What one line picture says. Confidence is the mean over its characters, 0 to 1."""

    text: str
    confidence: float


@runtime_checkable
class TextReader(Protocol):
    """Reads lines of text. Implementations are free to batch; the order of the answers is that of the pictures."""

    def recognise(self, crops: Sequence[Picture]) -> list[ReadLine]:
        """The text of each picture; an empty text where there is none."""
        ...

    def detect(self, picture: Picture) -> list[Box]:
        """The boxes of the text lines in a picture, from top to bottom, then left to right."""
        ...


class OnnxTextReader:
    """PP-OCR recognition and detection on the CPU.

    Sessions are opened on first use (about 0.1 s each) and may be used from several threads.

    Args:
        models: Folder with `*_rec_*.onnx` and `*_det_*.onnx`; by default that of the installed RapidOCR wheel.
        threads: Threads inside one run. One is the cheapest in CPU time.
        detect_side_px: Longer side a picture is scaled down to before detection; smaller pictures are not scaled up.

    Raises:
        MissingExtra: The weights are not installed (on first use).
    """

    def __init__(self, models: Path | None = None, *, threads: int = 1, detect_side_px: int = 640) -> None:
        self._models = models
        self._threads = threads
        self._detect_side_px = detect_side_px

    def recognise(self, crops: Sequence[Picture]) -> list[ReadLine]:
        """The text of each line picture (H, W) or (H, W, 3). Lines of like width run together."""
        lines = [_line_picture(crop) for crop in crops]
        found = [ReadLine("", 0.0)] * len(lines)
        for numbers in _batches([line.shape[1] for line in lines]):
            scores = self._run(self._recogniser, _stack([lines[n] for n in numbers]))
            for number, line in zip(numbers, _decode(scores, self._characters), strict=True):
                found[number] = line
        return found

    def detect(self, picture: Picture) -> list[Box]:
        """The boxes of the text lines in a picture (H, W) or (H, W, 3). Upright boxes only."""
        height, width = picture.shape[:2]
        scale = min(1.0, self._detect_side_px / max(height, width))
        size = [max(1, round(side * scale / DETECT_MULTIPLE_PX)) * DETECT_MULTIPLE_PX for side in (height, width)]
        small = _resize(_gray(picture), size[0], size[1]) / 127.5 - 1
        heat = self._run(self._detector, np.repeat(small[None, None], 3, axis=1).astype(np.float32))[0, 0]
        boxes = _boxes(heat, width / size[1], height / size[0])
        return sorted(
            ((max(0, x0), max(0, y0), min(width, x1), min(height, y1)) for x0, y0, x1, y1 in boxes),
            key=lambda b: (b[1], b[0]),
        )

    @cached_property
    def _recogniser(self) -> Any:
        return self._session("*_rec_*.onnx")

    @cached_property
    def _detector(self) -> Any:
        return self._session("*_det_*.onnx")

    @cached_property
    def _characters(self) -> list[str]:
        """The alphabet, carried by the weights; 0 is the blank of CTC, the last one the space."""
        named = self._recogniser.get_modelmeta().custom_metadata_map["character"]
        return ["", *named.split("\n"), SPACE]

    def _session(self, pattern: str) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = without_denormals(_weights(self._models, pattern).read_bytes())
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @staticmethod
    def _run(session: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: batch})[0]
        return answer


def _weights(folder: Path | None, pattern: str) -> Path:
    """The weight file of a kind; found without importing the package that carries it."""
    if folder is None:
        spec = find_spec("rapidocr")
        if spec is None or spec.origin is None:
            raise MissingExtra("ocr.no_weights", pattern=pattern, folder="rapidocr")
        folder = Path(spec.origin).parent / "models"
    files = sorted(folder.glob(pattern))
    if not files:
        raise MissingExtra("ocr.no_weights", pattern=pattern, folder=str(folder))
    return files[0]


def _gray(picture: Picture) -> NDArray[np.float32]:
    """Luma as float32; the weights see three equal channels."""
    if picture.ndim == 2:
        return picture.astype(np.float32)
    red, green, blue = (picture[:, :, channel].astype(np.float32) for channel in range(3))
    return np.asarray(0.299 * red + 0.587 * green + 0.114 * blue, np.float32)


def _line_picture(crop: Picture) -> NDArray[np.float32]:
    """A line scaled to the height of the weights, -1 to 1."""
    gray = _gray(crop)
    width = max(1, round(gray.shape[1] * LINE_HEIGHT_PX / gray.shape[0]))
    return _resize(gray, LINE_HEIGHT_PX, width) / np.float32(127.5) - np.float32(1)


def _resize(picture: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear up, area-like (triangle filter) down."""
    return _scale_rows(_scale_rows(picture, height).T, width).T


def _scale_rows(picture: NDArray[np.float32], target: int) -> NDArray[np.float32]:
    """The picture with another number of rows, each a weighted sum of the nearest old ones.

    A few sums of whole rows: a matrix product would wake the threads of the linear algebra library for nothing.
    """
    source = picture.shape[0]
    reach = max(1.0, source / target)
    centres = (np.arange(target) + 0.5) * (source / target) - 0.5
    rows = np.floor(centres - reach).astype(np.int64)[:, None] + np.arange(1, 2 * int(np.ceil(reach)) + 1)
    weights = np.maximum(0, 1 - np.abs(rows - centres[:, None]) / reach).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    picture, rows = np.ascontiguousarray(picture), rows.clip(0, source - 1)
    scaled = np.zeros((target, picture.shape[1]), np.float32)
    for tap in range(rows.shape[1]):
        scaled += weights[:, tap, None] * picture[rows[:, tap]]
    return scaled


def _batches(widths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of lines that run together: sorted by width, so that little is padded."""
    batch: list[int] = []
    for number in sorted(range(len(widths)), key=lambda n: widths[n]):
        grown = (len(batch) + 1) * widths[number]
        if batch and (grown > BATCH_WIDTH_PX or widths[number] > LIKE_WIDTH * widths[batch[0]]):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _stack(lines: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(N, 3, H, W) float32, narrower lines padded with mid grey on the right."""
    width = max(MIN_LINE_WIDTH_PX, *(line.shape[1] for line in lines))
    batch = np.zeros((len(lines), 3, LINE_HEIGHT_PX, width), np.float32)
    for number, line in enumerate(lines):
        batch[number, :, :, : line.shape[1]] = line
    return batch


def _decode(scores: NDArray[np.float32], characters: Sequence[str]) -> Iterator[ReadLine]:
    """Greedy CTC: the best class of each step, repeats and blanks dropped."""
    best = scores.argmax(axis=2)
    sure = np.take_along_axis(scores, best[:, :, None], axis=2)[:, :, 0]
    for classes, chances in zip(best, sure, strict=True):
        keep = classes != 0
        keep[1:] &= classes[1:] != classes[:-1]
        text = "".join(characters[c] for c in classes[keep])
        yield ReadLine(text.strip(), float(chances[keep].mean()) if keep.any() else 0.0)


@dataclass(frozen=True)
class _Component:
    x0: int
    y0: int
    x1: int
    y1: int
    score: float


def _boxes(
    heat: NDArray[np.float32], x_scale: float, y_scale: float, *, threshold: float = 0.3, sure: float = 0.5
) -> Iterator[Box]:
    """Boxes of the connected hot areas, grown by the margin the weights were trained to shrink text by."""
    for part in _components(heat, threshold):
        width, height = part.x1 - part.x0, part.y1 - part.y0
        if part.score < sure or min(width, height) < 3:
            continue
        margin = 1.6 * width * height / (2 * (width + height))  # unclip ratio 1.6, as RapidOCR sets it
        x0, x1 = (part.x0 - margin) * x_scale, (part.x1 + margin) * x_scale
        y0, y1 = (part.y0 - margin) * y_scale, (part.y1 + margin) * y_scale
        yield round(x0), round(y0), round(x1), round(y1)


def _components(heat: NDArray[np.float32], threshold: float) -> list[_Component]:
    """Connected areas above a threshold, by joining the runs of neighbouring rows."""
    runs: list[tuple[int, int, int]] = []  # row, first, end
    parent: list[int] = []
    before: list[int] = []
    for row in range(heat.shape[0]):
        hot = np.diff(np.concatenate(([0], (heat[row] > threshold).astype(np.int8), [0])))
        now = []
        for first, end in zip(np.flatnonzero(hot == 1), np.flatnonzero(hot == -1), strict=True):
            number = len(runs)
            runs.append((row, int(first), int(end)))
            parent.append(number)
            now.append(number)
            for above in before:
                if runs[above][1] < end and runs[above][2] > first:
                    parent[_root(parent, above)] = _root(parent, number)
        before = now
    groups: dict[int, list[tuple[int, int, int]]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(_root(parent, number), []).append(run)
    return [_component(heat, group) for group in groups.values()]


def _component(heat: NDArray[np.float32], runs: Sequence[tuple[int, int, int]]) -> _Component:
    total = sum(float(heat[row, first:end].sum()) for row, first, end in runs)
    area = sum(end - first for _, first, end in runs)
    rows, firsts, ends = zip(*runs, strict=True)
    return _Component(min(firsts), min(rows), max(ends), max(rows) + 1, total / area)


def _root(parent: list[int], number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number
