"""Footage as people really have it: every size, depth, rate, shape and sound becomes one film; what cannot is said."""

from __future__ import annotations

import itertools
import json
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_factory import draw_film, read_number

from malan.apps.promo.fonts import missing_glyphs
from malan.apps.promo.make import tags_of
from malan.apps.running import run_app
from malan.core.errors import NotFound, UsageError
from malan.rights import load_terms
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.workspace import Workspace

KINDS = ("4k", "10-bit", "hdr", "vfr", "vertical", "mono", "surround", "silent", "60p")
QUICK = {"preset": "ultrafast"}
FRAMES = 45


def film_of(kind: str, folder: Path) -> Path:
    """A drawn film, one shot of some 1.8 s; every frame carries its number."""
    path, seed = folder / f"{kind}.mp4", 5 * KINDS.index(kind)
    if kind == "4k":
        small = draw_film(folder / "small.mp4", (FRAMES,), options=QUICK, seed=seed).path
        return through(small, path, ["-vf", "scale=3840:2160:flags=neighbor", "-preset", "ultrafast"])
    if kind == "10-bit":
        return draw_film(path, (FRAMES,), pixel_format="yuv420p10le", options=QUICK, seed=seed).path
    if kind == "hdr":
        tagged = {**QUICK, "x264-params": "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"}
        return draw_film(path, (FRAMES,), pixel_format="yuv420p10le", options=tagged, seed=seed).path
    if kind == "vfr":
        slots = np.cumsum(np.random.default_rng(3).choice([1, 1, 2], FRAMES)).tolist()
        return draw_film(path, (FRAMES,), slots=slots, options=QUICK, seed=seed).path
    if kind == "vertical":
        return draw_film(path, (FRAMES,), size=(180, 320), options=QUICK, seed=seed).path
    if kind == "60p":
        return draw_film(path, (110,), rate=60, options=QUICK, seed=seed).path
    if kind == "surround":
        return with_sound(draw_film(folder / "bare.mp4", (FRAMES,), options=QUICK, seed=seed).path, path, "5.1")
    return draw_film(path, (FRAMES,), audio=kind == "mono", options=QUICK, seed=seed).path


def through(film: Path, out: Path, options: list[str]) -> Path:
    """The film as ffmpeg changes it; the one it came from is gone."""
    from imageio_ffmpeg import get_ffmpeg_exe

    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-i", str(film), *options, str(out)], check=True)
    film.unlink()
    return out


def with_sound(film: Path, out: Path, layout: str) -> Path:
    """The film with a tone in every channel of a layout."""
    tone = f"sine=660:d=1.8:r=48000,aformat=channel_layouts=mono,pan={layout}|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0"
    return through(film, out, ["-f", "lavfi", "-i", tone, "-c:v", "copy", "-c:a", "aac"])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("kinds")
    ws = Workspace.create(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    films = [film_of(kind, root) for kind in KINDS]
    add_assets(ws, films, owner="湖南台", terms=load_terms(root / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    return ws


@pytest.fixture(scope="module")
def made(library, tmp_path_factory):
    """One film of all kinds, in two shapes; its storyboard names each clip by its kind."""
    out = tmp_path_factory.mktemp("made")
    clips = {
        Path(row.file_name).stem: row.id
        for asset in library.library.assets()
        for row in library.library.clips(asset.asset.id)
    }
    asked = {"clips": tuple(clips[kind] for kind in KINDS), "length": 9.0, "format": ("16:9", "9:16"), "lines": 360}
    return out, run_app(library, "promo", asked, out)[1]


@pytest.mark.parametrize(("name", "size"), [("16x9", (640, 360)), ("9x16", (360, 640))])
def test_footage_of_every_kind_becomes_one_even_film(made, name, size):
    out, told = made
    with av.open(str(out / f"promo-{name}.mp4")) as film:
        stream = film.streams.video[0]
        shown = [(frame.pts * stream.time_base, frame.format.name) for frame in film.decode(stream)]
        context = stream.codec_context
        assert (context.width, context.height, context.color_trc, context.colorspace) == (*size, 1, 1)
    rate = Fraction(len(shown), 9)
    assert [at for at, _ in shown] == [n / rate for n in range(len(shown))]
    assert {kind for _, kind in shown} == {"yuv420p"}
    assert len(told["sources"]) == len(KINDS)


def test_every_shot_shows_the_frames_it_names_whatever_the_footage(made):
    """Numbers are read from the wide film; those of a vertical picture are cut off, as they should be."""
    out, told = made
    with av.open(str(out / "promo-16x9.mp4")) as film:
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    rate = len(shown) / 9
    for kind, one in zip(KINDS, told["sources"], strict=True):
        first, last = round(one["at_s"] * rate), round(one["until_s"] * rate)
        seen = [read_number(picture) for picture in shown[first:last]]
        if kind == "vertical":
            continue
        own = 60 if kind == "60p" else 25
        assert all(b >= a for a, b in itertools.pairwise(seen)), kind
        if kind == "vfr":
            continue
        expected = [one["from_s"] * own + n * own / rate for n in range(len(seen))]
        assert np.abs(np.asarray(seen) - expected).max() <= 2, kind


def test_pictures_are_neither_dark_nor_burnt_out(made):
    out, told = made
    with av.open(str(out / "promo-16x9.mp4")) as film:
        light = [float(frame.to_ndarray(format="gray").mean()) for frame in film.decode(video=0)]
    rate = len(light) / 9
    for kind, one in zip(KINDS, told["sources"], strict=True):
        assert 15 < np.mean(light[round(one["at_s"] * rate) : round(one["until_s"] * rate)]) < 235, kind


def test_sound_of_one_six_or_no_channels_becomes_stereo_without_a_gap(made):
    out, told = made
    with av.open(str(out / "promo-16x9.mp4")) as film:
        stream = film.streams.audio[0]
        assert (stream.codec_context.layout.name, stream.rate) == ("stereo", 48_000)
        samples = np.concatenate([frame.to_ndarray() for frame in film.decode(stream)], axis=1)
    assert abs(samples.shape[1] / 48_000 - 9) < 0.05
    for kind, one in zip(KINDS, told["sources"], strict=True):
        middle = round((one["at_s"] + one["until_s"]) / 2 * 48_000)
        heard = float(np.abs(samples[:, middle - 4800 : middle + 4800]).max())
        assert (heard > 0.02) == (kind in ("mono", "surround")), kind


def test_characters_no_font_has_are_named_before_anything_is_rendered(library, tmp_path):
    if not missing_glyphs("\U0001f9ff\u1c90"):
        pytest.skip("a font here has even these, or the machine does not tell its fonts")
    with pytest.raises(UsageError) as caught:
        run_app(library, "promo", {"length": 4, "lines": 360, "title": "马栏\U0001f9ff\u1c90"}, tmp_path)
    assert caught.value.code == "promo.no_glyphs"
    assert "U+" in caught.value.values["characters"]
    assert not list(tmp_path.glob("*.mp4"))


def test_usual_chinese_and_latin_can_be_written():
    assert missing_glyphs("马栏，《三十秒》宣发 — Malan’s “promo” 100 %…\n\u200d\ufe0f") == ""


def test_a_track_without_sound_is_no_music_and_no_voice(library, made, tmp_path):
    from malan.core.errors import MediaError

    silent = draw_film(tmp_path / "silent.mp4", (30,), options=QUICK).path
    for field in ("music", "voice"):
        with pytest.raises(MediaError):
            run_app(library, "promo", {"length": 3, "lines": 360, field: str(silent)}, tmp_path / field)
        assert not list((tmp_path / field).glob("*.mp4"))


def test_a_file_that_went_away_is_named_and_nothing_is_published(library, made, tmp_path):
    board = json.loads((made[0] / "storyboard.json").read_text("utf-8"))
    place = next(
        row.locations[0].path for row in library.library.assets() if row.locations[0].path.endswith("mono.mp4")
    )
    hidden = Path(place).with_suffix(".away")
    Path(place).rename(hidden)
    try:
        (tmp_path / "board.json").write_text(json.dumps(board), "utf-8")
        with pytest.raises(NotFound) as caught:
            run_app(library, "promo", {"board": str(tmp_path / "board.json")}, tmp_path / "out")
    finally:
        hidden.rename(place)
    assert "mono" in str(caught.value.values)
    assert not list((tmp_path / "out").glob("*.mp4"))


def test_tags_of_a_bed_may_have_commas_of_any_kind():
    assert tags_of("舒缓，钢琴, calm ;") == ("舒缓", "钢琴", "calm")


def test_a_bed_without_a_provider_code_is_refused_before_anything_is_rendered(library, tmp_path):
    with pytest.raises(UsageError) as caught:
        run_app(library, "promo", {"length": 3, "lines": 360, "bed": "calm"}, tmp_path)
    assert caught.value.code == "publish.no_producer"
    assert not list(tmp_path.glob("*.mp4"))
