"""CMX 3600: one event a shot, in the film's timecode; every conform system reads it."""

from __future__ import annotations

from fractions import Fraction

from malan.apps.promo.timelines.edit import Cut, Edit, one_line, smpte


def edl(edit: Edit) -> str:
    """The list. Reels are named after their files; where those lie and what music is under it stands in comments."""
    title = one_line(edit.title)
    lines = [f"TITLE: {title[:70]}", "FCM: NON-DROP FRAME", ""]
    for number, cut in enumerate(edit.cuts, 1):
        rate = Fraction(edit.rate)
        record = smpte(cut.at, rate), smpte(cut.at + cut.frames, rate)
        where = " ".join((*_source(cut, edit.rate), *record))
        channel = "AA/V" if cut.is_heard else "V"
        lines.append(f"{number:03d}  {cut.reel.name:<8} {channel:<5} C        {where}")
        lines.append(f"* FROM CLIP NAME: {one_line(cut.reel.path.name)}")
        lines += [f"* SOURCE FILE: {one_line(str(cut.reel.path))}", f"* MALAN CLIP: {cut.clip}", ""]
    for track in edit.tracks:
        lines.append(f"* {track.kind.upper()}: {one_line(str(track.path))}")
    return "\n".join(lines) + "\n"


def _source(cut: Cut, rate: int) -> tuple[str, str]:
    """In and out by the source's timecode, both in frames of the list: as many as the event is long."""
    reel, nominal = cut.reel, max(1, round(cut.reel.rate))
    if nominal == rate:
        return reel.label(cut.first), reel.label(cut.first + cut.frames)
    first = round(Fraction(reel.first + cut.first, nominal) * rate)
    return smpte(first, Fraction(rate)), smpte(first + cut.frames, Fraction(rate))
