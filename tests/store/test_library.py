"""What is put into the library comes out exactly, together or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store.library_factory import a_scan, an_asset, caption, put, shot

from malan.core import Finding
from malan.core.errors import NotFound, StoreError, UsageError
from malan.store import ClipQuery, Extra, Library, Location, ScanRows


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def a_tag(library: Library, clip_id: str, text: str) -> Finding:
    return Finding(library.clip(clip_id).clip, "text.tag", "console", "1", {"text": text}, None, "person:li")


# Assets


def test_an_asset_comes_back_equal(library: Library) -> None:
    row = an_asset()
    library.put_assets([row], indexes={row.asset.id: b"index"})
    assert library.asset(row.asset.id) == row
    assert library.asset(row.asset.id[:8]) == row
    assert library.index(row.asset.id) == b"index"


def test_an_empty_library_answers(library: Library) -> None:
    assert library.assets() == []
    assert library.clips("a" * 64) == []
    assert library.locations_at(["/x"]) == {}
    with pytest.raises(NotFound):
        library.asset("abcdef")


def test_registering_twice_adds_nothing(library: Library) -> None:
    row = an_asset()
    for _ in range(2):
        library.put_assets([row], indexes={row.asset.id: b"index"})
    assert library.assets() == [row]


def test_assets_are_listed_in_the_order_they_came(library: Library) -> None:
    rows = [an_asset(name, added_s=float(i), owner="AB"[i % 2]) for i, name in enumerate("zyxw")]
    library.put_assets(list(reversed(rows)))
    assert library.assets() == rows
    assert library.assets(limit=2, offset=1) == rows[1:3]
    assert library.assets(owner_id="B") == rows[1::2]
    assert library.count_assets(owner_id="B") == 2
    assert library.owner_ids() == ["A", "B"]


def test_a_beginning_shared_by_two_assets_is_refused(library: Library) -> None:
    rows = [replace(an_asset(), asset=replace(an_asset().asset, id="abcdef" + end * 58), locations=()) for end in "12"]
    library.put_assets(rows)
    with pytest.raises(UsageError, match="several ids"):
        library.asset("abcdef")
    assert library.asset("abcdef1").asset.id == "abcdef" + "1" * 58


def test_a_file_is_known_by_its_path_with_size_and_time(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    (place,) = row.locations
    assert library.locations_at([place.path, "/elsewhere"]) == {place.path: place}


@pytest.mark.parametrize(
    "path", ['/a/it\'s "x".mp4', "/a/new\nline.mp4", "/a/\udcff\udc80.mp4", "/a/100%.mp4", "/a/夜景.mp4"]
)
def test_any_file_name_comes_back_as_it_was(library: Library, path: str) -> None:
    gone = Location(path, 1, 2, None, "media.empty", {"path": path}, 3.0)
    library.put_assets([], refused=[gone])
    assert library.locations_at([path]) == {path: gone}
    assert library.refused() == [gone]


def test_a_refused_file_that_became_good_is_refused_no_more(library: Library) -> None:
    row = an_asset()
    library.put_assets([], refused=[replace(row.locations[0], asset_id=None, code="media.empty")])
    library.put_assets([row])
    assert library.refused() == []


def test_one_asset_may_lie_in_several_places(library: Library) -> None:
    row = an_asset()
    copy = replace(row.locations[0], path="/backup/one.mp4", seen_s=9.0)
    library.put_assets([row])
    library.put_assets([replace(row, locations=(copy,))])
    assert [place.path for place in library.asset(row.asset.id).locations] == [copy.path, row.locations[0].path]


# Scans


def test_a_scan_comes_back_equal(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    scan = a_scan(row)
    library.put_scan(scan)
    clips = scan.clips or ()
    assert [clip.clip for clip in library.clips(row.asset.id)] == list(clips)
    assert {f.id: f for f in library.findings(asset_id=row.asset.id)} == {f.id: f for f in scan.findings}
    assert library.asset(row.asset.id).status == "scanned"
    assert library.thumbnail(clips[1].id) == b"jpeg\1"
    assert library.filmstrip(clips[0].id) == b"strip"
    assert library.filmstrip(clips[1].id) is None
    assert library.extras(row.asset.id) == {"loudness.curve": scan.extras[0]}
    assert np.array_equal(library.descriptor(clips[1].id), scan.descriptors[clips[1].id])
    assert library.clip(clips[0].id[:12]).caption == "长沙的夜景"


def test_a_scan_done_twice_is_there_once(library: Library) -> None:
    row = an_asset()
    clips = put(library, row, "一", "二")
    put(library, row, "一", "二")
    assert [clip.clip for clip in library.clips(row.asset.id)] == clips
    assert len(library.findings(asset_id=row.asset.id)) == 4
    assert library.count_clips() == 2


def test_another_cut_replaces_the_one_before(library: Library) -> None:
    row = an_asset()
    old = put(library, row, "一", "二", "三")
    new = put(library, row, "一")
    assert [clip.clip for clip in library.clips(row.asset.id)] == new
    assert library.thumbnail(old[2].id) is None


def test_an_operator_that_runs_again_replaces_only_its_own(library: Library) -> None:
    row = an_asset()
    clips = put(library, row, "一", "二")
    library.put_scan(ScanRows(row.asset.id, {"captions": "2"}, None, (caption(row, 1, "新的字幕"),)))
    assert [clip.caption for clip in library.clips(row.asset.id)] == ["", "新的字幕"]
    assert len(library.findings(asset_id=row.asset.id, kinds=["shot.transition"])) == 2
    assert library.thumbnail(clips[0].id) == b"jpeg\0"
    assert library.descriptor(clips[0].id) is not None
    assert library.asset(row.asset.id).scan == {"shots": "1", "captions": "2"}


def test_what_people_found_outlives_every_scan(library: Library) -> None:
    row = an_asset()
    clips = put(library, row, "一", "二")
    tag = a_tag(library, clips[0].id, "封面")
    library.add_findings([tag, tag])
    put(library, row, "一", "二")
    assert library.findings(clip_id=clips[0].id, kinds=["text.tag"]) == [tag]
    assert "封面" in library.clip(clips[0].id).tags


def test_descriptors_may_come_later(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    library.put_scan(a_scan(row, descriptors={}))
    assert library.descriptor(shot(row, 0).id) is None
    library.put_scan(ScanRows(row.asset.id, {"look": "1"}, descriptors={shot(row, 0).id: np.ones(4, np.float32)}))
    assert list(library.descriptor(shot(row, 0).id)) == [1, 1, 1, 1]
    assert [ids for ids, _ in library.descriptors()] == [[shot(row, 0).id]]


def test_descriptors_of_another_size_are_refused(library: Library) -> None:
    one, two = an_asset("one"), an_asset("two")
    put(library, one, "一")
    library.put_assets([two])
    with pytest.raises(StoreError, match="5 numbers"):
        library.put_scan(a_scan(two, ("二",), descriptors={shot(two, 0).id: np.ones(5, np.float32)}))
    assert library.asset(two.asset.id).status == "registered"


def test_a_scan_of_an_unknown_asset_writes_nothing(library: Library) -> None:
    known, unknown = an_asset("known"), an_asset("unknown")
    library.put_assets([known])
    with pytest.raises(NotFound):
        library.put_scans([a_scan(known), a_scan(unknown)])
    assert library.clips(known.asset.id) == []
    assert library.asset(known.asset.id).status == "registered"


def test_a_scan_that_failed_says_why(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    library.refuse_scan(row.asset.id, "worker.died", {"signal": 9})
    found = library.asset(row.asset.id)
    assert (found.status, found.code, found.values) == ("refused", "worker.died", {"signal": 9})


def test_a_change_of_owner_shows_in_search(library: Library) -> None:
    row = an_asset()
    clips = put(library, row, "一")
    library.put_assets([replace(row, asset=replace(row.asset, owner_id="浙江台"), title="西湖")])
    found = library.clip(clips[0].id)
    assert (found.owner_id, found.title, library.asset(row.asset.id).status) == ("浙江台", "西湖", "scanned")
    assert library.descriptor(clips[0].id) is not None


def test_tending_changes_nothing_that_can_be_seen(library: Library) -> None:
    rows = [an_asset(str(number)) for number in range(4)]
    for row in rows:
        put(library, row, "一", "二")
    before = [library.clips(row.asset.id) for row in rows]
    library.tend()
    assert [library.clips(row.asset.id) for row in rows] == before


def test_groups_are_set_without_touching_clips(library: Library) -> None:
    clips = put(library, an_asset(), "一", "二", "三")
    library.set_groups({clips[0].id: "g", clips[1].id: "g"})
    library.set_groups({clips[1].id: None, clips[2].id: "g"})
    assert [row.group_id for row in library.clips(clips[0].asset_id)] == ["g", None, "g"]


def test_a_library_of_an_older_malan_gets_new_columns_with_the_next_write(library: Library) -> None:
    [old] = put(library, an_asset("old"), "夜景")
    with library._tables.change() as change:
        change.edit("clips", lambda table: table.drop_columns(["look"]))
    assert library.clip(old.id).look == ()
    assert len(library.search(ClipQuery("夜景")).hits) == 1
    put(library, an_asset("new"), "夜景")
    assert library.search(ClipQuery("夜景")).total == 2


def test_what_an_older_malan_did_not_measure_is_unknown_not_an_error(library: Library) -> None:
    [old] = put(library, an_asset("old"), "夜景")
    with library._tables.change() as change:
        change.edit("clips", lambda table: table.drop_columns(["face_share", "face_size", "peak_dbfs"]))
    assert "face_share" not in library.clip(old.id).measures
    for bound in ({"at_least": {"face_share": 0.0}}, {"at_most": {"face_size": 1.0, "blur": 1.0}}):
        assert library.search(ClipQuery(**bound)).total == 0
    assert library.search(ClipQuery("夜景")).total == 1
    put(library, an_asset("new"), "夜景")
    assert library.search(ClipQuery(at_least={"face_share": 0.0})).total == 0


def test_extras_are_replaced_by_kind(library: Library) -> None:
    row = an_asset()
    put(library, row, "一")
    library.put_scan(ScanRows(row.asset.id, {"peaks": "1"}, extras=(Extra("waveform.peaks", None, b"12"),)))
    assert set(library.extras(row.asset.id)) == {"loudness.curve", "waveform.peaks"}
