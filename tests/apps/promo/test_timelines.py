"""Editing systems get what they can read: the right frames of the right files, in their own timecode and syntax."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlparse

import opentimelineio as otio
import pytest

from malan.apps.promo.captions import Line
from malan.apps.promo.timelines.edit import Cut, Edit, Reel, Track, frame_of, smpte, usual_rate
from malan.apps.promo.timelines.edl import edl
from malan.apps.promo.timelines.fcpxml import fcpxml
from malan.apps.promo.timelines.jianying import draft_files
from malan.apps.promo.timelines.otio import otio_json
from malan.media.render import Format

NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)
FOLDER = Path("/素材 库/100% & “采访”")
HOUR = 107_892  # 01:00:00;00 drop-frame at 29.97


def edit_of(**changed: object) -> Edit:
    dog = Reel(FOLDER / "狗 & 人.mov", "A001C003", NTSC, 900, HOUR, True, (1280, 720), 2, 48_000)
    hill = Reel(FOLDER / "hill.mp4", "HILL", FILM, 480, 0, False, (480, 204))
    cuts = (Cut(dog, "c" * 64, 60, 0, 45, True, False), Cut(hill, "d" * 64, 24, 45, 30, False, True))
    music = Track("music", FOLDER / "曲.wav", Fraction(1, 2), Fraction(61), -6.0)
    lines = (
        Line("标题 <&> 😀", Fraction(1, 5), Fraction(1), "Title"),
        Line("字幕", Fraction(1), Fraction(2)),
    )
    held = Edit("片名 <b>&\n\x07", 30, Format("16x9", 1920, 1080), cuts, (music,), lines, "zh")
    return replace(held, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frame", "rate", "drops", "label"),
    [
        (1799, NTSC, True, "00:00:59;29"),
        (1800, NTSC, True, "00:01:00;02"),
        (17982, NTSC, True, "00:10:00;00"),
        (HOUR, NTSC, True, "01:00:00;00"),
        (1800, NTSC, False, "00:01:00:00"),
        (3600, Fraction(60000, 1001), True, "00:01:00;04"),
        (24, FILM, False, "00:00:01:00"),
        (90_000, Fraction(25), False, "01:00:00:00"),
    ],
)
def test_timecode_counts_as_smpte_does(frame, rate, drops, label):
    assert smpte(frame, rate, drops=drops) == label
    assert frame_of(label, rate) == (frame, drops)


def test_drop_frame_labels_go_there_and_back():
    for frame in range(0, 20_000, 7):
        assert frame_of(smpte(frame, NTSC, drops=True), NTSC) == (frame, True)


@pytest.mark.parametrize("label", ["", "1:2", "aa:bb:cc:dd", "00:00:00:00:00"])
def test_what_is_no_timecode_counts_from_nought(label):
    assert frame_of(label, Fraction(25)) == (0, False)


def test_a_mean_near_to_a_usual_rate_is_that_rate():
    assert usual_rate(Fraction(24001, 1000)) == 24
    assert usual_rate(Fraction(29970, 1000)) == NTSC
    assert usual_rate(Fraction(25, 2)) == Fraction(25, 2)


def test_an_edit_list_names_reels_and_their_own_timecode():
    lines = edl(edit_of()).splitlines()
    events = [line.split() for line in lines if re.match(r"\d{3} ", line)]
    assert events[0] == ["001", "A001C003", "AA/V", "C", "01:00:02;00", "01:00:03;15", "00:00:00:00", "00:00:01:15"]
    assert events[1][1:4] == ["HILL", "V", "C"]
    assert all(len(line) < 240 for line in lines)
    assert "* FROM CLIP NAME: 狗 & 人.mov" in lines
    assert lines[0] == "TITLE: 片名 <b>&??"
    assert any(line.startswith("* MUSIC: ") for line in lines)


def test_opentimelineio_reads_its_own_frames_and_rates():
    read = otio.adapters.read_from_string(otio_json(edit_of()), "otio_json")
    pictures, own, music = read.tracks
    assert (pictures.kind, own.kind, music.name) == ("Video", "Audio", "music")
    assert pictures[0].source_range.start_time == otio.opentime.RationalTime(HOUR + 60, float(NTSC))
    assert pictures[0].media_reference.available_range.start_time.value == HOUR
    assert pictures[0].media_reference.available_range.contains(pictures[0].source_range)
    assert unquote(urlparse(pictures[0].media_reference.target_url).path) == str(FOLDER / "狗 & 人.mov")
    assert isinstance(own[1], otio.schema.Gap)
    assert [marker.name for marker in pictures.markers] == ["标题 <&> 😀", "字幕"]
    assert music.duration().to_seconds() == pytest.approx(2.5)


CHILDREN = {  # of the FCPXML 1.10 DTD, in order, as far as they are written here
    "fcpxml": ["resources", "library"],
    "sequence": ["spine"],
    "asset": ["media-rep"],
    "asset-clip": ["conform-rate", "adjust-conform", "adjust-volume", "asset-clip", "title"],
    "title": ["param", "text", "text-style-def"],
}


def test_fcpxml_keeps_the_order_of_its_dtd_and_refers_to_what_is_there():
    root = ElementTree.fromstring(fcpxml(edit_of()))
    known = {one.get("id") for one in root.iter() if one.get("id")}
    for element in root.iter():
        order = CHILDREN.get(element.tag)
        if order:
            places = [order.index(child.tag) for child in element]
            assert places == sorted(places)
        for name in ("ref", "format"):
            assert element.get(name) is None or element.get(name) in known
        for name in ("start", "offset", "duration", "frameDuration"):
            assert element.get(name) is None or re.fullmatch(r"-?\d+(/\d+)?s", element.get(name) or "")
    sources = [one.get("src") or "" for one in root.iter("media-rep")]
    assert unquote(urlparse(sources[0]).path) == str(FOLDER / "狗 & 人.mov")
    assert all(source.isascii() for source in sources)


def test_fcpxml_counts_a_source_from_its_own_timecode():
    root = ElementTree.fromstring(fcpxml(edit_of()))
    asset, clip = root.find(".//asset"), root.find(".//spine/asset-clip")
    assert seconds(asset.get("start")) == HOUR / NTSC
    assert seconds(clip.get("start")) == (HOUR + 60) / NTSC
    assert clip.get("tcFormat") == "DF"
    title = clip.find("title")
    assert seconds(title.get("offset")) == (HOUR + 60) / NTSC + Fraction(1, 5)
    assert clip.find("conform-rate").get("scaleEnabled") == "0"
    second = root.findall(".//spine/asset-clip")[1]
    assert second.get("srcEnable") is None  # it has no sound to leave out
    assert second.find("adjust-conform").get("type") == "fill"


def seconds(text: str | None) -> Fraction:
    return Fraction((text or "").removesuffix("s"))


def test_a_draft_holds_whole_segments_and_the_materials_they_point_to():
    files = {name: json.loads(text) for name, text in draft_files(edit_of(), "seed").items()}
    draft, meta = files["draft_content.json"], files["draft_meta_info.json"]
    assert meta["draft_id"] == draft["id"]
    known = {one["id"] for listed in draft["materials"].values() for one in listed}
    for track in draft["tracks"]:
        spans = [one["target_timerange"] for one in track["segments"]]
        assert all(a["start"] + a["duration"] <= b["start"] for a, b in pairwise(spans))
        for segment in track["segments"]:
            assert {segment["material_id"], *segment["extra_material_refs"]} <= known
    video = draft["tracks"][0]["segments"]
    assert video[0]["target_timerange"]["duration"] == video[1]["target_timerange"]["start"]
    assert video[1]["volume"] == 0.0
    assert video[1]["clip"]["scale"]["x"] == pytest.approx(480 / 204 / (16 / 9), rel=1e-3)
    assert draft["materials"]["videos"][0]["path"] == str(FOLDER / "狗 & 人.mov")
    title = json.loads(draft["materials"]["texts"][-1]["content"])
    assert title["styles"][0]["range"] == [0, 9]  # the emoji counts twice there


def test_the_same_cut_is_the_same_draft():
    assert draft_files(edit_of(), "seed") == draft_files(edit_of(), "seed")
    assert draft_files(edit_of(), "seed") != draft_files(edit_of(), "other")
