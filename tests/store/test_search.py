"""Search finds what a person would expect, says why, and shows nothing it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store.library_factory import SHOT_TICKS, TIMEBASE, a_scan, an_asset, put, shot

from malan.core import Clip, Finding, Span
from malan.core.errors import NotFound, UsageError
from malan.store import ClipPage, ClipQuery, Library, search, tending


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Two owners, a few shots each."""
    library = Library(tmp_path_factory.mktemp("archive") / "library")
    changsha = an_asset("changsha", owner="湖南台", terms="a" * 64, title="长沙", tags=("航拍",), added_s=1.0)
    put(library, changsha, "橘子洲的夜景", "湘江的清晨", "Night markets of the city", "他说：“夜里的风景。”")
    hangzhou = an_asset(
        "hangzhou", owner="浙江台", terms="b" * 64, title="西湖 Ｗｅｓｔ　Ｌａｋｅ", tags=(), added_s=2.0
    )
    put(library, hangzhou, "断桥残雪", "夜景", "a boat on the lake")
    return library


def captions(page: ClipPage) -> list[str]:
    return [hit.row.caption for hit in page.hits]


# Words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("夜景", {"橘子洲的夜景", "夜景"}),
        ("雪", {"断桥残雪"}),
        ("橘子洲", {"橘子洲的夜景"}),
        ("NIGHT city", {"Night markets of the city"}),
        ("cities market", {"Night markets of the city"}),
        ("boats", {"a boat on the lake"}),
        ("west lake 断桥", {"断桥残雪"}),
        ("changsha 清晨", {"湘江的清晨"}),
        ("夜景 航拍", {"橘子洲的夜景"}),
        ("湘江的清晨", {"湘江的清晨"}),
    ],
)
def test_all_words_must_be_there(archive: Library, text: str, found: set[str]) -> None:
    page = archive.search(ClipQuery(text))
    assert {hit.row.caption for hit in page.hits if hit.has_all_words} == found
    assert page.total == len(found)
    assert page.is_total_exact


def test_clips_with_some_of_the_words_come_after_and_are_marked(archive: Library) -> None:
    page = archive.search(ClipQuery("夜景 航拍"))
    assert page.relaxed
    assert [hit.has_all_words for hit in page.hits] == [True] + [False] * (len(page.hits) - 1)
    assert "夜景" in captions(page)


def test_a_full_page_is_not_relaxed(archive: Library) -> None:
    page = archive.search(ClipQuery("夜景 航拍", limit=1))
    assert not page.relaxed


@pytest.mark.parametrize("text", ["！？", "\0", "  《》 ", "🙂"])
def test_a_text_without_words_finds_nothing(archive: Library, text: str) -> None:
    assert archive.search(ClipQuery(text)).hits == ()


def test_without_text_the_newest_come_first(archive: Library) -> None:
    page = archive.search(ClipQuery())
    assert captions(page)[:3] == ["断桥残雪", "夜景", "a boat on the lake"]
    assert page.total == 7


def test_the_newest_of_a_large_library_come_without_sorting_it(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_BROWSED", 1)
    for number in range(12):
        put(library, an_asset(str(number), added_s=float(number)), *["夜景"] * 4)
    picked: list[float] = []
    for offset in range(0, 48, 5):
        page = library.search(ClipQuery(limit=1, offset=offset))
        assert page.total == 48
        picked += [hit.row.added_s for hit in page.hits]
    assert picked == [float(11 - offset // 4) for offset in range(0, 48, 5)]


def test_evidence_names_the_field_and_marks_the_words(archive: Library) -> None:
    hit = archive.search(ClipQuery("夜景 航拍")).hits[0]
    shown = {(e.field, tuple(e.snippet[a:b] for a, b in e.marks)) for e in hit.evidence}
    assert shown == {("caption", ("夜景",)), ("tag", ("航拍",))}


def test_evidence_of_an_english_word_marks_its_form_in_the_text(archive: Library) -> None:
    hit = archive.search(ClipQuery("market")).hits[0]
    assert [e.snippet[a:b] for e in hit.evidence for a, b in e.marks] == ["markets"]


def test_new_clips_are_found_before_the_library_is_tended(library: Library) -> None:
    put(library, an_asset("one"), "夜景")
    library.tend()
    put(library, an_asset("two"), "夜景")
    assert library.search(ClipQuery("夜景")).total == 2


# Filters


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (ClipQuery(owner_ids=("湖南台",)), 4),
        (ClipQuery(owner_ids=("湖南台", "浙江台")), 7),
        (ClipQuery(owner_ids=("别人",)), 0),
        (ClipQuery(terms_ids=("b" * 64,)), 3),
        (ClipQuery(terms_ids=()), 0),
        (ClipQuery("夜景", terms_ids=()), 0),
        (ClipQuery(min_duration_s=2), 7),
        (ClipQuery(min_duration_s=3.4), 0),
        (ClipQuery(max_duration_s=3), 0),
        (ClipQuery(tags=("航拍",)), 4),
        (ClipQuery(tags=("航拍", "别的")), 0),
        (ClipQuery(labels=("shot.transition=cut",)), 7),
        (ClipQuery(labels=("shot.transition", "text.caption")), 7),
        (ClipQuery(has_captions=True), 7),
        (ClipQuery(has_speech=True), 0),
        (ClipQuery(has_speech=False), 7),
        (ClipQuery(at_least={"caption_share": 0.5}), 7),
        (ClipQuery(at_least={"caption_share": 0.9}), 0),
        (ClipQuery(at_most={"motion": 1.0}), 0),
        (ClipQuery(added_from_s=1.5), 3),
        (ClipQuery(added_until_s=1.5), 4),
    ],
)
def test_filters(archive: Library, query: ClipQuery, count: int) -> None:
    page = archive.search(query)
    assert (page.total, len(page.hits)) == (count, count)


def test_people_are_found_by_measure_label_and_word(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    scan = a_scan(row)
    said = [
        {"class": "none", "share": 0.0, "size": 0.0},
        {"class": "people", "share": 0.4, "size": 0.1},
        {"class": "closeup", "share": 1.0, "size": 0.5},
    ]
    faces = [Finding(shot(row, i), "privacy.face", "faces", "1", value) for i, value in enumerate(said)]
    library.put_scan(a_scan(row, findings=(*scan.findings, *faces)))
    assert library.search(ClipQuery(at_least={"face_share": 0.3})).total == 2
    assert library.search(ClipQuery(at_most={"face_share": 0.0})).total == 1
    assert library.search(ClipQuery(at_least={"face_size": 0.3}, labels=("privacy.face=closeup",))).total == 1
    assert [library.search(ClipQuery(word)).total for word in ("人物", "人物特写", "people")] == [2, 1, 2]


def test_what_was_measured_is_a_query(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    scan = a_scan(row)
    moving = [Finding(shot(row, i), "motion.class", "motion", "1", {"class": "pan", "amount": i / 4}) for i in range(3)]
    library.put_scan(a_scan(row, findings=(*scan.findings, *moving)))
    assert library.search(ClipQuery(at_least={"motion": 0.25})).total == 2
    assert library.search(ClipQuery(labels=("motion.class=pan",), at_most={"motion": 0.1})).total == 1


def test_what_was_seen_is_found_by_its_name_in_both_languages(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    scan = a_scan(row, ("", ""))
    night = Finding(shot(row, 1), "scene.light", "light", "1", {"class": "night"})
    blue = Finding(shot(row, 1), "colour.dominant", "colour", "1", {"colours": [{"name": "blue", "share": 0.5}]})
    library.put_scan(a_scan(row, ("", ""), findings=(*scan.findings, night, blue)))
    for text in ("夜景", "night", "蓝色 夜景"):
        [hit] = library.search(ClipQuery(text)).hits
        assert hit.row.clip == shot(row, 1)
        assert {evidence.field for evidence in hit.evidence} == {"look"}


def test_a_finding_belongs_to_every_clip_it_shares_time_with(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    scan = a_scan(row, ("", "", "", ""))

    speech = Finding(
        Clip(row.asset.id, 0, Span(SHOT_TICKS // 2, 2 * SHOT_TICKS, TIMEBASE)), "speech.segment", "vad", "1", {}
    )
    library.put_scan(a_scan(row, ("", "", "", ""), findings=(*scan.findings, speech)))
    assert [c.measures.get("speech_share") for c in library.clips(row.asset.id)] == [0.5, 1.0, None, None]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (ClipQuery(min_duration_s=float("nan")), "store.bound_not_number"),
        (ClipQuery(at_least={"x; DROP": 1}), "store.measure_unknown"),
        (ClipQuery(limit=0), "store.page_bad"),
        (ClipQuery(offset=-1), "store.page_bad"),
        (ClipQuery(" ".join(map(str, range(65)))), "store.query_long"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(archive: Library, query: ClipQuery, code: str) -> None:
    with pytest.raises(UsageError) as refusal:
        archive.search(query)
    assert refusal.value.code == code


_HOSTILE = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    [
        "' OR true --",
        "'; DROP TABLE clips",
        "a\\' OR 1=1",
        '"',
        "夜景' AND '1'='1",
        "*:*",
        "AND OR NOT",
        "(",
        "%",
        "_rowid",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=_HOSTILE, value=_HOSTILE, bound=st.floats(allow_nan=False) | st.none())
def test_no_text_can_break_a_query_or_reach_past_a_filter(
    archive: Library, text: str, value: str, bound: float | None
) -> None:
    query = ClipQuery(text, terms_ids=("b" * 64, value), owner_ids=("浙江台", value), max_duration_s=bound)
    assert all(hit.row.owner_id == "浙江台" for hit in archive.search(query).hits)
    assert archive.search(ClipQuery(tags=(value,), labels=(value,))).hits == ()
    assert archive.search(ClipQuery(owner_ids=(value,))).total == 0


# Near-duplicates, likeness, pages


def test_near_duplicates_are_folded_into_the_best(library: Library) -> None:
    clips = put(library, an_asset(), "夜景", "夜景", "夜景", "夜景 夜景")
    library.set_groups({clip.id: "g" for clip in clips[:3]})
    page = library.search(ClipQuery("夜景"))
    assert [hit.similar_count for hit in page.hits if hit.row.group_id == "g"] == [2]
    assert (len(page.hits), page.total) == (2, 4)
    assert len(library.search(ClipQuery("夜景", fold_duplicates=False)).hits) == 4
    assert library.search(ClipQuery(group_id="g", fold_duplicates=False)).total == 3


def test_a_folded_clip_of_another_owner_is_not_counted(library: Library) -> None:
    ours = put(library, an_asset("ours", terms="a" * 64), "夜景")
    theirs = put(library, an_asset("theirs", terms="b" * 64), "夜景")
    library.set_groups({clip.id: "g" for clip in [*ours, *theirs]})
    page = library.search(ClipQuery("夜景", terms_ids=("a" * 64,)))
    assert [(hit.row.id, hit.similar_count) for hit in page.hits] == [(ours[0].id, 0)]


def test_pages_show_every_clip_once(library: Library) -> None:
    clips = put(library, an_asset(), *["夜景"] * 11)
    library.set_groups({clip.id: "g" for clip in clips[2:5]})
    seen, offset = [], 0
    while offset is not None:
        page = library.search(ClipQuery("夜景", limit=4, offset=offset))
        seen += [hit.row.id for hit in page.hits]
        offset = page.next_offset
    assert len(seen) == len(set(seen)) == 9


def test_similar_clips_come_in_the_order_of_likeness(library: Library) -> None:
    clips = put(library, an_asset(), "一", "二", "三", "四")
    page = library.search(ClipQuery(similar_to=clips[0].id))
    assert [hit.row.id for hit in page.hits] == [clip.id for clip in clips[1:]]
    scores = [hit.score for hit in page.hits]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(0.995, abs=0.001)


def test_similar_clips_may_be_filtered_by_words_and_owner(library: Library) -> None:
    clips = put(library, an_asset("one"), "一", "二夜景", "三", "四夜景")
    put(library, an_asset("two", owner="别人"), "夜景")
    page = library.search(ClipQuery("夜景", similar_to=clips[2].id, owner_ids=("湖南台",)))
    assert [hit.row.caption for hit in page.hits] == ["二夜景", "四夜景"]


def test_a_vector_index_finds_the_same_clips(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = put(library, an_asset("one"), *["夜景"] * 60)
    exact = [hit.row.id for hit in library.search(ClipQuery(similar_to=clips[0].id)).hits]
    monkeypatch.setattr(tending, "_MANY_VECTORS", 50)
    monkeypatch.setattr(search, "_COMPARED_ONE_BY_ONE", 0)
    library.tend()
    assert [hit.row.id for hit in library.search(ClipQuery(similar_to=clips[0].id)).hits] == exact
    later = put(library, an_asset("two"), "清晨")
    for _ in range(2):
        assert library.search(ClipQuery(similar_to=clips[0].id)).hits[0].row.id == later[0].id
        library.tend()


def test_similar_to_nothing_is_refused(library: Library) -> None:
    row = an_asset()
    library.put_assets([row])
    library.put_scan(a_scan(row, descriptors={}))
    with pytest.raises(NotFound):
        library.search(ClipQuery(similar_to="f" * 64))
    with pytest.raises(UsageError, match="no descriptor"):
        library.search(ClipQuery(similar_to=shot(row, 0).id))


def test_all_matches_are_streamed_whole(library: Library) -> None:
    clips = put(library, an_asset("one"), *["夜景"] * 5, "别的")
    put(library, an_asset("two", terms="b" * 64), "夜景")
    library.set_groups({clip.id: "g" for clip in clips[:3]})
    found = library.matching(ClipQuery("夜景", terms_ids=("t" * 64,), limit=1))
    assert sorted(row.id for row in found) == sorted(clip.id for clip in clips[:5])
    assert len(list(library.matching(ClipQuery()))) == 7
    assert list(library.matching(ClipQuery(terms_ids=()))) == []


def test_an_empty_library_finds_nothing(library: Library) -> None:
    assert library.search(ClipQuery("夜景")).hits == ()
