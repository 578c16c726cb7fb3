"""A released classifier tags clips; search finds its tags, and each leads back to people and owners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from services.model_factory import release_adapter
from services.tagged_library import OWNER, frozen, released, stored

from malan.core import Clip
from malan.core.errors import NotFound, NotGranted, ProofError, Rejected, UsageError
from malan.core.merkle import check_inclusion, leaf_hash
from malan.rights.terms import party_id
from malan.services.access import ANNOTATOR, BUYER, COMMAND_LINE, Caller
from malan.services.accounts.parties import add_party
from malan.services.clips.labels import Label, label_clips, unlabel_clips
from malan.services.clips.search import find
from malan.services.clips.tagging import apply_model, drop_unusable_tags, tagged_by
from malan.services.clips.trace import describe_clip_trace, trace_clip
from malan.services.clips.where import condition
from malan.services.journal import read_event
from malan.services.models.rights import retire_model
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


@pytest.fixture
def clips(ws: Workspace) -> list[Clip]:
    return stored(ws)


def found(ws: Workspace, where: str) -> list[str]:
    return sorted(hit.row.id for hit in find(ws, condition(where)).hits)


def ids(*clips: Clip) -> list[str]:
    return sorted(clip.id for clip in clips)


def test_its_tags_are_found_by_name_and_in_both_languages(ws: Workspace, clips: list[Clip]) -> None:
    released(ws)
    done = apply_model(ws, "日夜", condition(""))
    assert (done.clips, dict(done.names), done.unsure) == (4, {"day": 2, "night": 2}, 0)
    for where in ("tag=day-night=night", "夜景", "night"):
        assert found(ws, where) == ids(clips[0], clips[2])


def test_a_tag_says_which_model_and_how_sure(ws: Workspace, clips: list[Clip]) -> None:
    model = released(ws)
    apply_model(ws, "日夜", condition(""))
    [tag] = ws.library.findings(clip_id=clips[0].id, kinds=["tag.day-night"])
    assert (tag.producer, tag.version, tag.author) == ("model:日夜", model.id, "operator")
    assert 0.99 < (tag.confidence or 0) <= 1


def test_only_the_clips_asked_for_are_tagged(ws: Workspace, clips: list[Clip]) -> None:
    stored(ws, (0.2, 0.2), name="two")
    released(ws)
    assert apply_model(ws, "日夜", condition(f"asset={clips[0].asset_id}")).clips == 4
    assert len(found(ws, "tag=day-night=night")) == 2


def test_what_it_is_not_sure_of_is_kept_and_not_found(ws: Workspace) -> None:
    [clip] = stored(ws, (0.401,))
    released(ws)
    done = apply_model(ws, "日夜", condition(""), least=0.9)
    assert (dict(done.names), done.unsure) == ({}, 1)
    [kept] = ws.library.findings(clip_id=clip.id, kinds=["tag.day-night"])
    assert kept.reason == "unsure (below 0.9)"
    assert found(ws, "tag=day-night=day") == found(ws, "tag=day-night=night") == []


def test_a_model_with_thresholds_says_several_names_or_none(ws: Workspace) -> None:
    stored(ws, (0.35, 0.42, 0.1))
    released(ws, thresholds=True)
    done = apply_model(ws, "日夜", condition(""))
    assert dict(done.names) == {"night": 3}  # from 0.2 on; day only from 0.9
    assert done.unsure == 0


def test_applied_again_nothing_is_there_twice(ws: Workspace, clips: list[Clip]) -> None:
    released(ws)
    first = apply_model(ws, "日夜", condition(""))
    size = ws.log.reader.size
    second = apply_model(ws, "日夜", condition(""))
    assert (second.event, ws.log.reader.size) == (first.event, size)
    assert len(ws.library.findings_by("model:日夜")) == 4


def test_a_retired_model_is_not_used_and_its_tags_are_gone(ws: Workspace, clips: list[Clip]) -> None:
    released(ws)
    apply_model(ws, "日夜", condition(""))
    label_clips(ws, clips[:1], Label("day-night", "night"))
    retire_model(ws, "日夜", "wrong at dusk")
    assert found(ws, "夜景") == ids(clips[0])  # a person said so
    with pytest.raises(NotGranted, match="dusk"):
        apply_model(ws, "日夜", condition(""))
    assert drop_unusable_tags(ws) == 0


def test_tags_of_a_model_that_nobody_knows_are_removed(ws: Workspace, clips: list[Clip]) -> None:
    model = released(ws)
    apply_model(ws, "日夜", condition(""))
    tags = [f.__class__(f.clip, f.kind, "model:x", "e" * 64, f.value) for f in ws.library.findings_by("model:日夜")]
    ws.library.replace_findings("model:x", ids(*clips), tags)
    assert drop_unusable_tags(ws) == 4
    assert {tag.version for tag in ws.library.findings_by("model:日夜")} == {model.id}


def test_who_may_not_tag_is_refused(ws: Workspace, clips: list[Clip]) -> None:
    released(ws)
    for role in (ANNOTATOR, BUYER):
        with pytest.raises(NotGranted):
            apply_model(ws, "日夜", condition(""), caller=Caller("b" * 16, frozenset({role}), "session"))


def test_what_is_no_classifier_of_these_features_is_refused(ws: Workspace, clips: list[Clip]) -> None:
    released(ws, name="other", facts={"features": "clip-features/0"})
    release_adapter(ws)
    for name in ("other", "adapter-1"):
        with pytest.raises(Rejected):
            apply_model(ws, name, condition(""))
    with pytest.raises(NotFound):
        apply_model(ws, "nobody", condition(""))


def test_nothing_to_tag_and_no_probability_are_errors(ws: Workspace, clips: list[Clip]) -> None:
    released(ws)
    with pytest.raises(UsageError):
        apply_model(ws, "日夜", condition("min-duration=1000"))
    with pytest.raises(UsageError):
        apply_model(ws, "日夜", condition(""), least=1.5)


def test_a_hit_is_traced_to_model_owners_and_the_people_who_labelled(ws: Workspace, clips: list[Clip]) -> None:
    add_party(ws, COMMAND_LINE, "小李", has=(ANNOTATOR,))
    label_clips(ws, clips[:2], Label("day-night", "night"), by="小李")
    snapshot = frozen(ws)
    unlabel_clips(ws, clips, "day-night")
    model = released(ws, snapshot_id=snapshot)
    apply_model(ws, "日夜", condition(""))
    [tag] = trace_clip(ws, clips[0].id, "day-night=night").tags
    assert tag.model is not None
    assert tag.model.model.id == model.id
    assert tag.model.model.shares == {party_id(OWNER): 1}
    assert tag.teachers is not None
    assert tag.teachers.labels == {"小李": 2}
    statement = read_event(ws, tag.applied or 0).statement
    assert tag.proof is not None
    assert statement.subjects[0].sha256 == tag.proof["root"]
    check_inclusion(
        leaf_hash(tag.proof["leaf"].encode()),
        tag.proof["index"],
        tag.proof["size"],
        [bytes.fromhex(node) for node in tag.proof["proof"]],
        bytes.fromhex(tag.proof["root"]),
    )
    assert describe_clip_trace(trace_clip(ws, clips[0].id))["tags"][0]["labelled_by"] == {"小李": 2}


def test_a_label_is_traced_to_the_person(ws: Workspace, clips: list[Clip]) -> None:
    add_party(ws, COMMAND_LINE, "小李", has=(ANNOTATOR,))
    label_clips(ws, clips[:1], Label("day-night", "night"), by="小李")
    [tag] = trace_clip(ws, clips[0].id).tags
    assert (tag.person, tag.name, tag.model) == ("小李", "day-night=night", None)


def test_a_clip_without_such_a_tag_has_no_trace(ws: Workspace, clips: list[Clip]) -> None:
    released(ws)
    apply_model(ws, "日夜", condition(""))
    with pytest.raises(NotFound):
        trace_clip(ws, clips[0].id, "shot-size")


def test_a_tag_that_the_log_does_not_state_is_found_out(ws: Workspace, clips: list[Clip]) -> None:
    released(ws)
    done = apply_model(ws, "日夜", condition(""))
    [tag] = ws.library.findings(clip_id=clips[0].id, kinds=["tag.day-night"])
    forged = tag.__class__(tag.clip, tag.kind, tag.producer, tag.version, {"label": "day"}, 0.9)
    ws.library.replace_findings("model:日夜", [clips[0].id], [forged])
    with pytest.raises(ProofError):
        trace_clip(ws, clips[0].id)
    root = read_event(ws, done.event or 0).statement.subjects[0].sha256
    (ws.root / "blobs" / root[:2] / root).write_text(f"{forged.id}\n")
    with pytest.raises(ProofError):
        tagged_by(ws, root)
