"""What AI made is never published without its labels; everything published is signed, logged and leads back."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media_factory import draw_film, read_number

from malan.core.errors import NotGranted, ProofError, UsageError
from malan.media.credentials import read_credential
from malan.media.labels import label_of, verify
from malan.rights import load_terms
from malan.services.clips.exports import export_clips
from malan.services.clips.where import condition
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.journal import read_event
from malan.services.log.keys import init_keys, show_keys
from malan.services.log.reading import verify_log
from malan.services.outputs import publish as publish_service
from malan.services.outputs.manifests import Source, trace_output
from malan.services.outputs.publish import AiPart, Draft, publish
from malan.workspace import Workspace

CODE = "001191110000802100433B10001"  # a well-formed code of an organisation that does not exist


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Path]:
    root = tmp_path_factory.mktemp("publish")
    (root / "ws").mkdir()
    (root / "ws" / "malan.toml").write_text(f'organisation = "湖南台"\nproducer_code = "{CODE}"\n', "utf-8")
    ws = Workspace(root / "ws")
    film = draw_film(root / "film.mp4", (40, 60), size=(320, 180), options={"preset": "veryfast"}, audio=True).path
    (root / "terms.toml").write_text('uses = ["retrieve", "export", "publish", "train"]\n')
    add_assets(ws, [film], owner="湖南台", terms=load_terms(root / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    return ws, film


def draft(ws: Workspace, **changes) -> Draft:
    row = next(iter(ws.library.matching(condition(""))))
    source = Source(row.clip, row.owner_id, row.terms_id, Fraction(0), row.span.duration)
    return Draft(**{"app": "test", "mode": "diffuse", "title": "云海", "sources": (source,), **changes})


def copy_of(film: Path):
    return lambda out: out.write_bytes(film.read_bytes())


@pytest.fixture(scope="module")
def published(library, tmp_path_factory):
    ws, film = library
    out = tmp_path_factory.mktemp("out") / "clouds.mp4"
    return ws, publish(ws, draft(ws, ai=AiPart("generated")), copy_of(film), out)


def test_a_file_ai_made_carries_both_labels_and_a_credential(published):
    ws, made = published
    verdict = verify(made.path)
    assert verdict.verdict == "compliant"
    assert label_of(verdict).produce_id == made.produce_id
    report = read_credential(made.path, [show_keys(ws).media_root_pem])
    assert (report.state, report.ai_generated) == ("trusted", True)
    assert report.training_mining["ai_generative_training"] == "notAllowed"
    assert report.training_mining["ai_training"] == "constrained"  # by a recipe, in a sandbox


def test_the_label_names_the_intent_that_was_logged_before(published):
    ws, made = published
    intent = read_event(ws, made.intent_event)
    assert intent.statement.id == made.produce_id
    assert made.intent_event < made.event
    assert intent.statement.subjects[0].urn in read_event(ws, made.event).statement.urns


def test_a_published_file_leads_back_second_by_second(published):
    ws, made = published
    trace = trace_output(ws, str(made.path))
    assert [one.owner for one in trace.sources] == ["湖南台"]


def test_the_opening_shows_the_label_and_the_rest_is_untouched(published):
    _, made = published
    with av.open(str(made.path)) as container:
        numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert numbers == list(range(100))


def test_an_exported_clip_is_signed_and_carries_no_ai_label(library, tmp_path):
    ws, _ = library
    clip = next(iter(ws.library.matching(condition("")))).id
    path = export_clips(ws, [clip], tmp_path)[0].path
    report = read_credential(path, [show_keys(ws).media_root_pem])
    assert (report.state, report.ai_generated, report.producer) == ("trusted", False, "湖南台")
    assert verify(path).verdict == "not_found"


def test_without_a_provider_code_nothing_ai_made_is_published(tmp_path, library):
    ws, film = library
    bare = Workspace.create(tmp_path / "bare")
    init_keys(bare)
    with pytest.raises(UsageError, match="provider code"):
        publish(bare, draft(ws, ai=AiPart("generated"), sources=()), copy_of(film), tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("name", "code", "text"), [("clouds.gif", CODE, ""), ("clouds.mp4", "0" * 27, ""), ("clouds.mp4", CODE, "云海")]
)
def test_what_cannot_be_labelled_is_refused_before_it_is_made(library, tmp_path, monkeypatch, name, code, text):
    ws, _ = library
    monkeypatch.setattr(ws, "settings", replace(ws.settings, producer_code=code))
    before = ws.log.reader.size

    def render(out: Path) -> None:
        raise AssertionError("rendered")

    with pytest.raises(UsageError):
        publish(ws, draft(ws, ai=AiPart("generated", text=text)), render, tmp_path / name)
    assert ws.log.reader.size == before


def test_what_has_no_footage_in_it_is_published_too(library, tmp_path):
    ws, film = library
    made = publish(ws, draft(ws, sources=(), ai=AiPart("generated")), copy_of(film), tmp_path / "dream.mp4")
    assert trace_output(ws, str(made.path)).sources == ()
    assert verify_log(ws).is_whole


def test_what_a_killed_process_left_is_deleted_by_the_next(library, tmp_path):
    ws, film = library
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    old = [tmp_path / f".malan-{gone.pid}-{rest}" for rest in ("1f618b3a869cbeeb.part", "4ff5351c-work.mp4")]
    kept = [
        tmp_path / f".malan-{os.getpid()}-1f.part",
        tmp_path / ".malan-notes",
        tmp_path / f".malan-{gone.pid}-2f.part",
    ]
    for path in (*old, *kept):
        path.write_bytes(b"half a film")
    for path in (*old, *kept[:2]):
        os.utime(path, (0, 0))
    publish(ws, draft(ws), copy_of(film), tmp_path / "clouds.mp4")
    assert {path.name for path in tmp_path.iterdir()} == {"clouds.mp4", *(path.name for path in kept)}


def test_a_source_that_may_not_be_used_so_stops_it_before_anything_is_made(library, tmp_path):
    ws, _ = library
    with pytest.raises(NotGranted):
        publish(ws, draft(ws, ai=AiPart("generated"), use="generative_train"), _never, tmp_path / "out.mp4")


def _never(_path: Path) -> None:
    raise AssertionError("rendered without rights")


@pytest.mark.parametrize("lost", ["_sign", "_label"])
def test_what_does_not_read_back_is_not_published(library, tmp_path, monkeypatch, lost):
    ws, film = library
    monkeypatch.setattr(publish_service, lost, lambda *_: "019aa000-0000-7000-8000-000000000000")
    before = len(list(tmp_path.iterdir()))
    with pytest.raises(ProofError, match="read back"):
        publish(ws, draft(ws, ai=AiPart("generated")), copy_of(film), tmp_path / "out.mp4")
    assert len(list(tmp_path.iterdir())) == before


def test_a_failure_while_rendering_leaves_nothing_and_logs_no_output(library, tmp_path):
    ws, _ = library
    published = ws.log.find("media.publish")

    def fail(out: Path) -> None:
        out.write_bytes(b"half")
        raise ProofError("publish.read_back", what="test", detail="failed")

    with pytest.raises(ProofError):
        publish(ws, draft(ws), fail, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []
    assert ws.log.find("media.publish") == published


@pytest.mark.parametrize("name", ["still.png", "still.jpg", "sound.wav"])
def test_pictures_and_sound_are_published_the_same_way(library, tmp_path, name):
    ws, _ = library
    made = publish(ws, draft(ws, ai=AiPart("composite")), DRAW[Path(name).suffix], tmp_path / name)
    assert verify(made.path).verdict == "compliant"
    assert made.has_credential


def _picture(out: Path) -> None:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (640, 360), (40, 90, 120))
    ImageDraw.Draw(image).ellipse((200, 80, 440, 300), fill=(200, 180, 60))
    image.save(out, quality=92)


def _sound(out: Path) -> None:
    import wave

    import numpy as np

    tone = (np.sin(np.arange(48_000 * 3) * 0.05) * 8000).astype("<i2")
    with wave.open(str(out), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(tone.tobytes())


DRAW = {".png": _picture, ".jpg": _picture, ".wav": _sound}
