"""FCPXML 1.10: Final Cut Pro, DaVinci Resolve and Premiere read it.

Final Cut Pro refuses a document that does not match its DTD: order and names of children are those of
https://developer.apple.com/documentation/professional-video-applications/fcpxml-reference. Times are rational
seconds; a source's are counted from its own timecode. Start reading at `fcpxml`.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from malan.apps.promo.captions import Line
from malan.apps.promo.timelines.edit import Cut, Edit, Reel, Track
from malan.apps.promo.writing import place_of, size_px

_TITLE = ".../Titles.localized/Bumper:Opener.localized/Basic Title.localized/Basic Title.moti"
_POSITION = "9999/999166631/999166633/1/100/101"
_RATES = {"23.98": Fraction(24000, 1001), "29.97": Fraction(30000, 1001), "59.94": Fraction(60000, 1001)} | {
    str(rate): Fraction(rate) for rate in (24, 25, 30, 48, 50, 60)
}
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'


def fcpxml(edit: Edit) -> str:
    """The project, with an event around it."""
    root = Element("fcpxml", version="1.10")
    assets = _resources(SubElement(root, "resources"), edit)
    event = SubElement(SubElement(root, "library"), "event", name=_text(edit.title))
    project = SubElement(event, "project", name=_text(edit.title))
    sequence = SubElement(
        project, "sequence", format="r1", duration=_time(Fraction(edit.frames, edit.rate)), tcStart="0s",
        tcFormat="NDF", audioLayout="stereo", audioRate="48k",
    )  # fmt: skip
    spine = SubElement(sequence, "spine")
    for cut in edit.cuts:
        _shot(spine, cut, edit, assets)
    indent(root)
    return _HEAD + tostring(root, "unicode") + "\n"


def _resources(place: Element, edit: Edit) -> dict[str, str]:
    """Formats, effects and assets; the names of the assets by path."""
    form = edit.form
    SubElement(
        place, "format", id="r1", name="FFVideoFormatRateUndefined", frameDuration=_time(Fraction(1, edit.rate)),
        width=str(form.width), height=str(form.height), colorSpace="1-1-1 (Rec. 709)",
    )  # fmt: skip
    SubElement(place, "effect", id="r2", name="Basic Title", uid=_TITLE)
    names: dict[str, str] = {}
    for reel in dict.fromkeys(cut.reel for cut in edit.cuts):
        names[str(reel.path)] = name = f"a{len(names) + 1}"
        _asset(place, name, reel)
    for track in edit.tracks:
        names[str(track.path)] = name = f"a{len(names) + 1}"
        held = SubElement(
            place, "asset", id=name, name=_text(track.path.name), start="0s", duration=_time(track.length),
            hasAudio="1", audioSources="1",
        )  # fmt: skip
        SubElement(held, "media-rep", kind="original-media", src=track.path.as_uri())
    return names


def _asset(place: Element, name: str, reel: Reel) -> None:
    width, height = reel.size
    SubElement(
        place, "format", id=f"f{name}", name="FFVideoFormatRateUndefined", frameDuration=_time(1 / reel.rate),
        width=str(width), height=str(height),
    )  # fmt: skip
    heard = {"hasAudio": "1", "audioSources": "1", "audioChannels": str(reel.channels), "audioRate": str(reel.sound_hz)}
    held = SubElement(
        place, "asset", id=name, name=_text(reel.path.name), start=_time(reel.first / reel.rate),
        duration=_time(reel.frames / reel.rate), hasVideo="1", format=f"f{name}", videoSources="1",
        attrib=heard if reel.channels else {},
    )  # fmt: skip
    SubElement(held, "media-rep", kind="original-media", src=reel.path.as_uri())


def _shot(spine: Element, cut: Cut, edit: Edit, assets: dict[str, str]) -> None:
    reel, at, end = cut.reel, Fraction(cut.at, edit.rate), Fraction(cut.at + cut.frames, edit.rate)
    start = (reel.first + cut.first) / reel.rate
    clip = SubElement(
        spine, "asset-clip", ref=assets[str(reel.path)], offset=_time(at), name=_text(reel.path.name),
        start=_time(start), duration=_time(end - at), format=f"f{assets[str(reel.path)]}",
        tcFormat="DF" if reel.drops else "NDF", audioRole="dialogue",
        attrib={} if cut.is_heard or not reel.channels else {"srcEnable": "video"},
    )  # fmt: skip
    _conform(clip, cut, edit)
    if cut.at == 0:
        for place, track in enumerate(edit.tracks, 1):
            _sound(clip, track, -place, start, edit, assets)
    for number, line in enumerate(edit.lines, 1):
        if at <= line.begin < end:
            _title(clip, line, number, start + line.begin - at, edit)


def _conform(clip: Element, cut: Cut, edit: Edit) -> None:
    """Another rate is not sped up to the film's; another shape fills the picture."""
    rate = next((name for name, rate in _RATES.items() if rate == cut.reel.rate), "")
    if cut.reel.rate != edit.rate:
        SubElement(clip, "conform-rate", scaleEnabled="0", attrib={"srcFrameRate": rate} if rate else {})
    if cut.fills:
        SubElement(clip, "adjust-conform", type="fill")


def _sound(clip: Element, track: Track, lane: int, offset: Fraction, edit: Edit, assets: dict[str, str]) -> None:
    length = min(Fraction(edit.frames, edit.rate), track.length - track.start)
    if length <= 0:
        return
    heard = SubElement(
        clip, "asset-clip", ref=assets[str(track.path)], lane=str(lane), offset=_time(offset),
        name=_text(track.path.name), start=_time(track.start), duration=_time(_whole(length, edit.rate)),
        audioRole="music" if track.kind == "music" else "dialogue",
    )  # fmt: skip
    if track.gain_db:
        SubElement(heard, "adjust-volume", amount=f"{track.gain_db:g}dB")


def _title(clip: Element, line: Line, number: int, offset: Fraction, edit: Edit) -> None:
    form, length = edit.form, _whole(line.end - line.begin, edit.rate)
    title = SubElement(
        clip, "title", ref="r2", lane="1", offset=_time(offset), name=_text(line.text), start="3600s",
        duration=_time(length),
    )  # fmt: skip
    place = place_of(form)
    up = place.title if line.style != "Caption" else 1 - place.bottom
    SubElement(title, "param", name="Position", key=_POSITION, value=f"0 {round((0.5 - up) * form.height)}")
    written = SubElement(SubElement(title, "text"), "text-style", ref=f"ts{number}")
    written.text = _text(line.text)
    SubElement(
        SubElement(title, "text-style-def", id=f"ts{number}"), "text-style", font="PingFang SC",
        fontSize=f"{size_px(line.style, form):.0f}", fontFace="Semibold", fontColor="1 1 1 1", alignment="center",
        strokeColor="0.06 0.06 0.06 1", strokeWidth="-2", shadowColor="0 0 0 0.75", shadowOffset="2 315",
    )  # fmt: skip


def _whole(length: Fraction, rate: int) -> Fraction:
    """Whole frames of the film, one at least."""
    return Fraction(max(1, round(length * rate)), rate)


def _time(seconds: Fraction | float | int) -> str:
    exact = Fraction(seconds)
    return f"{exact.numerator}s" if exact.denominator == 1 else f"{exact.numerator}/{exact.denominator}s"


def _text(text: str) -> str:
    """What XML 1.0 may hold (2.2): no controls, no halves of surrogates."""
    return "".join(_allowed(" ".join(text.split())))


def _allowed(text: str) -> Iterable[str]:
    return (one for one in text if one >= " " and not "\ud800" <= one <= "\udfff" and one not in "\ufffe\uffff")
