"""From a library to a promo: every frame has its source, an edit renders what changed, rights are asked to the end."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import av
import opentimelineio
import pytest
from media_factory import draw_film, read_number

from malan.apps.builtin import all_apps, app_named
from malan.apps.running import prepare, read_request, run_app
from malan.core.errors import MediaError, NotFound, NotGranted, UsageError
from malan.rights import load_terms
from malan.services.access import Caller
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.outputs.manifests import trace_output
from malan.workspace import Workspace


def make_library(root: Path) -> Workspace:
    """Two owners; films of five shots each, in two shapes."""
    ws = Workspace.create(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    options = {"preset": "veryfast", "g": "50"}
    for number, owner in enumerate(("湖南台", "橘洲工作室")):
        size = (320, 180) if number == 0 else (180, 320)
        film = draw_film(root / f"{owner}.mp4", (45,) * 5, size=size, options=options, audio=True, seed=11 * number + 1)
        add_assets(ws, [film.path], owner=owner, terms=load_terms(root / "terms.toml", owner))
    scan_assets(ws, captions=False)
    return ws


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_library(tmp_path_factory.mktemp("promo"))


@pytest.fixture(scope="module")
def made(library, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    asked = {"length": 6, "format": ("16:9", "9:16"), "lines": 360, "title": "马栏", "script": "一句话。两句话。"}
    return out, run_app(library, "promo", asked, out)[1]


def test_the_promo_has_its_length_in_every_format(made):
    out, told = made
    for name, size in (("16x9", (640, 360)), ("9x16", (360, 640))):
        with av.open(str(out / f"promo-{name}.mp4")) as film:
            stream = film.streams.video[0]
            assert (stream.width, stream.height, stream.frames) == (*size, 150)
            assert abs(float(film.duration) / av.time_base - 6) < 0.05
    assert told["seconds"] == 6.0


def test_every_second_has_a_source_and_leads_back_to_its_owner(library, made):
    out, told = made
    ends = [(one["at_s"], one["until_s"]) for one in told["sources"]]
    assert ends[0][0] == 0
    assert ends[-1][1] == 6
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ends))
    trace = trace_output(library, str(out / "promo-16x9.mp4"))
    assert {one.owner for one in trace.sources} <= {"湖南台", "橘洲工作室"}
    assert sum(one.source.until_s - one.source.at_s for one in trace.sources) == 6


def test_the_sources_name_the_frames_that_are_shown(library, tmp_path):
    """The number drawn into each frame of the promo is that of the frame the source map names."""
    asset = next(row.asset for row in library.library.assets() if row.asset.first("video").width_px == 320)
    clips = tuple(row.id for row in library.library.clips(asset.id)[:3])
    told = run_app(library, "promo", {"clips": clips, "length": 4, "lines": 360}, tmp_path)[1]
    with av.open(str(tmp_path / "promo-16x9.mp4")) as film:
        shown = [read_number(frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    assert len(told["sources"]) == 3
    for one in told["sources"]:
        first, count = round(one["at_s"] * 25), round((one["until_s"] - one["at_s"]) * 25)
        start = shown[first]
        assert abs(start - one["from_s"] * 25) <= 1
        assert shown[first : first + count] == list(range(start, start + count))


def test_loudness_is_as_told(made):
    _, told = made
    assert abs(told["loudness_lufs"] + 16) <= 0.5


def test_the_same_request_gives_the_same_film(library, made, tmp_path):
    out, told = made
    asked = {"length": 6, "format": ("16:9", "9:16"), "lines": 360, "title": "马栏", "script": "一句话。两句话。"}
    again = run_app(library, "promo", asked, tmp_path)[1]
    assert again["sources"] == told["sources"]
    assert again["encoded_frames"] == 0  # all of it was on the shelf
    assert packets(out / "promo-16x9.mp4") == packets(tmp_path / "promo-16x9.mp4")


def test_the_first_words_on_a_film_render_the_shot_they_stand_on_alone(library, tmp_path):
    plain = run_app(library, "promo", {"length": 5, "lines": 360, "seed": 3}, tmp_path / "plain")[0]
    board = json.loads(plain.files["storyboard"].read_text("utf-8"))
    board["shots"][1]["text"] = "第一句"
    (tmp_path / "edited.json").write_text(json.dumps(board), "utf-8")
    told = run_app(library, "promo", {"board": str(tmp_path / "edited.json")}, tmp_path / "edited")[1]
    assert told["encoded_frames"] == board["shots"][1]["frames"]
    begin, end = (sum(shot["frames"] for shot in board["shots"][:n]) for n in (1, 2))
    before, after = (packets(tmp_path / name / "promo-16x9.mp4") for name in ("plain", "edited"))
    changed = [n for n, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert changed
    assert begin <= changed[0] <= changed[-1] < end


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as film:
        return [bytes(packet) for packet in film.demux(video=0) if packet.size]


def test_an_edited_storyboard_renders_only_what_changed(library, made, tmp_path):
    out, _ = made
    board = json.loads((out / "storyboard.json").read_text("utf-8"))
    board["shots"][1]["frames"] -= 10
    board["shots"][1]["from_s"] += 0.2
    board["shots"][1]["text"] = "换一句"
    board["shots"][0], board["shots"][2] = board["shots"][2], board["shots"][0]
    board["title"] = ""
    (tmp_path / "edited.json").write_text(json.dumps(board), "utf-8")
    run_app(library, "promo", {"board": str(tmp_path / "edited.json")}, tmp_path / "one")
    board["shots"][1]["from_s"] -= 0.1
    (tmp_path / "edited.json").write_text(json.dumps(board), "utf-8")
    told = run_app(library, "promo", {"board": str(tmp_path / "edited.json")}, tmp_path / "two")[1]
    assert told["encoded_frames"] == board["shots"][1]["frames"]


def test_a_plan_renders_nothing(library, tmp_path):
    told = run_app(library, "promo", {"length": 5, "plan_only": True}, tmp_path)[1]
    assert [one["what"] for one in told["files"]] == ["storyboard"]
    assert sum(shot["frames"] for shot in told["board"]["shots"]) == 5 * told["board"]["rate"]


def test_timelines_for_editing_systems_say_the_same(made):
    out, told = made
    shots = len(told["sources"])
    timeline = opentimelineio.adapters.read_from_file(str(out / "promo.otio"))
    assert sum(Fraction(clip.source_range.duration.value) for clip in timeline.tracks[0]) == 150
    tree = ElementTree.fromstring((out / "promo.fcpxml").read_text("utf-8"))
    assert len(tree.findall("./library/event/project/sequence/spine/asset-clip")) == shots == len(timeline.tracks[0])
    draft = json.loads((out / "jianying" / "draft_content.json").read_text("utf-8"))
    assert [(one["type"], len(one["segments"])) for one in draft["tracks"]] == [
        ("video", shots),
        ("text", 2),
        ("text", 1),
    ]
    assert draft["duration"] == 6_000_000
    assert (out / "promo.edl").read_text("utf-8").count("FROM CLIP NAME") == shots
    assert (out / "promo.srt").read_text("utf-8").count("-->") == 2
    assert {one["what"] for one in told["files"]} >= {"ass-16x9", "ass-9x16", "jianying-meta", "cover"}


def test_nothing_that_matches_is_said_with_the_nearest(library, tmp_path):
    with pytest.raises(NotFound) as caught:
        run_app(library, "promo", {"query": "zzqq xxyy"}, tmp_path)
    assert caught.value.code == "promo.nothing"
    assert "湖南台" in caught.value.values["nearest"] or "橘洲" in caught.value.values["nearest"]


def test_too_little_for_the_length_is_said(library, tmp_path):
    with pytest.raises(NotFound) as caught:
        run_app(library, "promo", {"length": 120}, tmp_path)
    assert caught.value.code == "promo.too_little"


def test_music_that_is_no_music_is_refused_and_nothing_is_published(library, tmp_path):
    (tmp_path / "broken.mp3").write_bytes(b"\x00" * 5000)
    with pytest.raises(MediaError):
        run_app(library, "promo", {"length": 4, "music": str(tmp_path / "broken.mp3")}, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.mp4"))


def test_a_script_longer_than_the_time_is_refused_before_rendering(library, tmp_path):
    with pytest.raises(UsageError) as caught:
        run_app(library, "promo", {"length": 4, "script": "很长的文案。" * 60}, tmp_path)
    assert caught.value.code == "promo.script_too_long"


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": 0},
        {"length": 1e9},
        {"length": float("nan")},
        {"format": ("3:2",)},
        {"format": ()},
        {"lines": 4000},
        {"unknown": 1},
        {"seed": -1},
        {"query": "x" * 1000},
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(wrong):
    with pytest.raises(UsageError) as caught:
        read_request(app_named("promo"), wrong)
    assert caught.value.values["field"].startswith(next(iter(wrong)))


@pytest.mark.parametrize(
    "change",
    [
        lambda board: board.update(kind="other"),
        lambda board: board["shots"].clear(),
        lambda board: board["shots"][0].update(clip="../../etc/passwd"),
        lambda board: board["shots"][0].update(frames=-3),
        lambda board: board["shots"][0].update(from_s=1e300),
        lambda board: board.update(rate=0),
        lambda board: board.update(formats=["1:1", "9:9"]),
        lambda board: board.update(evil=True),
    ],
)
def test_a_storyboard_that_makes_no_sense_is_refused(library, made, tmp_path, change):
    board = json.loads((made[0] / "storyboard.json").read_text("utf-8"))
    change(board)
    (tmp_path / "bad.json").write_text(json.dumps(board), "utf-8")
    with pytest.raises(UsageError) as caught:
        run_app(library, "promo", {"board": str(tmp_path / "bad.json")}, tmp_path / "out")
    assert caught.value.code == "promo.bad_board"


def test_a_shot_beyond_its_clip_is_named(library, made, tmp_path):
    board = json.loads((made[0] / "storyboard.json").read_text("utf-8"))
    board["shots"][0]["from_s"] += 30
    (tmp_path / "far.json").write_text(json.dumps(board), "utf-8")
    with pytest.raises(UsageError) as caught:
        run_app(library, "promo", {"board": str(tmp_path / "far.json")}, tmp_path / "out")
    assert caught.value.values["clip"] == board["shots"][0]["clip"][:12]


def test_a_storyboard_that_is_no_json_is_refused(library, tmp_path):
    (tmp_path / "bad.json").write_text("[" * 5000)
    with pytest.raises(UsageError):
        run_app(library, "promo", {"board": str(tmp_path / "bad.json")}, tmp_path / "out")
    with pytest.raises(NotFound):
        run_app(library, "promo", {"board": str(tmp_path / "none.json")}, tmp_path / "out")


def test_a_clip_taken_back_between_storyboard_and_render_stops_it_by_name(tmp_path):
    ws = make_library(tmp_path)
    run_app(ws, "promo", {"length": 5, "plan_only": True}, tmp_path / "plan")
    board = json.loads((tmp_path / "plan" / "storyboard.json").read_text("utf-8"))
    row = ws.library.clip(board["shots"][1]["clip"])
    withdraw_asset(ws, row.clip.asset_id, "owner's wish")
    with pytest.raises(NotGranted) as caught:
        run_app(ws, "promo", {"board": str(tmp_path / "plan" / "storyboard.json")}, tmp_path / "out")
    withdrawn = {
        shot["clip"][:12] for shot in board["shots"] if ws.library.clip(shot["clip"]).clip.asset_id == row.clip.asset_id
    }
    assert caught.value.values["what"] in withdrawn
    assert not list((tmp_path / "out").glob("*.mp4"))


def test_footage_without_the_right_to_publish_is_never_picked(tmp_path):
    ws = Workspace.create(tmp_path / "ws")
    (tmp_path / "terms.toml").write_text('uses = ["retrieve", "derive"]\n')
    film = draw_film(tmp_path / "film.mp4", (80, 80), size=(320, 180))
    add_assets(ws, [film.path], owner="湖南台", terms=load_terms(tmp_path / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    with pytest.raises(NotFound) as caught:
        run_app(ws, "promo", {"length": 3}, tmp_path / "out")
    assert caught.value.code == "promo.no_footage"


def test_every_app_has_a_card_in_both_languages():
    for app in all_apps():
        for lang in ("zh", "en"):
            assert app.card.title(lang)
            assert app.card.summary(lang)


@pytest.mark.parametrize("field", ["music", "voice", "board"])
def test_nobody_but_an_operator_names_files_of_this_machine(library, tmp_path, field):
    stranger = Caller("p1", frozenset({"buyer"}), "key")
    with pytest.raises(NotGranted) as caught:
        prepare(library, "promo", {field: "/etc/passwd"}, caller=stranger)
    assert caught.value.code == "app.no_files"
