"""From a picture to a labelled film: rights, digests, notes, formats, exact length; bad input is refused by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import av
import numpy as np
import pytest
from drawn_pictures import ball_before_hills, plain_texture, vase_on_a_plain_ground
from media_factory import draw_film
from PIL import Image

from malan.apps.builtin import app_named
from malan.apps.running import read_request, run_app
from malan.core.errors import MediaError, NotFound, NotGranted, StoreError, UsageError
from malan.ledger.statement import urn
from malan.rights import load_terms
from malan.services.access import Caller
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.journal import read_event
from malan.services.outputs.manifests import trace_output
from malan.workspace import Workspace

CODE = "001191110000802100433B10001"  # a well-formed code of an organisation that does not exist
QUICK = {"seconds": 1.0, "lines": 360}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A workspace with a film of one owner who allows it and one who does not; pictures beside it."""
    root = tmp_path_factory.mktemp("picture")
    (root / "ws").mkdir()
    (root / "ws" / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n', "utf-8")
    ws = Workspace(root / "ws")
    for owner, uses in (("湖南台", '["retrieve", "derive", "publish"]'), ("不给", '["retrieve"]')):
        (root / "terms.toml").write_text(f"uses = {uses}\n")
        film = draw_film(
            root / f"{owner}.mp4", (50,), size=(320, 180), options={"preset": "veryfast"}, seed=len(owner) + len(uses)
        ).path
        add_assets(ws, [film], owner=owner, terms=load_terms(root / "terms.toml", owner))
    scan_assets(ws, captions=False)
    pixels, depth = ball_before_hills(640, 480)
    Image.fromarray(pixels).save(root / "photo.jpg", quality=92)
    Image.fromarray((depth * 65_535).astype(np.uint16)).save(root / "depth.png")
    Image.fromarray(((depth > 0.8) * 255).astype(np.uint8)).save(root / "mask.png")
    Image.fromarray(plain_texture()).save(root / "texture.png")
    Image.fromarray(vase_on_a_plain_ground()[0]).save(root / "vase.png")
    return ws, root


def run(place, out, **asked):
    ws, root = place
    paths = {name: str(root / value) for name, value in asked.items() if name in ("file", "depth", "mask")}
    return run_app(ws, "picture", {**QUICK, **asked, **paths}, out)[1]


def clip_of(ws: Workspace, owner: str) -> str:
    rows = [clip for row in ws.library.assets() for clip in ws.library.clips(row.asset.id)]
    return next(clip.id for clip in rows if Path(clip.file_name).stem == owner)


@pytest.fixture(scope="module")
def made(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    told = run(place, out, file="photo.jpg", depth="depth.png", move="orbit", format=("16:9", "9:16"), rate=24)
    return out, told


def test_every_format_has_its_size_and_exactly_its_frames(made):
    out, told = made
    for name, size in (("16x9", (640, 360)), ("9x16", (360, 640))):
        with av.open(str(out / f"picture-{name}.mp4")) as film:
            stream = film.streams.video[0]
            assert (stream.width, stream.height) == size
            assert sum(1 for _ in film.decode(stream)) == 24
            assert stream.average_rate == 24
    assert (told["frames"], told["seconds"], told["mode"], told["engine"]) == (24, 1.0, "render", "malan-motion")
    assert told["cost"]["units"] == 2.0


def test_it_is_labelled_signed_and_logged_with_what_was_brought(place, made):
    from malan.media.credentials import read_credential
    from malan.media.labels import verify
    from malan.services.log.keys import media_chain

    (ws, root), (out, told) = place, made
    digests = [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in ("photo.jpg", "depth.png")]
    assert told["brought"] == digests
    film = out / "picture-16x9.mp4"
    assert verify(film).verdict == "compliant"
    assert read_credential(film, [media_chain(ws).root_pem]).state == "trusted"
    event = next(one["event"] for one in told["files"] if one["what"] == "16x9")
    inputs = {one.urn for one in read_event(ws, event).statement.inputs}
    assert {urn("asset", digest) for digest in digests} <= inputs
    assert trace_output(ws, str(film)).sources == ()


def test_notes_tell_which_way_was_taken(place, made, tmp_path):
    assert made[1]["relief"] == {"from": "depth", "confidence": 1.0}
    assert "map that was given" in made[1]["notes"][0]
    found = run(place, tmp_path / "b", file="vase.png")
    assert (found["relief"]["from"], found["films"][0]["move"]) == ("subject", "orbit")
    plain = run(place, tmp_path / "c", file="texture.png", move="orbit")
    assert (plain["relief"]["from"], plain["films"][0]["layers"]) == ("flat", 1)
    assert plain["relief"]["confidence"] < 0.72
    assert "plain move instead" in plain["notes"][0]


def test_a_frame_of_the_library_leads_back_to_its_owner(place, tmp_path):
    ws, _ = place
    clip = clip_of(ws, "湖南台")
    told = run(place, tmp_path, clip=clip, at=0.8, move="push")
    [source] = told["sources"]
    assert (source["clip"], source["from_s"], source["until_s"]) == (clip, 0.0, 1.0)
    assert source["at_s"] == pytest.approx(0.8, abs=0.03)
    [traced] = trace_output(ws, str(tmp_path / "picture-16x9.mp4")).sources
    assert traced.owner == "湖南台"
    assert traced.source.until_s == 1


def test_a_frame_whose_owner_does_not_allow_it_is_refused(place, tmp_path):
    ws, _ = place
    with pytest.raises(NotGranted):
        run(place, tmp_path, clip=clip_of(ws, "不给"))
    assert not list(tmp_path.glob("*.mp4"))


def test_bytes_the_library_knows_have_an_owner_whoever_brings_them(place, tmp_path, monkeypatch):
    """A picture that is somebody's asset is asked for by its owner's terms, also as a file."""
    ws, root = place
    (root / "terms.toml").write_text('uses = ["retrieve"]\n')
    Image.fromarray(plain_texture(200, 160)).save(root / "theirs.png")
    add_assets(ws, [root / "theirs.png"], owner="不给", terms=load_terms(root / "terms.toml", "不给"))
    with pytest.raises(NotGranted):
        run(place, tmp_path, file="theirs.png")


def test_whoever_does_not_run_the_machine_may_not_name_its_files(place, tmp_path):
    ws, root = place
    someone = Caller("somebody", frozenset({"buyer"}), "key")
    with pytest.raises(NotGranted):
        run_app(ws, "picture", {"file": str(root / "photo.jpg")}, tmp_path, caller=someone)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, "picture.which"),
        ({"file": "photo.jpg", "clip": "x"}, "picture.which"),
        ({"file": "photo.jpg", "depth": "depth.png", "mask": "mask.png"}, "picture.two_maps"),
        ({"file": "photo.jpg", "seconds": 0}, "app.bad_request"),
        ({"file": "photo.jpg", "seconds": 36_000}, "app.bad_request"),
        ({"file": "photo.jpg", "move": "spin"}, "app.bad_request"),
        ({"file": "photo.jpg", "mode": "diffuse"}, "picture.no_engine"),
        ({"file": "photo.jpg", "mode": "diffuse", "seconds": 31}, "picture.diffuse_length"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(place, tmp_path, asked, code):
    with pytest.raises(UsageError) as refused:
        run(place, tmp_path, **asked)
    assert refused.value.code == code
    assert not list(tmp_path.glob("*.mp4"))


def test_what_is_no_picture_is_refused_and_leaves_nothing(place, tmp_path):
    _, root = place
    (root / "words.jpg").write_text("不是图片")
    for name, kind in (("words.jpg", MediaError), ("湖南台.mp4", MediaError), ("none.jpg", NotFound)):
        with pytest.raises(kind):
            run(place, tmp_path, file=name)
    with pytest.raises(MediaError):
        run(place, tmp_path, file="photo.jpg", depth="words.jpg")
    assert not list(tmp_path.iterdir())


def test_a_moment_outside_the_clip_is_refused(place, tmp_path):
    ws, _ = place
    with pytest.raises(UsageError) as refused:
        run(place, tmp_path, clip=clip_of(ws, "湖南台"), at=99)
    assert refused.value.code == "picture.beyond_clip"


def test_a_stop_and_a_full_disk_leave_nothing(place, tmp_path, monkeypatch):
    import malan.media.motion.film as film

    ws, root = place

    class Stopped(Exception):
        pass

    def stop():
        raise Stopped

    asked = {**QUICK, "file": str(root / "photo.jpg")}
    with pytest.raises(Stopped):
        run_app(ws, "picture", asked, tmp_path, stop_if_asked=stop)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(film, "_target", lambda work: "/dev/full")
    with pytest.raises(StoreError):
        run_app(ws, "picture", asked, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_same_request_shows_the_same_pictures(place, tmp_path):
    seen = []
    for number in range(2):
        run(place, tmp_path / str(number), file="photo.jpg", move="drift-mist", seed=3)
        with av.open(str(tmp_path / str(number) / "picture-16x9.mp4")) as film:
            seen.append([frame.to_ndarray(format="gray8").sum() for frame in film.decode(video=0)])
    assert seen[0] == seen[1]


def test_the_card_tells_what_it_costs_and_the_report_is_json(made):
    app = app_named("picture")
    assert (app.card.mode, app.card.meter) == ("render", "output_second")
    assert read_request(app, {"file": "a.jpg"}).frames == 125
    assert json.loads((made[0] / "report.json").read_text("utf-8"))["app"] == "picture"


class DrawnDepth:
    """A depth model that knows the drawing."""

    kind = "depth"

    def depth(self, picture):
        return np.linspace(0, 1, picture.shape[0], dtype=np.float32)[:, None] + np.zeros(picture.shape[:2], np.float32)

    def close(self):
        pass


class FramesOfTheFirst:
    """A video model that moves the picture it was given sideways."""

    kind = "video"

    def film(self, ask, *, tell, stop):
        from malan.inference.backends import Film

        tell(1, 1)
        stop()
        return Film(np.stack([np.roll(ask.image_HWC, n, axis=1) for n in range(ask.frames)]), 16.0)

    def close(self):
        pass


@pytest.fixture
def engines(place, monkeypatch):
    """Both in `models.toml`, opened by a backend of the tests."""
    from malan.services.engines import opening as opened

    ws, _ = place
    kinds = {"depth": DrawnDepth, "video": FramesOfTheFirst}
    backend = opened.Backend("builtins:object", frozenset(kinds), needs_weights=False)
    monkeypatch.setattr(opened.Backend, "open", lambda _, opening: kinds[opening.kind]())
    monkeypatch.setattr(opened, "BACKENDS", {**opened.BACKENDS, "drawn": backend})
    rows = "".join(f'[engines.{name}]\nkind = "{name}"\nbackend = "drawn"\n' for name in kinds)
    (ws.root / "models.toml").write_text(rows, "utf-8")
    yield
    (ws.root / "models.toml").unlink()


@pytest.mark.usefixtures("engines")
def test_a_depth_model_is_asked_where_there_is_one(place, tmp_path):
    told = run(place, tmp_path, file="photo.jpg", move="push")
    assert (told["relief"]["from"], told["engine"]) == ("model", "depth")


@pytest.mark.usefixtures("engines")
def test_a_video_model_makes_a_film_exact_to_the_frame(place, tmp_path):
    told = run(place, tmp_path, file="photo.jpg", mode="diffuse", format=("1:1",), rate=30, seconds=1.0)
    assert (told["mode"], told["engine"]) == ("diffuse", "video")
    with av.open(str(tmp_path / "picture-1x1.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 30
    event = told["files"][0]["event"]
    assert read_event(place[0], event).statement.facts["mode"] == "diffuse"


def test_a_picture_that_was_stored_turned(place, footage, tmp_path):
    ws, _ = place
    asked = {**QUICK, "seconds": 0.5, "file": str(footage / "photos" / "portrait-orientation-6.jpg")}
    told = run_app(ws, "picture", asked, tmp_path)[1]
    assert (told["picture"]["width"], told["picture"]["height"]) == (840, 700)
