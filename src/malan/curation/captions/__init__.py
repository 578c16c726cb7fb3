"""Captions burned into the picture: found, timed to the frame, read once each.

One pass over the film looks for strokes that stand still (`watch`), each text is read once from one picture made of all
its frames (`compose`, `read`), and what was read is told apart (`judge`). Sound, sidecar and embedded subtitles are not
looked at. Start at `read_captions`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from malan.curation.captions.judge import ROWS_KNOWN, Moments, Rows, Scene, Text, caption_rows, judge
from malan.curation.captions.luma import Box, View
from malan.curation.captions.read import LineReader, Reading, language
from malan.curation.captions.records import Caption, CaptionReport
from malan.curation.captions.sighting import Sighting
from malan.curation.captions.srt import to_srt
from malan.curation.captions.strokes import covered
from malan.curation.captions.watch import SAMPLES_PER_S, Watcher
from malan.inference.ocr import TextReader
from malan.media.decode import FrameDecoder, Threads
from malan.media.index import PacketIndex
from malan.media.open import open_media, video_stream
from malan.media.picture import clockwise

PROGRESS_FRAMES = 100

__all__ = ["Caption", "CaptionReport", "read_captions", "to_srt"]


def read_captions(
    path: str | Path,
    index: PacketIndex,
    reader: TextReader,
    *,
    track: int | None = None,
    threads: Threads = "auto",
    progress: Callable[[int, int], None] | None = None,
    look: Callable[[int, av.VideoFrame], None] | None = None,
) -> CaptionReport:
    """Read the captions burned into a film.

    Decodes every frame once, in order. First and end frames are exact for texts that come and go at once; a fade counts
    from its first to its last visible frame.

    Args:
        path: The file the index was made from.
        index: Its packet index.
        reader: Reads line pictures, one call per text.
        track: Stream index; the first picture track when None.
        threads: How to decode, see `FrameDecoder`.
        progress: Called now and then with frames done and frames in all.
        look: Called with every frame and its number, so that others share the decode. Loop filtering is off.

    Raises:
        MediaError: The file cannot be decoded at all.
    """
    started = time.process_time()
    film = _Film(path, index, reader, track, threads, look)
    captions, persistent = film.read(progress)
    cpu_s = time.process_time() - started
    return CaptionReport(captions, persistent, index.frame_count, film.frames_decoded, film.ocr_calls, cpu_s)


class _Film:
    """One pass over one film."""

    def __init__(
        self, path: str | Path, index: PacketIndex, reader: TextReader, track: int | None, threads: Threads,
        look: Callable[[int, av.VideoFrame], None] | None = None,
    ) -> None:  # fmt: skip
        self._index, self._reader, self._look = index, reader, look
        self._aspect = _sample_aspect(path, track)
        self._decoder = FrameDecoder(path, index, track=track, threads=threads, loop_filter=False)
        duration = float(index.span(0, index.frame_count).duration) if index.frame_count else 0.0
        self._rate = index.frame_count / duration if duration else 25.0
        self._shape: Shape | None = None
        self.frames_decoded = self.ocr_calls = 0

    def read(self, progress: Callable[[int, int], None] | None) -> tuple[tuple[Caption, ...], tuple[Caption, ...]]:
        """Captions and persistent texts."""
        with self._decoder, LineReader(self._reader) as lines:
            self._watch(lines, progress)
            readings = lines.readings()
            self.frames_decoded, self.ocr_calls = self._decoder.frames_decoded, lines.calls
            if self._shape is None or not readings:
                return (), ()
            scene = Scene(self._shape.width_px, self._shape.height_px, self._rate)
            rows = caption_rows(readings, scene)
            readings = lines.read_again(readings, _Gaps(rows, Moments(readings)).want)
            for reading in readings:
                self._make_sure(reading.sighting)
            self.ocr_calls = lines.calls
            judged = judge(readings, scene)
        self.frames_decoded = self._decoder.frames_decoded
        return tuple(map(self._caption, judged.captions)), tuple(map(self._caption, judged.persistent))

    def _watch(self, lines: LineReader, progress: Callable[[int, int], None] | None) -> None:
        watcher: Watcher | None = None
        size = (0, 0)
        for number, frame in self._decoder.frames():
            if watcher is None or size != (frame.width, frame.height):
                self._finish(watcher, number, lines)
                watcher, size = self._watcher(frame), (frame.width, frame.height)
            if self._look is not None:
                self._look(number, frame)
            for sighting in watcher.look(number, frame):
                lines.read(sighting)
            if progress is not None and number % PROGRESS_FRAMES == 0:
                progress(number, self._index.frame_count)
        self._finish(watcher, self._index.frame_count, lines)

    def _watcher(self, frame: av.VideoFrame) -> Watcher:
        """A watcher for pictures of that size; a broadcast stream may change its size in the middle."""
        shape = Shape.of(frame, self._aspect)
        self._shape = self._shape or shape
        every = max(1, round(self._rate / SAMPLES_PER_S))
        return Watcher(View.of(*shape.size), every, sum(plane.buffer_size for plane in frame.planes))

    def _finish(self, watcher: Watcher | None, end: int, lines: LineReader) -> None:
        if watcher is not None:
            for sighting in watcher.finish(end):
                lines.read(sighting)

    def _make_sure(self, sighting: Sighting) -> None:
        """Find the exact first frame of a text that was noticed late, by decoding the frames in question again."""
        if sighting.unsure_from < 0:
            return
        for number, frame in self._decoder.frames(sighting.unsure_from, sighting.first + 1):
            view = View(sighting.step)
            if sighting.pattern.presence(view.small_part(frame, sighting.box)).is_there:
                sighting.first = number
                break
        sighting.unsure_from = -1

    def _caption(self, text: Text) -> Caption:
        assert self._shape is not None  # noqa: S101 - a text was read from a frame of that shape
        x0, y0, x1, y1 = text.box
        across, down = self._shape.stretch
        box = (round(x0 * across), round(y0 * down), round(x1 * across), round(y1 * down))
        return Caption(text.text, text.first, text.end, box, round(text.confidence, 4), language(text.text))


@dataclass(frozen=True)
class _Gaps:
    """Where captions stand, and what is known of them already."""

    rows: Rows
    moments: Moments[Reading]

    def want(self, sighting: Sighting, box: Box) -> bool:
        """Whether a line at the height of captions would tell something new."""
        if self.rows.support(box) < ROWS_KNOWN:
            return False
        around = self.moments.around(sighting)
        others = [r for r in around if r.sighting is not sighting and r.sighting.outlasts(sighting)]
        return not any(covered(box, line.box) > 0.5 for other in others for line in other.lines)


@dataclass(frozen=True)
class Shape:
    """Size of the upright picture, and how far its pixels are stretched when shown."""

    width_px: int
    height_px: int
    stretch: tuple[float, float] = (1.0, 1.0)

    @property
    def size(self) -> tuple[int, int]:
        return self.width_px, self.height_px

    @classmethod
    def of(cls, frame: av.VideoFrame, aspect: float) -> Shape:
        """`aspect` is width over height of a stored pixel."""
        if clockwise(frame) in (90, 270):
            return cls(frame.height, frame.width, (1.0, aspect))
        return cls(frame.width, frame.height, (aspect, 1.0))


def _sample_aspect(path: str | Path, track: int | None) -> float:
    with open_media(path) as container:
        return float(video_stream(container, track, path).sample_aspect_ratio or 1)
