"""Shots are found by what they mean, within what the terms allow, one index a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from onnx_factory import COLOURS
from services.meaning_place import OWNER, a_picture, stored_colours, with_encoder

from malan.core.errors import MediaError, NotFound, NotGranted, UsageError
from malan.services.access import BUYER, COMMAND_LINE, Caller
from malan.services.accounts.parties import add_party
from malan.services.clips.meaning import (
    MeaningAsk,
    build_index,
    drop_index,
    encoders,
    find_meaning,
    list_indexes,
    ready_encoder,
)
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.models.rights import retire_model
from malan.store.query import ClipQuery
from malan.workspace import Workspace

pytest.importorskip("tokenizers")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


@pytest.fixture
def clips(ws: Workspace, tmp_path: Path) -> list[str]:
    """One shot a colour, indexed."""
    with_encoder(ws, tmp_path)
    made = stored_colours(ws, [(name,) for name in COLOURS])
    build_index(ws)
    return made


@dataclass(frozen=True)
class Place:
    """One shot a colour, indexed; only looked at."""

    ws: Workspace
    clips: list[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("meaning")
    ws = Workspace.create(root / "workspace")
    with_encoder(ws, root)
    clips = stored_colours(ws, [(name,) for name in COLOURS])
    build_index(ws)
    yield Place(ws, clips)
    ws.database.dispose()


def best(ws: Workspace, **ask: object) -> list[str]:
    page = find_meaning(ws, ClipQuery(limit=3), MeaningAsk(**ask))  # type: ignore[arg-type]
    return [hit.row.id for hit in page.hits]


def test_a_text_finds_the_shot_it_means_in_both_languages(place: Place) -> None:
    ws, clips = place.ws, place.clips
    order = list(COLOURS)
    assert best(ws, text="a crimson wall")[0] == clips[order.index("red")]
    assert best(ws, text="蓝色的海")[0] == clips[order.index("blue")]


def test_a_picture_finds_the_shot_like_it(place: Place, tmp_path: Path) -> None:
    ws, clips = place.ws, place.clips
    photo = a_picture(tmp_path / "photo.png", "purple", "purple", "white")
    assert best(ws, picture=photo)[0] == clips[list(COLOURS).index("purple")]


def test_a_clip_finds_others_like_it_and_not_itself(ws: Workspace, clips: list[str]) -> None:
    more = stored_colours(ws, [("orange", "orange", "black"), ("green",)], name="two")
    build_index(ws)
    found = best(ws, clip=clips[list(COLOURS).index("orange")])
    assert found[0] == more[0]
    assert clips[list(COLOURS).index("orange")] not in found


def test_words_and_meaning_come_together(ws: Workspace, tmp_path: Path) -> None:
    with_encoder(ws, tmp_path)
    shots = [("red",), ("blue",), ("red", "red", "white"), ("red", "white"), ("red", "black")]
    clips = stored_colours(ws, shots, captions={1: "red lantern", 2: "red lantern"})
    build_index(ws)
    page = find_meaning(ws, ClipQuery(), MeaningAsk("red lantern"))
    assert page.hits[0].row.id == clips[2]  # both say so
    assert {hit.row.id for hit in page.hits} == set(clips)
    assert page.hits[0].evidence


def test_a_search_keeps_to_what_the_filters_say(ws: Workspace, clips: list[str]) -> None:
    stored_colours(ws, [("red",)], name="two")
    build_index(ws)
    asset = ws.library.clip(clips[0]).clip.asset_id
    page = find_meaning(ws, ClipQuery(asset_ids=(asset,)), MeaningAsk("red"))
    assert {hit.row.clip.asset_id for hit in page.hits} == {asset}


def test_pages_follow_one_another_without_holes(place: Place) -> None:
    ws, clips = place.ws, place.clips
    query, seen = ClipQuery(limit=3), []
    while True:
        page = find_meaning(ws, query, MeaningAsk("red"))
        seen += [hit.row.id for hit in page.hits]
        if page.next_offset is None:
            break
        query = replace(query, offset=page.next_offset)
    assert sorted(seen) == sorted(clips)


def test_what_the_terms_do_not_allow_is_not_found(ws: Workspace, clips: list[str]) -> None:
    hidden = stored_colours(ws, [("red",)], name="hidden", uses=("train",))
    build_index(ws)
    assert hidden[0] not in best(ws, text="red")
    with pytest.raises(NotGranted):
        best(ws, clip=hidden[0])


def test_clips_withdrawn_after_indexing_are_gone_at_once_and_then_from_the_index(
    ws: Workspace, clips: list[str]
) -> None:
    gone = stored_colours(ws, [("red",), ("blue",)], name="gone")
    assert build_index(ws).added == 2
    withdraw_asset(ws, ws.library.clip(gone[0]).clip.asset_id, "sold")
    assert not set(gone) & set(best(ws, text="red"))
    report = build_index(ws)
    assert (report.removed, report.total) == (2, len(clips))


def test_an_index_grows_only_by_what_is_new(ws: Workspace, clips: list[str]) -> None:
    assert build_index(ws).added == 0
    stored_colours(ws, [("white",)], name="two")
    report = build_index(ws)
    assert (report.added, report.total) == (1, len(clips) + 1)


def test_an_indexing_that_was_stopped_goes_on(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_encoder(ws, tmp_path)
    stored_colours(ws, [("red",)] * 9)
    monkeypatch.setattr("malan.services.clips.meaning._BATCH", 4)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(ws, progress=stop)
    assert list_indexes(ws)[0].clips == 4
    assert build_index(ws).added == 5


def test_two_models_have_two_indexes_side_by_side(ws: Workspace, clips: list[str], tmp_path: Path) -> None:
    with_encoder(ws, tmp_path, name="other", side=16)
    assert encoders(ws) == ("eye", "other")
    assert build_index(ws, "other").total == len(clips)
    assert [(one.engine, one.clips) for one in sorted(list_indexes(ws), key=lambda one: one.engine)] == [
        ("eye", len(clips)), ("other", len(clips)),
    ]  # fmt: skip
    drop_index(ws, "eye")
    assert [one.engine for one in list_indexes(ws)] == ["other"]
    assert ready_encoder(ws) == "other"
    with pytest.raises(NotFound):
        find_meaning(ws, ClipQuery(), MeaningAsk("red"), engine="eye")


def test_an_index_made_anew_holds_the_same(ws: Workspace, clips: list[str]) -> None:
    assert build_index(ws, rebuild=True).added == len(clips)


def test_a_model_taken_out_of_use_is_not_asked_any_more(ws: Workspace, clips: list[str]) -> None:
    retire_model(ws, "eye", "unfit")
    for ask in ({"text": "red"}, {"clip": clips[0]}):
        with pytest.raises(NotGranted):
            best(ws, **ask)


def test_a_licence_that_forbids_the_use_is_told(ws: Workspace, tmp_path: Path) -> None:
    with_encoder(ws, tmp_path, licence="CC-BY-NC-4.0")
    stored_colours(ws, [("red",)])
    with pytest.raises(NotGranted):
        build_index(ws)


def test_a_buyer_finds_what_terms_allow_but_makes_no_index(ws: Workspace, clips: list[str]) -> None:
    party = add_party(ws, COMMAND_LINE, "买方", has=(BUYER,))
    buyer = Caller(party.id, frozenset({BUYER}), "session")
    page = find_meaning(ws, ClipQuery(), MeaningAsk("red"), caller=buyer)
    assert page.hits[0].row.id == clips[0]
    for forbidden in (build_index, list_indexes):
        with pytest.raises(NotGranted):
            forbidden(ws, caller=buyer)


def test_without_an_encoder_it_is_said_how_to_get_one(ws: Workspace) -> None:
    with pytest.raises(UsageError) as told:
        build_index(ws)
    assert "models.toml" in str(told.value)
    assert ready_encoder(ws) == ""


@pytest.mark.parametrize("ask", [MeaningAsk(), MeaningAsk("  "), MeaningAsk("red", clip="abcdef")])
def test_one_thing_must_be_asked_for(ws: Workspace, ask: MeaningAsk) -> None:
    with pytest.raises(UsageError):
        find_meaning(ws, ClipQuery(), ask)


def test_pictures_that_are_none_are_refused(place: Place, tmp_path: Path) -> None:
    ws = place.ws
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff" + bytes(50))
    with pytest.raises(MediaError):
        best(ws, picture=bad)
    with pytest.raises(NotFound):
        best(ws, picture=tmp_path / "none.jpg")


def test_the_owner_is_told_with_each_hit(place: Place) -> None:
    from malan.rights.terms import party_id

    hit = find_meaning(place.ws, ClipQuery(), MeaningAsk("red")).hits[0]
    assert hit.row.owner_id == party_id(OWNER)
    assert hit.score == pytest.approx(1.0, abs=0.05)
