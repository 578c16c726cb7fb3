"""What people say of clips: found at once, frozen for good, kept when the library is not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from store.library_factory import a_scan, an_asset, shot

from malan.core import Clip, Finding, Span, Terms
from malan.core.errors import NotFound, NotGranted, UsageError
from malan.services.access import ANNOTATOR, BUYER, OPERATOR, Caller
from malan.services.accounts.parties import add_party
from malan.services.clips.labels import (
    Label,
    chosen_clips,
    frozen_labels,
    label_clips,
    label_each,
    label_sets,
    labels_of,
    read_csv,
    unlabel_clips,
)
from malan.services.clips.search import find
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot, show_snapshot
from malan.services.footage.owners import remember_terms
from malan.services.footage.people import bring_back
from malan.services.journal import read_event
from malan.store import Library
from malan.workspace import Workspace

TERMS = Terms("owner", "open", ("retrieve", "export", "train"))
NIGHT, DAY = Label("day-night", "night"), Label("day-night", "day")
STAFF = Caller("p" * 16, frozenset({ANNOTATOR}), "session", name="小李")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


@pytest.fixture
def clips(ws: Workspace) -> list[Clip]:
    return stored(ws)


def stored(ws: Workspace, count: int = 3) -> list[Clip]:
    """One film of some shots, under terms that allow looking."""
    row = an_asset(terms=remember_terms(ws, TERMS))
    ws.library.put_assets([row])
    ws.library.put_scan(a_scan(row, ("",) * count))
    return [shot(row, number) for number in range(count)]


def found(ws: Workspace, where: str) -> list[str]:
    return sorted(hit.row.id for hit in find(ws, condition(where)).hits)


def test_a_label_is_found_as_a_tag_and_in_both_languages(ws: Workspace, clips: list[Clip]) -> None:
    assert label_clips(ws, clips[:1], NIGHT).new == 1
    for where in ("tag=day-night=night", "label=label.day-night=night", "夜景", "night"):
        assert found(ws, where) == [clips[0].id]
    assert found(ws, "tag=day-night=day") == []


def test_a_label_in_words_of_ones_own_is_found_by_them(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips[1:2], Label.read("景别=过肩镜头"))
    assert found(ws, "tag=景别=过肩镜头") == [clips[1].id]
    assert found(ws, "过肩") == [clips[1].id]


def test_saying_another_name_of_the_set_replaces_the_first(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips, NIGHT)
    done = label_clips(ws, clips[:1], DAY)
    assert (done.clips, done.new, done.replaced) == (1, 1, 1)
    assert labels_of(ws, "day-night")[clips[0].id] == ("day",)
    assert found(ws, "夜景") == sorted(clip.id for clip in clips[1:])


def test_several_names_of_a_set_stand_beside_each_other_where_asked(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips[:1], Label("review", "none"))
    label_clips(ws, clips[:1], Label("review", "smoking"), also=True)
    label_clips(ws, clips[:1], Label("review", "alcohol"), also=True)
    assert labels_of(ws, "review")[clips[0].id] == ("alcohol", "smoking")


def test_what_another_person_says_stays(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips[:1], NIGHT)
    label_clips(ws, clips[:1], DAY, caller=STAFF)
    assert labels_of(ws, "day-night")[clips[0].id] == ("day", "night")
    assert unlabel_clips(ws, clips, "day-night", caller=STAFF) == 1
    assert labels_of(ws, "day-night")[clips[0].id] == ("night",)


def test_what_most_say_comes_first(ws: Workspace, clips: list[Clip]) -> None:
    for number, name in enumerate(("night", "night", "day")):
        label_clips(ws, clips[:1], Label("day-night", name), caller=replace(STAFF, party_id=str(number)))
    assert labels_of(ws, "day-night")[clips[0].id] == ("night", "day")


def test_nothing_applies_is_a_label_that_nobody_searches_for(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips[:1], Label("review", "none"))
    assert labels_of(ws, "review") == {clips[0].id: ("none",)}
    assert found(ws, "tag=review=none") == []


def test_labelling_twice_changes_nothing(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips, NIGHT)
    size = ws.log.reader.size
    assert label_clips(ws, clips, NIGHT).new == 0
    assert ws.log.reader.size == size


def test_each_turn_is_in_the_log_without_a_name_in_it(ws: Workspace, clips: list[Clip]) -> None:
    for _ in range(2):
        label_clips(ws, clips, NIGHT)
        unlabel_clips(ws, clips, "day-night")
    events = [read_event(ws, place) for kind in ("annot.add", "annot.review") for place in ws.log.find(kind)]
    facts = [(event.statement.kind, event.statement.facts["number"]) for event in events]
    assert facts == [("annot.add", 0), ("annot.add", 6), ("annot.review", 3), ("annot.review", 9)]
    assert not any(b"night" in event.entry for event in events)


def test_taken_back_it_is_found_no_more(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips, NIGHT)
    assert unlabel_clips(ws, clips[:1], "day-night", "day") == 0
    assert unlabel_clips(ws, clips[:1], "day-night", "night") == 1
    assert found(ws, "夜景") == sorted(clip.id for clip in clips[1:])


def test_a_snapshot_keeps_the_labels_it_was_frozen_with(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips[:2], NIGHT)
    freeze_snapshot(ws, "one", condition(""))
    unlabel_clips(ws, clips, "day-night")
    label_clips(ws, clips, DAY)
    entries = show_snapshot(ws, "one")[1].entries
    assert frozen_labels(ws, entries, "day-night") == {clip.id: ("night",) for clip in clips[:2]}
    assert frozen_labels(ws, entries, "shot-size") == {}


def test_labels_outlive_the_library(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips, NIGHT)
    label_clips(ws, clips[:1], DAY)
    shutil.rmtree(ws.root / "library")
    ws.__dict__["library"] = Library(ws.root / "library")
    assert bring_back(ws) == 0  # nothing is registered yet
    stored(ws)
    assert bring_back(ws) == 3
    assert found(ws, "夜景") == sorted(clip.id for clip in clips[1:])
    assert bring_back(ws) == 0


def test_a_new_cut_leaves_a_label_where_most_of_it_was(ws: Workspace, clips: list[Clip]) -> None:
    label_clips(ws, clips[:1], NIGHT)
    row, base = ws.library.asset(clips[0].asset_id), clips[0].span.timebase
    cut = [Clip(clips[0].asset_id, 0, Span(*span, base)) for span in ((0, 90), (90, 300))]
    ws.library.put_scan(replace(a_scan(row, ("",)), clips=tuple(cut), findings=()))
    assert found(ws, "夜景") == [cut[0].id]
    assert label_sets(ws)[0].orphans == 1


def test_a_person_is_right_where_a_model_says_otherwise(ws: Workspace, clips: list[Clip]) -> None:
    said = [Finding(clip, "tag.day-night", "model:m", "1", {"label": "night"}, 0.9) for clip in clips]
    ws.library.replace_findings("model:m", [clip.id for clip in clips], said)
    assert len(found(ws, "tag=day-night=night")) == 3
    label_clips(ws, clips[:1], DAY)
    assert found(ws, "tag=day-night=day") == [clips[0].id]
    assert found(ws, "夜景") == sorted(clip.id for clip in clips[1:])


@pytest.mark.parametrize(
    "text", ["", "night", "=night", "day-night=", "a=b=c", "a b=c", "a='", "x" * 50 + "=y", "-a=b"]
)
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a label"):
        Label.read(text)


def test_no_clips_are_an_error(ws: Workspace, clips: list[Clip]) -> None:
    with pytest.raises(UsageError):
        label_clips(ws, [], NIGHT)
    with pytest.raises(NotFound):
        label_clips(ws, [replace(clips[0], track=7)], NIGHT)


def test_who_may_not_label_is_refused(ws: Workspace, clips: list[Clip]) -> None:
    with pytest.raises(NotGranted):
        label_clips(ws, clips, NIGHT, caller=Caller("b" * 16, frozenset({BUYER}), "session"))


def test_a_clip_that_may_not_be_looked_at_is_not_labelled(ws: Workspace) -> None:
    row = an_asset("closed", terms=remember_terms(ws, Terms("owner", "closed", ())))
    ws.library.put_assets([row])
    ws.library.put_scan(a_scan(row, ("",)))
    with pytest.raises(NotFound):
        label_clips(ws, [shot(row, 0)], NIGHT, caller=STAFF)
    assert chosen_clips(ws, ["城市"]) == []


def test_only_an_operator_speaks_for_somebody_else(ws: Workspace, clips: list[Clip]) -> None:
    party = add_party(ws, Caller(None, frozenset({OPERATOR}), "cli"), "小王", has=("annotator",))
    label_clips(ws, clips[:1], NIGHT, by="小王")
    label_clips(ws, clips[1:2], NIGHT, by="小王", caller=STAFF)
    assert set(label_sets(ws)[0].people) == {party.id, STAFF.party_id}
    with pytest.raises(NotFound):
        label_clips(ws, clips, NIGHT, by="nobody here")


def test_clips_are_named_by_id_or_by_a_query(ws: Workspace, clips: list[Clip]) -> None:
    assert chosen_clips(ws, [clips[0].id[:12], clips[2].id]) == [clips[0], clips[2]]
    assert len(chosen_clips(ws, ["城市", "min-duration=0.1"])) == 3


@pytest.mark.parametrize("said", [[], [""], [" ", ""]])
def test_nothing_said_is_not_the_whole_library(ws: Workspace, clips: list[Clip], said: list[str]) -> None:
    with pytest.raises(UsageError):
        chosen_clips(ws, said)


def test_a_table_is_read(ws: Workspace, clips: list[Clip]) -> None:
    lines = ["\ufeffclip,label", f"{clips[0].id},shot-size=wide", f"{clips[0].id[:16]},night", f"{clips[1].id},day"]
    read = read_csv(ws, "\n".join(lines), "day-night")
    assert read == {clips[0]: [Label("shot-size", "wide"), NIGHT], clips[1]: [DAY]}
    assert label_each(ws, read).new == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "tagger.csv_columns"),
        ("clip,name\na,b", "tagger.csv_columns"),
        ("clip,label\n,night", "tagger.csv_line"),
        ("clip,label\nabcdef", "tagger.bad_label"),
        ("clip,label\n" + "a" * 200_000 + ",b", "tagger.csv_line"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(ws: Workspace, text: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_csv(ws, text, "day-night")
    assert caught.value.code == code
