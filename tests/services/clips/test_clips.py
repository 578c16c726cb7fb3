"""Clips are found and shown within their rights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from store.library_factory import an_asset, put

from malan.core import Clip, Terms
from malan.core.errors import NotFound, NotGranted
from malan.services.clips import search as clips
from malan.services.footage.owners import remember_terms
from malan.store import ClipQuery
from malan.workspace import Workspace

OPEN = Terms("owner", "open", ("retrieve", "export"))
CLOSED = Terms("owner", "closed", ())
PAST = Terms("owner", "past", ("retrieve",), ends="2001-01-01")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


def films(ws: Workspace) -> dict[str, Clip]:
    """One clip under each terms, and one under terms nobody knows; by the name of the terms."""
    made = {}
    for terms in (OPEN, CLOSED, PAST):
        remember_terms(ws, terms)
        [made[terms.name]] = put(ws.library, an_asset(terms.name, terms=terms.id), "夜景")
    [made["unknown"]] = put(ws.library, an_asset("unknown", terms="0" * 64), "夜景")
    return made


def test_only_what_may_be_looked_at_is_found(ws: Workspace) -> None:
    made = films(ws)
    page = clips.find(ws, ClipQuery("夜景"))
    assert [hit.row.id for hit in page.hits] == [made["open"].id]
    assert page.total == 1


def test_terms_in_the_query_cannot_widen_what_is_allowed(ws: Workspace) -> None:
    films(ws)
    assert clips.find(ws, ClipQuery("夜景", terms_ids=(CLOSED.id, "0" * 64))).total == 0
    assert clips.find(ws, ClipQuery("夜景", terms_ids=(OPEN.id, CLOSED.id))).total == 1


def test_a_use_that_nobody_allows_finds_nothing(ws: Workspace) -> None:
    films(ws)
    assert clips.find(ws, ClipQuery(), use="train").total == 0
    assert clips.find(ws, ClipQuery(), use="no such use").total == 0


def test_likeness_to_a_clip_that_may_not_be_seen_is_refused(ws: Workspace) -> None:
    made = films(ws)
    with pytest.raises(NotGranted):
        clips.find(ws, ClipQuery(similar_to=made["closed"].id))
    assert clips.find(ws, ClipQuery(similar_to=made["open"].id[:10])).total == 0


def test_a_clip_is_shown_with_what_was_found_about_it(ws: Workspace) -> None:
    made = films(ws)
    shown = clips.show(ws, made["open"].id[:12])
    assert shown.row.clip == made["open"]
    assert {finding.kind for finding in shown.findings} == {"shot.transition", "text.caption"}
    assert shown.asset.locations[0].path == "/footage/open.mp4"


def test_a_clip_that_may_not_be_seen_is_not_shown(ws: Workspace) -> None:
    made = films(ws)
    for name in ("closed", "past", "unknown"):
        with pytest.raises(NotGranted):
            clips.show(ws, made[name].id)
    with pytest.raises(NotFound):
        clips.show(ws, "f" * 64)


def test_near_duplicates_that_may_not_be_seen_are_not_named(ws: Workspace) -> None:
    made = films(ws)
    [second] = put(ws.library, an_asset("second", terms=OPEN.id), "夜景")
    ws.library.set_groups({clip.id: "g" for clip in [*made.values(), second]})
    assert [row.id for row in clips.show(ws, made["open"].id).duplicates] == [second.id]


def test_an_empty_library_finds_nothing(ws: Workspace) -> None:
    assert clips.find(ws, replace(ClipQuery(), text="夜景")).hits == ()
