"""Each style has the form its tradition has; bars add up, tempo moves where it may and length does not."""

from __future__ import annotations

from itertools import pairwise

import pytest

from malan.composing import STYLES, check, compose, make_plan, read_tags, to_midi
from malan.composing.chinese import BIG_GONG, CYMBALS, PATTERNS, SMALL_GONG, TALL_DRUM, _struck
from malan.composing.forms import FORMS, lay_out
from malan.composing.words import STYLE_WORDS

NAMES = sorted(STYLES)
SHAPES = {
    "pop": ["verse", "pre-chorus", "chorus", "last chorus"],
    "rock": ["verse", "pre-chorus", "chorus", "last chorus"],
    "electronic": ["groove", "build", "drop", "breakdown", "build", "drop"],
    "cinematic": ["theme", "theme again", "contrast", "climax"],
    "jazz": ["head", "head again", "bridge", "last head"],
    "strings": ["first theme", "second theme", "development", "recapitulation"],
    "pentatonic": ["起", "承", "转", "合"],
    "jiangnan": ["起", "承", "转", "合"],
    "luogu": ["导板", "慢板", "原板", "流水", "快板", "散板"],
    "huaguxi": ["过门", "正调", "打锣腔", "快川调"],
}  # fmt: skip


def plan_of(style, seconds=60.0, seed=0, tempo=0.0, **more):
    return make_plan(read_tags([STYLE_WORDS[style][0]], tempo=tempo), seconds, seed=seed, **more)


def is_inside(wanted, names):
    left = iter(names)
    return all(any(one == name for name in left) for one in wanted)


@pytest.mark.parametrize("style", sorted(SHAPES))
def test_a_minute_has_the_form_of_its_tradition(style):
    assert is_inside(SHAPES[style], [section.name for section in plan_of(style).sections])


@pytest.mark.parametrize("style", NAMES)
def test_bars_add_up_for_every_length(style):
    unit = 4 if STYLES[style].beats > 2 else 8
    for bars in (*range(1, 60), 137, 300):
        for is_loop in (False, True):
            sections = lay_out(style, bars, unit, 0.0, is_loop=is_loop)
            assert sum(one.bars for one in sections) == bars
            assert all(one.bar + one.bars == two.bar for one, two in pairwise(sections))
            assert all(one.bars > 0 and 0.2 <= one.energy <= 1 for one in sections)
            assert not is_loop or sections[-1].theme != "outro"


def test_a_long_piece_comes_back_and_is_not_the_same_each_time():
    sections = [one for one in lay_out("pop", 200, 4, 0.0, is_loop=False) if one.name == "chorus"]
    assert len(sections) >= 5
    assert len({(one.theme, one.energy) for one in sections}) >= 3
    luogu = [one.name for one in lay_out("luogu", 300, 8, 0.0, is_loop=False)]
    assert luogu.index("导板") < luogu.index("慢板") < luogu.index("原板")
    assert luogu[-2:] == ["快板", "散板"]


def test_opera_goes_from_slow_to_fast_and_ends_free():
    plan = plan_of("luogu")
    at = {section.name: section.bar * plan.bar for section in plan.sections}
    tempo = {name: next(one for tick, one in reversed(plan.tempos) if tick <= start) for name, start in at.items()}
    assert tempo["慢板"] > tempo["原板"] > tempo["流水"] > tempo["快板"]
    free = [one for tick, one in plan.tempos if at["散板"] <= tick < plan.last]
    assert max(free) > 1.3 * min(free)


@pytest.mark.parametrize("style", ["luogu", "jiangnan", "huaguxi", "strings"])
@pytest.mark.parametrize("seconds", [15.0, 33.337, 60.0, 121.5])
def test_a_tempo_that_moves_does_not_move_the_end(style, seconds):
    score = compose(plan_of(style, seconds))
    assert abs(to_midi(score).seconds_at(score.end) - seconds) < 0.001
    assert check(score) == []


@pytest.mark.parametrize("style", ["luogu", "jiangnan", "huaguxi"])
def test_a_tempo_that_was_asked_for_a_loop_and_cuts_hold_it_still(style):
    assert len(plan_of(style, tempo=110.0).tempos) == 1
    assert len(plan_of(style, loop=True).tempos) == 1
    plan = plan_of(style, hits=[7.3, 21.9])
    assert all(abs(one / two - 1) < 0.2 for one, two in pairwise([tempo for _, tempo in plan.tempos]))


def test_before_a_drop_the_kick_stops_the_snare_fills_and_something_rises():
    score = compose(plan_of("electronic"))
    build = next(span for span in score.form if span.name == "build")
    drums = next(part for part in score.parts if part.role == "drums")
    bar = 4 * 480
    kicks = [note for note in drums.notes if note.pitch == 36 and build.end - bar <= note.start < build.end - 12]
    snares = [len([n for n in drums.notes if n.pitch == 38 and at <= n.start < at + bar])
              for at in range(build.start, build.end, bar)]  # fmt: skip
    riser = next(part for part in score.parts if part.name == "riser")
    assert not kicks
    assert snares[-1] > snares[0]
    assert any(abs(note.start + note.length - build.end) < 30 for note in riser.notes)
    assert not [n for n in drums.notes if build.end - 480 + 12 < n.start < build.end - 12]


def test_over_gongs_alone_no_string_is_heard():
    score = compose(plan_of("huaguxi"))
    sung = next(span for span in score.form if span.name == "打锣腔")
    strings = ("datong", "yueqin", "zhongruan", "yangqin", "sanxian")
    inside = {part.name for part in score.parts for n in part.notes if sung.start + 60 <= n.start < sung.end - 60}
    assert not inside & set(strings)
    assert {"luogu", "suona"} <= inside


def strokes(name, drum):
    return sum(note.pitch == drum for row in PATTERNS[name] for note in _struck(row, 0, 1.0))


def test_gong_patterns_are_what_their_names_say():
    assert strokes("四击头", BIG_GONG) == 4
    assert strokes("五锤", BIG_GONG) == 5
    assert strokes("小锣", BIG_GONG) == strokes("小锣长丝头", BIG_GONG) == 0 < strokes("小锣长丝头", SMALL_GONG)
    gongs = [one for one in "".join(PATTERNS["冲头"]) if one in "仓台"]
    assert gongs == list("仓台仓台仓台仓台仓")[: len(gongs)]  # strong and weak in turn
    assert {n.pitch for row in PATTERNS["长丝头"] for n in _struck(row, 0, 1.0)} >= {BIG_GONG, CYMBALS}
    assert strokes("一封书", TALL_DRUM) >= 4
    assert strokes("撕边一锣", BIG_GONG) == 1
    assert strokes("撕边一锣", CYMBALS) == 0


def test_a_minute_of_gongs_does_not_repeat_itself():
    [gongs] = [part for part in compose(plan_of("luogu")).parts if part.kit == "luogu"]
    bars = {}
    for note in gongs.notes:
        bars.setdefault(note.start // 960, set()).add((note.start % 960 // 20, note.pitch))
    rows = [frozenset(one) for one in bars.values()]
    assert len(set(rows)) >= 0.55 * len(rows)
    assert all(len(set(rows[n : n + 4])) > 1 for n in range(len(rows) - 4))


def test_every_style_has_a_form_with_one_climax_and_one_beginning():
    assert set(FORMS) == set(STYLES)
    for form in FORMS.values():
        assert sorted(rank for _, _, rank in form.rows)[:2] == [0, 1]
        assert max(section.energy for section, _, _ in form.rows) >= 0.86


@pytest.mark.parametrize("style", ["jiangnan", "pentatonic", "huaguxi", "luogu"])
def test_chinese_instruments_are_our_own(style):
    own = {part.kit for part in compose(plan_of(style)).parts if part.kit}
    assert len(own) >= 3
    suona = [part for part in compose(plan_of(style)).parts if part.kit == "suona"]
    for part in suona:  # a reed plays one note at a time
        assert all(one.start + one.length <= two.start + 45 for one, two in pairwise(sorted(part.notes)))


@pytest.mark.parametrize("style", ["huaguxi", "jiangnan", "luogu"])
def test_what_sounds_lowest_at_the_end_is_home(style):
    for seed in (61, 179):
        score = compose(plan_of(style, 66.51, seed, tempo=111.0))
        last = score.form[-1].end - 90
        final = [note.pitch for part in score.parts if not part.is_drums for note in part.notes if note.start >= last]
        assert min(final) % 12 == score.key.tonic
        assert check(score) == []
