"""Cut a film exactly to the frame, copying whole groups of pictures and encoding only the edges.

    spans ─ plan_span ─ pieces ─ write_cut ─ a file beside the target ─ wanting ─ rename
                          └───── spans that did not come out as planned are encoded as a whole ──┘

What was written is read back before it takes its name (see `cut_check`). Start at `cut`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from malan.core import Span
from malan.core.errors import MediaError, StoreError, UsageError
from malan.media.cut_check import wanting
from malan.media.cut_write import MATCHED, Source, open_source, write_cut
from malan.media.index import PacketIndex
from malan.media.nal import H264_IDR, HEVC_CRA, HEVC_IDR
from malan.media.plan_cut import Layout, Piece, plan_span
from malan.media.sniff import shown

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


@dataclass(frozen=True)
class Cut:
    """What was written. `mode`: `copy` (nothing encoded), `smart` (edges encoded), `encode` (everything encoded)."""

    path: Path
    mode: str
    frames_copied: int
    frames_encoded: int
    size_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return self.frames_copied + self.frames_encoded


def cut(
    path: str | Path, index: PacketIndex, spans: Sequence[Span], out: str | Path, *, track: int | None = None
) -> Cut:
    """Write the frames of one or more spans, one after another, to one file.

    The first frame is the one shown at the start of a span; the end is excluded. Frames keep their distance, so
    variable frame rate stays what it was. All sound tracks come along. The extension chooses the container: mp4, m4v,
    mov or mkv. Cost: a group of pictures decoded and part of it encoded for each edge, plus copying and reading back.

    Raises:
        UsageError: A span without frames, an extension that is not known, or the source itself as target.
        MediaError: The source cannot be read there.
        StoreError: The file could not be written; nothing is left of it.
    """
    with Cutter(path, index, track=track) as cutter:
        return cutter.cut(spans, out)


class Cutter:
    """An open source to cut several files from. Not safe between threads."""

    def __init__(self, path: str | Path, index: PacketIndex, *, track: int | None = None) -> None:
        self._open = ExitStack()
        self._source = self._open.enter_context(open_source(path, index, track))

    def cut(self, spans: Sequence[Span], out: str | Path) -> Cut:
        """Write some spans to one file; see the function `cut`."""
        out, source = Path(out), self._source
        if out.suffix.lower() not in FORMATS:
            raise UsageError("cutting.bad_extension", path=shown(out), allowed=", ".join(FORMATS))
        if out.exists() and out.samefile(source.path):
            raise UsageError("cutting.same_file", path=shown(out))
        format_name = FORMATS[out.suffix.lower()]
        layout = self._layout([self._range(span) for span in spans], format_name)
        part = out.with_name(f".malan-{os.getpid()}-{abs(hash(out.name)):x}.part")
        try:
            done = self._write_checked(layout, part, format_name, out)
            part.replace(out)
        except (OSError, av.FFmpegError) as error:
            detail = getattr(error, "strerror", None) or str(error)
            raise StoreError("cutting.not_written", path=shown(out), detail=detail) from error
        finally:
            part.unlink(missing_ok=True)
        return replace(done, path=out)

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _range(self, span: Span) -> tuple[int, int]:
        """Frame numbers of a span: from the frame shown at its start to the last that starts before its end."""
        index = self._source.index
        start, end = span.start * span.timebase / index.timebase, span.end * span.timebase / index.timebase
        first = max(0, int(np.searchsorted(index.frame_pts, int(start // 1), side="right")) - 1)
        stop = int(np.searchsorted(index.frame_pts, int(-(-end // 1)), side="left"))
        if stop <= first or start >= index.end_ticks:
            raise UsageError("cutting.empty", path=shown(self._source.path), start=span.start, end=span.end)
        return first, stop

    def _layout(self, ranges: list[tuple[int, int]], format_name: str) -> Layout:
        """Pieces of every span. A codec whose edges cannot be matched is copied everywhere or encoded everywhere."""
        plans = tuple(
            plan_span(self._source.index, first, end, partial(self._may_start, follows=number > 0))
            for number, (first, end) in enumerate(ranges)
        )
        layout, name = Layout(self._source.index, plans), self._source.codec.name
        fits = _holds(format_name, self._source)
        if fits and (name in MATCHED or not layout.encodes_any):
            return layout
        return layout.with_encoded(range(len(plans)))

    def _may_start(self, packet: int, joined: bool, *, follows: bool) -> bool:
        """Whether copied packets may begin at a key packet: after other pictures, or at the very start of a file."""
        return not (joined or follows) or may_join(self._source, packet)

    def _write_checked(self, layout: Layout, part: Path, format_name: str, out: Path) -> Cut:
        """Write; where the check finds a span wanting, write again with that span encoded as a whole."""
        notes: list[str] = []
        while True:
            written = write_cut(self._source, layout, part, format_name)
            bad = wanting(part, self._source, layout, written)
            if not bad:
                return _result(part, layout, [*notes, *written.notes])
            if all(_is_encoded(layout.plans[i]) for i in bad):
                raise MediaError("cutting.failed", path=shown(out), detail=next(iter(bad.values())))
            notes += [f"span {i + 1} was encoded as a whole: {reason}" for i, reason in bad.items()]
            layout = layout.with_encoded(bad)


def may_join(source: Source, packet: int) -> bool:
    """Whether copied packets may follow other pictures from a key packet on.

    H.264 needs an IDR; HEVC also takes a CRA, which is made a BLA. Other codecs hold no state across a key frame.
    """
    framing = source.framing
    if framing is None:
        return True
    kinds = {kind for _, p in source.packets.read([packet]) for kind in framing.kinds(bytes(p))}
    return H264_IDR in kinds if framing.codec == "h264" else bool(kinds & {*HEVC_IDR, HEVC_CRA})


def _holds(format_name: str, source: Source) -> bool:
    """Whether a container can hold the track as it is."""
    with av.open(os.devnull, "w", format=format_name) as trial:
        try:
            trial.add_stream_from_template(source.stream, opaque=True)
        except ValueError:
            return False
    return True


def _is_encoded(plan: Sequence[Piece]) -> bool:
    return all(piece.packets is None for piece in plan)


def _result(part: Path, layout: Layout, notes: Sequence[str]) -> Cut:
    copied = sum(p.frame_count for p in layout.pieces if p.packets is not None)
    encoded = sum(p.frame_count for p in layout.pieces if p.packets is None)
    mode = "encode" if not copied else "smart" if encoded else "copy"
    return Cut(part, mode, copied, encoded, part.stat().st_size, tuple(notes))
