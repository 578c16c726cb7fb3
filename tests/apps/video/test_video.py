"""From a description to a film: every frame has an owner, nothing is shown that does not fit, a plan is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
from media_factory import draw_film, read_number

from malan.apps.promo.board import Shot
from malan.apps.running import run_app
from malan.apps.video.plan import _in_order
from malan.core.errors import NotFound, NotGranted, UsageError
from malan.rights import load_terms
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.outputs.manifests import trace_output
from malan.workspace import Workspace

FILMS = {"张家界云海": "湖南台", "橘子洲日出": "湖南台", "岳麓山红叶": "橘洲工作室"}


def make_library(root: Path) -> Workspace:
    """Three films, named for what they show; two owners."""
    ws = Workspace.create(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    options = {"preset": "veryfast", "g": "50"}
    for number, (name, owner) in enumerate(FILMS.items()):
        film = draw_film(root / f"{name}.mp4", (50,) * 4, size=(320, 180), options=options, audio=True, seed=7 * number)
        add_assets(ws, [film.path], owner=owner, terms=load_terms(root / "terms.toml", owner))
    scan_assets(ws, captions=False)
    return ws


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_library(tmp_path_factory.mktemp("video"))


def board_of(out: Path) -> dict:
    return json.loads((out / "storyboard.json").read_text("utf-8"))


def files_shown(ws: Workspace, board: dict) -> list[str]:
    return [ws.library.clip(shot["clip"]).file_name for shot in board["shots"]]


def test_each_part_of_the_description_is_shown_in_its_turn(library, tmp_path):
    told = run_app(
        library, "video", {"prompt": "云海，然后是日出，最后红叶", "seconds": 6, "plan_only": True}, tmp_path
    )[1]
    shown = files_shown(library, board_of(tmp_path))
    assert list(dict.fromkeys(shown)) == list(FILMS)
    assert told["seconds"] == 6
    assert told["planner"] == "rules"


def test_every_frame_of_the_film_has_its_owner_and_is_the_frame_that_is_named(library, tmp_path):
    asked = {"prompt": "红叶，云海", "seconds": 4, "lines": 360}
    run_app(library, "video", asked, tmp_path)
    said = json.loads((tmp_path / "frames.json").read_text("utf-8"))
    with av.open(str(tmp_path / "video-16x9.mp4")) as film:
        numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    assert said["frames"] == len(numbers) == 4 * said["rate"]
    at = 0
    for run in said["runs"]:
        assert run["frame"] == at
        assert run["owner"]
        first = round(run["from_s"] * said["rate"])
        assert abs(numbers[at] - first) <= 1
        assert numbers[at : at + run["frames"]] == list(range(numbers[at], numbers[at] + run["frames"]))
        at += run["frames"]
    assert at == len(numbers)
    owners = {one.owner for one in trace_output(library, str(tmp_path / "video-16x9.mp4")).sources}
    assert owners == {"湖南台", "橘洲工作室"}


def test_a_phrase_no_clip_has_is_looked_for_in_its_parts(library, tmp_path):
    told = run_app(library, "video", {"prompt": "壮美岳麓山秋色", "seconds": 3, "plan_only": True}, tmp_path)[1]
    assert set(files_shown(library, board_of(tmp_path))) == {"岳麓山红叶"}
    assert told["shots"] >= 1


def test_what_nothing_shows_is_said_and_left_out(library, tmp_path):
    told = run_app(library, "video", {"prompt": "云海，然后是企鹅", "seconds": 3, "plan_only": True}, tmp_path)[1]
    assert set(files_shown(library, board_of(tmp_path))) == {"张家界云海"}
    assert any("企鹅" in note for note in told["notes"])


def test_where_nothing_fits_the_nearest_is_named_and_nothing_made(library, tmp_path):
    with pytest.raises(NotFound) as caught:
        run_app(library, "video", {"prompt": "南极的企鹅", "seconds": 3}, tmp_path)
    assert caught.value.code == "video.nothing"
    assert any(name in caught.value.message() for name in FILMS)
    assert not list(tmp_path.glob("*.mp4"))


def test_versions_show_other_footage(library, tmp_path):
    run_app(library, "video", {"prompt": "云海", "seconds": 2, "versions": 2, "plan_only": True}, tmp_path)
    first, second = (board_of(tmp_path / f"v{n}") for n in (1, 2))
    shown = [{shot["clip"] for shot in board["shots"]} for board in (first, second)]
    assert shown[0].isdisjoint(shown[1])
    assert (tmp_path / "storyboards.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_a_version_that_would_be_an_earlier_one_again_is_not_made(library, tmp_path):
    asked = {"prompt": "红叶", "seconds": 1.5, "versions": 6, "plan_only": True}
    told = run_app(library, "video", asked, tmp_path)[1]
    shown = [[(shot["clip"], shot["from_s"]) for shot in board["shots"]] for board in told["boards"]]
    assert 1 <= told["versions"] < 6
    assert all(one != other for n, one in enumerate(shown) for other in shown[:n])
    assert f"{told['versions']} 个版本（要求 6 个）" in told["notes"][-1]


@pytest.mark.parametrize("asked", [{"seconds": 0.01}, {"prompt": "云海，10分钟"}, {"prompt": "0.2 s 云海"}])
def test_a_length_that_is_none_of_a_film_is_refused(library, tmp_path, asked):
    with pytest.raises(UsageError) as caught:
        run_app(library, "video", {"prompt": "云海", "plan_only": True, **asked}, tmp_path)
    assert caught.value.code == "video.length"
    assert not list(tmp_path.glob("*"))


def test_the_same_words_and_seed_give_the_same_storyboard(library, tmp_path):
    for name in ("a", "b"):
        run_app(library, "video", {"prompt": "云海 日出", "seconds": 4, "seed": 5, "plan_only": True}, tmp_path / name)
    assert board_of(tmp_path / "a") == board_of(tmp_path / "b")


def test_the_sentences_of_a_script_are_written_over_what_fits_them(library, tmp_path):
    script = "云海翻涌。橘子洲的日出。岳麓山红叶正好。"
    run_app(library, "video", {"prompt": "湖南", "script": script, "seconds": 6, "plan_only": True}, tmp_path)
    board = board_of(tmp_path)
    said = dict.fromkeys(shot["text"] for shot in board["shots"])
    assert list(said) == ["云海翻涌。", "橘子洲的日出。", "岳麓山红叶正好。"]
    for shot in board["shots"]:
        wanted = {"云海翻涌。": "张家界云海", "橘子洲的日出。": "橘子洲日出", "岳麓山红叶正好。": "岳麓山红叶"}
        assert library.library.clip(shot["clip"]).file_name == wanted[shot["text"]]


def test_an_edited_storyboard_is_rendered_as_it_stands(library, tmp_path):
    run_app(library, "video", {"prompt": "云海", "seconds": 3, "lines": 360, "plan_only": True}, tmp_path / "plan")
    board = board_of(tmp_path / "plan")
    board["shots"] = board["shots"][:1]
    (tmp_path / "edited.json").write_text(json.dumps(board), "utf-8")
    told = run_app(library, "video", {"board": str(tmp_path / "edited.json")}, tmp_path / "film")[1]
    assert told["shots"] == 1
    assert (tmp_path / "film" / "video-16x9.mp4").is_file()


@pytest.mark.parametrize("seconds", [-1, 36_000])
def test_impossible_lengths_are_refused(library, tmp_path, seconds):
    with pytest.raises(UsageError):
        run_app(library, "video", {"prompt": "云海", "seconds": seconds}, tmp_path)


def test_without_a_video_model_diffusion_says_so(library, tmp_path):
    with pytest.raises(UsageError) as caught:
        run_app(library, "video", {"prompt": "云海", "mode": "diffuse"}, tmp_path)
    assert caught.value.code == "video.no_engine"


def test_a_clip_that_was_taken_back_stops_the_film_and_is_named(tmp_path):
    ws = make_library(tmp_path)
    run_app(ws, "video", {"prompt": "红叶", "seconds": 3, "lines": 360, "plan_only": True}, tmp_path / "plan")
    clip = board_of(tmp_path / "plan")["shots"][0]["clip"]
    withdraw_asset(ws, ws.library.clip(clip).clip.asset_id, "contract ended")
    with pytest.raises((NotFound, NotGranted)) as caught:
        run_app(ws, "video", {"board": str(tmp_path / "plan" / "storyboard.json")}, tmp_path / "film")
    assert clip[:8] in caught.value.message()
    assert not list((tmp_path / "film").glob("*.mp4"))


def test_where_a_label_is_due_the_provider_is_asked_for_before_anything_is_rendered(library, tmp_path):
    with pytest.raises(UsageError) as caught:
        run_app(library, "video", {"prompt": "云海", "seconds": 3, "lines": 360, "bed": "钢琴"}, tmp_path)
    assert caught.value.code == "publish.no_producer"
    assert not list(tmp_path.glob("*.mp4")) + list(tmp_path.glob("*.m4a"))


# A language model plans -----------------------------------------------------------------------------------------------


class _Planner(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that answers with whatever its server was given."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        assert asked["stream"]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for piece in (self.server.says[:9], self.server.says[9:]):
            self._send({"index": 0, "delta": {"content": piece}, "finish_reason": None})
        self._send(
            {"index": 0, "delta": {}, "finish_reason": "stop"}, usage={"prompt_tokens": 9, "completion_tokens": 5}
        )
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, choice: dict, **more: object) -> None:
        said = {"id": "1", "object": "chat.completion.chunk", "choices": [choice], **more}
        self.wfile.write(b"data: " + json.dumps(said).encode() + b"\n\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def planner(library) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Planner)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = library.root / "models.toml"
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    place.write_text(f'[engines.planner]\nkind = "chat"\nbackend = "openai"\nurl = "{url}"\nmodel = "m"\n')
    yield server
    place.unlink()
    server.shutdown()
    server.server_close()


def test_a_configured_model_plans_the_shots(library, planner, tmp_path):
    planner.says = json.dumps({"shots": [{"words": ["红叶"]}, {"words": ["日出"], "weight": 2}]})
    told = run_app(library, "video", {"prompt": "湖南的秋天", "seconds": 4, "plan_only": True}, tmp_path)[1]
    assert told["planner"] == "planner"
    assert told["asked"] == [{"engine": "planner", "input": 9, "output": 5}]
    assert list(dict.fromkeys(files_shown(library, board_of(tmp_path)))) == ["岳麓山红叶", "橘子洲日出"]


def test_a_model_that_gives_no_plan_leaves_it_to_the_rules_and_that_is_said(library, planner, tmp_path):
    planner.says = "I am sorry, I cannot help with that."
    told = run_app(library, "video", {"prompt": "云海", "seconds": 3, "plan_only": True}, tmp_path)[1]
    assert told["planner"] == "rules"
    assert any("planner" in note for note in told["notes"])


def test_rules_can_be_asked_for(library, planner, tmp_path):
    planner.says = json.dumps({"shots": [{"words": ["红叶"]}]})
    asked = {"prompt": "云海", "seconds": 3, "planner": "rules", "plan_only": True}
    assert run_app(library, "video", asked, tmp_path)[1]["planner"] == "rules"


# Meaning --------------------------------------------------------------------------------------------------------------


def test_what_no_word_finds_is_found_by_meaning_and_that_is_said(tmp_path):
    """An encoder that knows colours: red shots for a word that stands in no caption or name."""
    from meaning_place import stored_colours, with_encoder

    from malan.services.clips.meaning import build_index

    ws = Workspace.create(tmp_path / "ws")
    clips = stored_colours(ws, [("red",), ("blue",), ("green",)], uses=("retrieve", "derive", "publish"))
    with_encoder(ws, tmp_path)
    build_index(ws, "eye")
    told = run_app(ws, "video", {"prompt": "red", "seconds": 1, "plan_only": True}, tmp_path / "out")[1]
    assert told["boards"][0]["shots"][0]["clip"] == clips[0]
    assert any("eye" in note for note in told["notes"])


def test_words_count_where_nothing_looks_as_wished(library, tmp_path):
    told = run_app(library, "video", {"prompt": "红叶夜景", "seconds": 2, "plan_only": True}, tmp_path)[1]
    assert told["shots"] >= 1


def test_too_little_footage_makes_a_shorter_film_where_no_length_was_asked_for(library, tmp_path):
    told = run_app(library, "video", {"prompt": "云海", "plan_only": True}, tmp_path)[1]
    board = board_of(tmp_path)
    length = sum(shot["frames"] for shot in board["shots"]) / board["rate"]
    assert 3 <= length < 10
    assert f"{length:g}" in told["lines"][-1]
    with pytest.raises(NotFound) as refused:
        run_app(library, "video", {"prompt": "云海", "seconds": 10, "plan_only": True}, tmp_path / "exact")
    assert refused.value.code == "promo.too_little"


def test_shots_of_one_clip_follow_each_other_as_they_were_filmed():
    def shot(clip: str, from_s: float) -> Shot:
        return Shot(clip=clip * 64, from_s=from_s, frames=10)

    ordered = _in_order([shot("a", 7.0), shot("a", 1.0), shot("b", 5.0), shot("a", 2.0)])
    assert [(one.clip[0], one.from_s) for one in ordered] == [("a", 1.0), ("a", 7.0), ("b", 5.0), ("a", 2.0)]
