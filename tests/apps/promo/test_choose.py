"""Shots are picked for what they show, once each, and never in the middle of a sentence where that can be had."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from malan.apps.promo.choose import choose, judge
from malan.apps.promo.rhythm import PACES, find_beats, lay_slots, onsets
from malan.core import Clip, Span
from malan.core.errors import NotFound
from malan.core.ids import digest_record
from malan.services.clips.picking import Candidate
from malan.services.clips.relevance import Proof
from malan.services.clips.strips import Strip
from malan.store.rows import ClipRow

GOOD = {"sharpness": 0.9, "exposure": 0.47, "contrast": 0.3, "motion": 0.2}


def candidate(number: int, seconds: float = 4.0, *, asset: str = "", speech=(), look=None, **measures) -> Candidate:
    start = 100 * number
    clip = Clip(
        digest_record("a", asset or str(number)), 0, Span(start * 25, round((start + seconds) * 25), Fraction(1, 25))
    )
    row = ClipRow(clip, "owner", "terms", file_name=f"{number}.mp4", measures={**GOOD, **measures})
    vector = np.random.default_rng(number).normal(size=16) if look is None else np.asarray(look, np.float32)
    return Candidate(row, 1.0, vector, speech)


def strips(light: dict[str, float] | None = None):
    def look(some):
        return {one.row.id: strip((light or {}).get(one.row.id, 0.5)) for one in some}

    return look


def strip(light: float) -> Strip:
    level = np.full(4, light, np.float32)
    return Strip(level, np.full(4, 0.2, np.float32), np.zeros(4, np.float32), (0.0, 0.0, 1.0, 1.0))


def test_every_slot_gets_a_shot_and_no_clip_is_shown_twice():
    slots = [50, 40, 60, 45]
    shots = choose([candidate(n) for n in range(10)], slots, 25, "lively", strips())
    assert [shot.frames for shot in shots] == slots
    assert len({shot.clip for shot in shots}) == 4


@pytest.mark.parametrize(("aspect", "first"), [(16 / 9, "wide"), (9 / 16, "tall")])
def test_footage_of_the_shape_of_the_film_comes_first(aspect, first):
    found = [candidate(n) for n in range(8)]

    def look(some):
        shapes = {one.row.id: 16 / 9 if found.index(one) % 2 else 9 / 16 for one in some}
        return {clip: replace(strip(0.5), aspect=shape) for clip, shape in shapes.items()}

    shots = choose(found, [40, 40, 40], 25, "lively", look, aspect=aspect)
    places = [next(n for n, one in enumerate(found) if one.row.id == shot.clip) for shot in shots]
    assert {"wide" if place % 2 else "tall" for place in places} == {first}


def test_a_shot_lies_within_its_clip():
    found = [candidate(n, 2.5) for n in range(8)]
    spans = {one.row.id: one.row.span for one in found}
    for shot in choose(found, [50, 50, 40], 25, "lively", strips()):
        assert spans[shot.clip].start_s < shot.from_s
        assert shot.from_s + shot.frames / 25 < spans[shot.clip].end_s


def test_near_duplicates_are_shown_once():
    same = np.ones(16)
    found = [candidate(n, look=same) for n in range(6)] + [candidate(n) for n in range(6, 10)]
    alike = {one.row.id for one in found[:6]}
    shots = choose(found, [30] * 5, 25, "lively", strips())
    assert sum(shot.clip in alike for shot in shots) == 1


def test_the_better_picture_wins():
    dull = [candidate(n, sharpness=0.1, contrast=0.05) for n in range(5)]
    fine = [candidate(n) for n in range(5, 10)]
    shots = choose([*dull, *fine], [30, 30, 30], 25, "lively", strips())
    assert {shot.clip for shot in shots} <= {one.row.id for one in fine}


def test_what_cannot_be_seen_is_not_picked():
    found = [candidate(n) for n in range(8)]
    dark = {one.row.id: 0.01 for one in found[:5]}
    shots = choose(found, [30, 30, 30], 25, "lively", strips(dark))
    assert not {shot.clip for shot in shots} & set(dark)


def test_no_sentence_is_cut_in_two_where_there_is_room():
    found = [candidate(0, 6.0, speech=((0.5, 2.0), (2.6, 4.4)))]
    [shot] = choose(found, [25], 25, "lively", strips())
    start, end = shot.from_s, shot.from_s + 1
    assert not any(a < edge < b for a, b in found[0].speech for edge in (start, end))
    assert shot.sound


def test_a_shot_that_must_break_a_sentence_is_silent():
    found = [candidate(0, 3.0, speech=((0.0, 3.0),))]
    [shot] = choose(found, [40], 25, "lively", strips())
    assert not shot.sound


def test_fades_at_the_edges_are_left_out():
    found = [candidate(0, 4.0)]

    def look(some):
        base = strip(0.5)
        return {one.row.id: Strip(base.light, base.spread, base.black, base.active, clear=(1.0, 2.6)) for one in some}

    [shot] = choose(found, [30], 25, "calm", look)
    assert shot.from_s >= 1.0
    assert shot.from_s + 1.2 <= 2.6


def test_too_little_footage_is_said_with_numbers():
    with pytest.raises(NotFound) as caught:
        choose([candidate(0, 2.0)], [250], 25, "lively", strips())
    assert caught.value.code == "promo.too_little"
    assert caught.value.values["needed"] == "10.0"


def test_clips_somebody_named_are_shown_in_that_order():
    found = [candidate(n) for n in (3, 1, 2)]
    shots = choose(found, [40, 40, 40], 25, "calm", strips(), keeps_order=True)
    assert [shot.clip for shot in shots] == [one.row.id for one in found]
    assert sum(shot.frames for shot in shots) == 120


@pytest.mark.parametrize("style", ["lively", "documentary"])
def test_people_who_are_seen_are_preferred_and_nearer_ones_more(style):
    place, far, near = (candidate(0, face_share=share, face_size=size) for share, size in ((0, 0), (1, 0.06), (1, 0.2)))
    scores = [judge(one, style).score for one in (place, far, near)]
    assert scores == sorted(scores)
    assert scores[0] < scores[-1] < 1.1 * scores[0]


@pytest.mark.parametrize(("faces_s", "low", "high"), [((0.0, 2.0), 0.0, 2.2), ((6.0, 8.0), 5.5, 9.0)])
def test_of_a_long_clip_the_part_with_people_is_shown(faces_s, low, high):
    def look(some):
        even = np.full(5, 0.5, np.float32)
        base = replace(strip(0.5), light=even, spread=even * 0.4, black=even * 0, faces_s=faces_s)
        return {one.row.id: base for one in some}

    found = [candidate(0, 10.0, face_share=0.4, face_size=0.2)]
    [shot] = choose(found, [30], 25, "lively", look)
    assert low <= shot.from_s <= high
    assert choose(found, [30], 25, "calm", look)[0].from_s == pytest.approx(3.6, abs=0.6)


def test_a_calm_film_asks_for_neither_people_nor_places():
    scores = {judge(candidate(0, face_share=share, face_size=share), "calm").score for share in (0.0, 0.5, 1.0)}
    assert len(scores) == 1


@pytest.mark.parametrize("style", sorted(PACES))
def test_what_was_never_measured_is_worth_what_a_place_without_sound_is(style):
    old, new = candidate(0), candidate(0, face_share=0.0, face_size=0.0)
    assert judge(old, style, is_heard=True).score == judge(new, style, is_heard=True).score


def test_sound_that_is_alive_is_preferred_where_it_is_heard():
    def score(**measures):
        return judge(candidate(0, **measures), "lively", is_heard=True).parts["loud"]

    alive, faint = score(loudness_lufs=-23.0, peak_dbfs=-3.0), score(loudness_lufs=-46.0, peak_dbfs=-30.0)
    clipped, harsh = score(loudness_lufs=-14.0, peak_dbfs=0.0), score(loudness_lufs=-4.0, peak_dbfs=0.0)
    silent = score()
    assert alive > faint >= silent == 0.5
    assert alive > clipped > harsh
    assert score(loudness_lufs=-23.0, silence_share=0.9) < alive


def test_sound_under_music_or_a_voice_is_not_asked():
    loud = candidate(0, loudness_lufs=-23.0)
    assert judge(loud, "lively").score == judge(candidate(0), "lively").score


def test_people_and_places_take_turns():
    found = [candidate(n, asset="same", face_share=float(n < 5), face_size=0.2 * (n < 5)) for n in range(10)]
    people = {one.row.id for one in found[:5]}
    shots = choose(found, [30] * 6, 25, "documentary", strips())
    assert 2 <= sum(shot.clip in people for shot in shots) <= 4


def test_one_of_the_best_is_kept_for_the_end():
    found = [candidate(n, sharpness=1.0 - 0.1 * n, contrast=0.3) for n in range(8)]
    best = sorted(found, key=lambda one: -judge(one, "lively", strip(0.5)).score)[:2]
    shots = choose(found, [30] * 6, 25, "lively", strips())
    assert {shots[0].clip, shots[-1].clip} == {one.row.id for one in best}


def test_what_is_kept_for_the_end_is_shown_earlier_where_nothing_else_is_left():
    found = [candidate(n, 1.9) for n in range(4)]
    assert len(choose(found, [30] * 4, 25, "lively", strips())) == 4


def test_a_fade_from_black_is_left_out():
    def look(some):
        light = np.asarray([0.02, 0.17, 0.4, 0.42, 0.4], np.float32)
        base = strip(0.5)
        return {
            one.row.id: replace(base, light=light, spread=np.full(5, 0.2, np.float32), black=np.zeros(5, np.float32))
            for one in some
        }

    [shot] = choose([candidate(0, 5.0)], [30], 25, "lively", look)
    assert shot.from_s >= 1.6


def test_a_clip_is_shown_twice_rather_than_one_that_goes_black():
    found = [candidate(0, 12.0), candidate(1, 2.0), candidate(2, 2.0)]

    def look(some):
        dark = np.asarray([0.5, 0.5, 0.0, 0.0], np.float32)
        blacks = {one.row.id: replace(strip(0.5), light=dark, black=1 - 2 * dark) for one in found[1:]}
        return {one.row.id: blacks.get(one.row.id, strip(0.5)) for one in some}

    shots = choose(found, [40, 40, 40], 25, "lively", look)
    assert {shot.clip for shot in shots} == {found[0].row.id}


@pytest.mark.parametrize(("language", "words"), [("zh", "有人物"), ("en", "shows people")])
def test_why_a_shot_was_picked_is_said_in_the_language_of_the_film(language, words):
    found = [candidate(n, face_share=float(n == 0), face_size=0.2 * (n == 0)) for n in range(6)]
    shots = choose(found, [30] * 3, 25, "lively", strips(), language=language)
    [why] = [shot.why for shot in shots if shot.clip == found[0].row.id]
    assert f"{words} 1.00" in why


def test_the_same_footage_gives_the_same_film():
    found = [candidate(n, face_share=n % 2, loudness_lufs=-20.0 - n) for n in range(12)]
    first, again = (choose(some, [30] * 5, 25, "lively", strips(), is_heard=True) for some in (found, found[::-1]))
    assert first == again


def test_captions_burned_in_count_against_a_clip():
    assert judge(candidate(0), "lively").score > judge(candidate(0, caption_share=1.0), "lively").score


@given(
    length=st.floats(3, 60),
    rate=st.sampled_from([24, 25, 30]),
    style=st.sampled_from(sorted(PACES)),
    seed=st.integers(0, 1000),
    tempo=st.one_of(st.none(), st.floats(60, 180)),
)
@settings(max_examples=150, deadline=None)
def test_slots_always_add_up_to_the_length(length, rate, style, seed, tempo):
    beats = np.arange(0, length, 60 / tempo) if tempo else []
    slots = lay_slots(length, rate, style, beats, seed)
    assert sum(slots) == round(length * rate)
    assert min(slots) >= 4
    assert slots == lay_slots(length, rate, style, beats, seed)


def test_cuts_fall_on_beats():
    beats = np.arange(0, 30, 0.5)
    ends = np.cumsum(lay_slots(30, 25, "lively", beats, 3))[:-1] / 25
    away = np.abs(ends[:, None] - beats[None, :]).min(axis=1)
    assert away.max() <= 0.5 / 25 + 1e-9


@pytest.mark.parametrize("tempo", [72, 100, 120, 144])
def test_the_beats_of_a_steady_pulse_are_found(tempo):
    t = np.arange(20 * 16_000) / 16_000
    phase = t % (60 / tempo)
    samples = (np.exp(-phase * 30) * np.sin(2 * np.pi * 180 * t)).astype(np.float32)
    beats = find_beats(onsets(samples))
    assert (
        abs(beats.tempo_bpm - tempo) < 2 or abs(beats.tempo_bpm - 2 * tempo) < 3 or abs(beats.tempo_bpm - tempo / 2) < 2
    )
    away = np.abs(beats.times_s[2:-2, None] - np.arange(0, 20, 60 / tempo)[None, :]).min(axis=1)
    assert np.median(away) < 0.02


def test_noise_and_silence_have_no_beats_or_harmless_ones():
    assert len(find_beats(onsets(np.zeros(16_000 * 10, np.float32))).times_s) == 0
    assert len(find_beats(onsets(np.zeros(10, np.float32))).times_s) == 0


def test_a_clip_is_used_again_elsewhere_only_when_nothing_else_is_left():
    found = [candidate(0, 9.0), candidate(1, 1.6)]
    shots = choose(found, [30, 30, 30], 25, "lively", strips())
    assert {shot.clip for shot in shots} == {one.row.id for one in found}
    long = sorted((shot.from_s, shot.from_s + 1.2) for shot in shots if shot.clip == found[0].row.id)
    assert len(long) == 2
    assert long[0][1] < long[1][0]


@given(
    seconds=st.lists(st.floats(0.9, 6), min_size=3, max_size=14),
    slots=st.lists(st.integers(12, 90), min_size=1, max_size=8),
)
@settings(max_examples=150, deadline=None)
@example(seconds=[2.9375, 1.0, 3.0], slots=[12, 67])  # a stretch that is as long as the slot, to the frame
def test_what_is_shown_adds_up_or_too_little_is_said(seconds, slots):
    found = [candidate(n, length) for n, length in enumerate(seconds)]
    try:
        shots = choose(found, slots, 25, "lively", strips())
    except NotFound:  # said, not shown
        return
    assert sum(shot.frames for shot in shots) == sum(slots)
    spans = {one.row.id: one.row.span for one in found}
    shown = sorted((shot.clip, shot.from_s, shot.from_s + shot.frames / 25) for shot in shots)
    for clip, start, end in shown:
        assert spans[clip].start_s <= start
        assert end <= spans[clip].end_s + 0.001
    for before, after in pairwise(shown):
        assert before[0] != after[0] or before[2] < after[1]


def proven(number: int, sure: float, **proof) -> Candidate:
    one = candidate(number)
    return replace(one, fit=sure, proof=Proof(sure, **proof))


def test_what_surely_shows_the_words_goes_before_all_that_may_and_repeats_a_look_rather_than_show_something_else():
    same = np.ones(16)
    sure = [replace(proven(n, 0.85, of_file=("云海",)), look=same) for n in range(3)]
    doubtful = [proven(n, 0.4, of_file=("云海",)) for n in range(3, 8)]
    shots = choose([*doubtful, *sure], [50, 40], 25, "lively", strips())
    assert {shot.clip for shot in shots} <= {one.row.id for one in sure}


def test_where_the_sure_ones_are_too_little_the_doubtful_ones_help_out():
    found = [proven(0, 1.0, of_shot=("云海",), field="look"), *(proven(n, 0.4, of_file=("云海",)) for n in range(1, 5))]
    shots = choose(found, [60, 60, 60], 25, "lively", strips())
    assert found[0].row.id in {shot.clip for shot in shots}
    assert len({shot.clip for shot in shots}) == 3


@pytest.mark.parametrize(
    ("proof", "told"),
    [
        ({"of_shot": ("云海",), "field": "look"}, "labelled “云海”"),
        ({"of_shot": ("张家", "家界"), "field": "caption"}, "its captions or speech say “张家界”"),
        ({"of_file": ("night", "city")}, "only its file says “night city”, 0.40 sure"),
    ],
)
def test_the_first_reason_says_what_the_words_were_found_in(proof, told):
    [shot] = choose([proven(0, 0.4, **proof)], [40], 25, "lively", strips(), language="en")
    assert shot.why[0] == told


def test_where_no_words_were_asked_for_no_reason_says_that_they_fit():
    shots = choose([candidate(n) for n in range(6)], [40, 40], 25, "lively", strips(), language="en")
    assert shots[0].why
    assert not any("fits" in one for shot in shots for one in shot.why)


@pytest.mark.parametrize("waiting", [[], [40]])
def test_what_is_left_of_a_slot_that_is_too_long_is_no_flash(waiting):
    found = [candidate(n, 2.4) for n in range(6)]  # each holds 54 frames
    shots = choose(found, [58, *waiting], 25, "lively", strips())
    assert sum(shot.frames for shot in shots) == 58 + sum(waiting)
    assert min(shot.frames for shot in shots) >= 20


def test_credits_and_boards_of_text_are_not_picked_while_there_is_anything_else():
    found = [candidate(n) for n in range(8)]
    boards = {one.row.id for one in found[:4]}

    def look(some):
        return {
            one.row.id: replace(strip(0.5), board=np.full(4, float(one.row.id in boards), np.float32)) for one in some
        }

    shots = choose(found, [40, 40, 40], 25, "lively", look)
    assert not {shot.clip for shot in shots} & boards
    assert choose(found[:1], [40], 25, "lively", look)[0].clip in boards  # somebody asked for nothing else


def test_of_a_clip_that_begins_with_a_card_only_the_rest_is_shown():
    found = [candidate(0, 8.0)]

    def look(some):
        return {one.row.id: replace(strip(0.5), board=np.asarray([1, 1, 0, 0], np.float32)) for one in some}

    [shot] = choose(found, [40], 25, "lively", look)
    assert shot.from_s >= 3.0


def test_rather_short_shots_than_black_and_rather_none_than_that():
    found = [candidate(0, 3.0), candidate(1, 2.0), candidate(2, 30.0)]
    dark = {found[2].row.id: 0.0}
    shots = choose(found, [50, 40], 25, "lively", strips(dark))
    assert {shot.clip for shot in shots} == {one.row.id for one in found[:2]}
    with pytest.raises(NotFound) as caught:
        choose(found, [50, 50, 50, 50], 25, "lively", strips(dark))
    assert caught.value.code == "promo.too_little"
    assert float(caught.value.values["found"]) < 5
    assert caught.value.values["needed"] == "8.0"
