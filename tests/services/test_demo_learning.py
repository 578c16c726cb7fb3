"""The lesson of the demo, on the demo's own films as they are known, without drawing them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from malan.cli.demo import _learn
from malan.core import Asset, Clip, Span, Track
from malan.core.errors import Rejected
from malan.core.ids import digest_record
from malan.rights.terms import party_id, read_terms
from malan.services.access import COMMAND_LINE
from malan.services.clips.labels import label_sets
from malan.services.clips.tagging import apply_model
from malan.services.clips.trace import trace_clip
from malan.services.clips.where import condition
from malan.services.datasets.freezing import show_snapshot
from malan.services.demo.films import ARCHIVE, FILMS, STUDIO, TERMS, Film
from malan.services.demo.learning import (
    _PLACES,
    LABEL_SET,
    MODEL,
    UNLABELLED,
    _spans,
    agree,
    drawn_truth,
    freeze_lesson,
    label_drawn,
    share_right,
    train,
)
from malan.services.demo.scenes import SCENES
from malan.services.footage.owners import remember_owner, remember_terms
from malan.services.journal import record
from malan.services.log.facts import unlogged
from malan.services.runs import checks as run_checks
from malan.store.features import LOOK_WIDTH
from malan.store.rows import AssetRow, Location, ScanRows
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    for owner in (ARCHIVE, STUDIO):
        remember_owner(ws, owner)
    for film in FILMS:
        if not film.is_broken:
            store(ws, film)
    yield ws
    ws.database.dispose()


def store(ws: Workspace, film: Film) -> None:
    """A film as a scan would know it: its shots, each with the look of its place."""
    terms = remember_terms(ws, read_terms(tomllib.loads(TERMS[film.owner]), film.owner, "demo", "demo"))
    base, asset_id = Fraction(1, film.rate), digest_record("film", [film.name])
    clips = {Clip(asset_id, 0, Span(first, end, base)): shot for first, end, shot in _spans(film)}
    looks = np.random.default_rng(5).standard_normal((3, LOOK_WIDTH))
    rng = np.random.default_rng(len(film.name))
    found = {}
    for clip, shot in clips.items():
        look = looks[sorted(set(_PLACES.values())).index(_PLACES[shot.scene])] + 0.8 * rng.standard_normal(LOOK_WIDTH)
        found[clip.id] = (look / np.linalg.norm(look)).astype(np.float32)
    track = Track(0, "video", "h264", base, 0, film.frame_count, width_px=640, height_px=360)
    asset = Asset(asset_id, 1, "mp4", film.frame_count * base, (track,), party_id(film.owner), terms)
    ws.library.put_assets([AssetRow(asset, locations=(Location(f"/films/{film.name}", 1, 1),))])
    ws.library.put_scan(ScanRows(asset_id, {"scan": "1"}, tuple(clips), descriptors=found))
    record(ws, unlogged(ws, [asset], with_terms=True))


def test_every_scene_of_the_demo_has_a_place() -> None:
    assert {shot.scene for film in FILMS for shot in film.shots} <= _PLACES.keys()
    assert SCENES.keys() == _PLACES.keys()


def test_the_person_labels_all_films_but_two(ws: Workspace) -> None:
    truth = drawn_truth(ws)
    assert len(truth.unlabelled) == sum(len(film.shots) for film in FILMS if film.name in UNLABELLED)
    label_drawn(ws, truth, caller=COMMAND_LINE)
    [shown] = label_sets(ws)
    assert sum(shown.clips_by_label.values()) == len(truth.labelled)
    assert set(shown.clips_by_label) == {"city", "indoor", "nature"}


def test_the_lesson_goes_from_labels_to_owners(ws: Workspace) -> None:
    truth = drawn_truth(ws)
    label_drawn(ws, truth, caller=COMMAND_LINE)
    frozen = freeze_lesson(ws, truth, caller=COMMAND_LINE)
    entries = show_snapshot(ws, frozen.saved.snapshot.id)[1].entries
    held = {(entry.split, truth.labelled[entry.clip]) for entry in entries if entry.clip in truth.labelled}
    assert held == {(part, place) for part in ("train", "test") for place in ("city", "indoor", "nature")}
    grant = agree(ws, frozen.saved.snapshot.id, "places", caller=COMMAND_LINE)
    assert agree(ws, frozen.saved.snapshot.id, "places", caller=COMMAND_LINE) == grant
    run = train(ws, grant)
    assert (run.state, run.ran["level"]) == ("released", "sandbox")
    apply_model(ws, MODEL, condition(""))
    right, count = share_right(ws, truth.unlabelled)
    assert right >= count * 2 / 3
    clip = next(iter(truth.unlabelled))
    [tag] = trace_clip(ws, clip.id, LABEL_SET).tags
    assert tag.model is not None
    assert set(tag.model.model.shares) == {party_id(ARCHIVE), party_id(STUDIO)}
    assert sum(tag.model.model.shares.values()) == 1


def test_where_nothing_can_be_shut_in_one_line_says_so(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none_here() -> str:
        raise Rejected("sandbox.no_bubblewrap")

    monkeypatch.setattr(run_checks, "reached_level", none_here)
    _learn(ws)
    *_, last = capsys.readouterr().out.splitlines()
    assert "apt-get install bubblewrap" in last


def test_the_lesson_is_told_step_by_step_and_not_given_twice(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    _learn(ws)
    told = capsys.readouterr().out
    for part in ("said of", "signed grant", "level sandbox", "The gate let", "tagged", "footage of 湘江影像资料馆"):
        assert part in told
    _learn(ws)
    assert "is still here" in capsys.readouterr().out
