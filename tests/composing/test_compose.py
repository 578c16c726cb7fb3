"""Scores keep what was asked: length, tempo, key, ranges, rules of four voices; the same seed gives the same bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malan.composing import STYLES, check, compose, describe, make_plan, read_tags, to_midi
from malan.composing.chinese import PATTERNS
from malan.composing.theory import FIVE_TONE, SCALES, Key
from malan.composing.words import STYLE_WORDS
from malan.core.errors import UsageError
from malan.media.midi import MidiFile, read_midi, write_midi

NAMES = sorted(STYLES)
CHINESE = [name for name in NAMES if STYLES[name].modes[0] in FIVE_TONE]
wished = st.fixed_dictionaries(
    {
        "style": st.sampled_from(NAMES),
        "seconds": st.floats(3, 130).map(lambda s: round(s, 3)),
        "seed": st.integers(0, 10**6),
    }
)


def score_of(style, seconds=40.0, seed=0, **more):
    tags = [STYLE_WORDS[style][0], *more.pop("tags", ())]
    asked = {name: more.pop(name) for name in ("tempo", "key") if name in more}
    return compose(make_plan(read_tags(tags, **asked), seconds, seed=seed, **more))


def read_back(score) -> MidiFile:
    return read_midi(write_midi(to_midi(score)))


@settings(max_examples=40, deadline=None)
@given(wished)
def test_every_score_is_as_long_as_asked_and_breaks_no_rule(asked):
    score = score_of(asked["style"], asked["seconds"], asked["seed"])
    assert abs(to_midi(score).seconds_at(score.end) - asked["seconds"]) < 0.002
    assert check(score) == []
    last = max(note.start + note.length for part in score.parts for note in part.notes if not part.is_drums)
    assert to_midi(score).seconds_at(last) < asked["seconds"]


@settings(max_examples=30, deadline=None)
@given(wished, st.integers(45, 200))
def test_a_tempo_that_is_asked_for_is_kept_exactly(asked, bpm):
    piece = read_back(score_of(asked["style"], asked["seconds"] + 6, asked["seed"], tempo=float(bpm)))
    assert [tempo for _, tempo in piece.tempos] == [round(60e6 / bpm)]


@settings(max_examples=30, deadline=None)
@given(wished, st.integers(0, 11), st.sampled_from(["major", "minor", *FIVE_TONE]))
def test_a_key_that_is_asked_for_is_heard(asked, tonic, mode):
    style = asked["style"]
    if mode in FIVE_TONE and style not in CHINESE:
        return
    score = score_of(style, asked["seconds"], asked["seed"], key=str(Key(tonic, mode)))
    heard = Counter()
    for part in score.parts:
        for note in part.notes:
            heard[note.pitch % 12] += 0 if part.is_drums else note.length
    scale = set(score.key.scale) | ({(tonic - 1) % 12} if score.key.is_minor and not score.key.is_five_tone else set())
    assert sum(heard[tone] for tone in scale) >= 0.97 * sum(heard.values())
    assert score.harmony[-1].chord.root == tonic
    assert min(score.harmony[-1].voices) % 12 == tonic


@pytest.mark.parametrize("style", CHINESE)
@pytest.mark.parametrize("seed", range(6))
def test_a_chinese_style_never_leaves_its_five_tones(style, seed):
    score = score_of(style, 60.0, seed)
    assert score.key.mode in FIVE_TONE
    pitches = {note.pitch % 12 for part in score.parts if not part.is_drums for note in part.notes}
    assert pitches <= set(score.key.scale)
    assert len(score.key.scale) == 5


@pytest.mark.parametrize("style", NAMES)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(style):
    one, two, other = (write_midi(to_midi(score_of(style, 30.0, seed))) for seed in (4, 4, 5))
    assert one == two
    assert one != other


@pytest.mark.parametrize("style", NAMES)
def test_a_minute_has_a_form_with_a_climax_and_an_end(style):
    score = score_of(style, 60.0)
    energies = [span.energy for span in score.form]
    assert len(score.form) >= 2
    assert max(energies) >= 0.8
    assert energies.index(max(energies)) >= len(energies) // 2
    final = [
        note
        for part in score.parts
        if not part.is_drums
        for note in part.notes
        if note.start >= score.form[-1].end - 12
    ]
    assert final
    assert {note.pitch % 12 for note in final} <= set(score.harmony[-1].chord.tones)


def test_silk_and_bamboo_is_one_tune_ornamented_by_each():
    score = score_of("jiangnan", 60.0)
    lines = {
        part.name: {(n.start // 240, n.pitch % 12) for n in part.notes} for part in score.parts if not part.is_drums
    }
    counts = {part.name: len(part.notes) for part in score.parts}
    assert {"dizi", "erhu", "pipa", "yangqin"} <= set(lines)
    assert len(set(counts.values())) >= 5
    for name in ("erhu", "pipa", "yangqin"):
        shared = lines["dizi"] & lines[name]
        assert len(shared) >= 0.25 * min(len(lines["dizi"]), len(lines[name])), name


def test_the_gongs_play_patterns_that_have_names():
    assert {"急急风", "四击头", "慢长锤", "抽头", "冲头"} <= set(PATTERNS)
    for rows in PATTERNS.values():
        for row in rows:
            assert len(row.split()) == 4
    score = score_of("luogu", 60.0)
    [gongs] = [part for part in score.parts if part.kit == "luogu"]
    assert {52, 49, 67, 76} <= {note.pitch for note in gongs.notes}


def test_the_datong_plays_the_raised_tones_of_hunan():
    score = score_of("huaguxi", 60.0, key="A yu")
    [datong] = [part for part in score.parts if part.name == "datong"]
    assert any(abs(cents - 40) < 1 for _, cents in datong.bends)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(NAMES), st.lists(st.floats(0.5, 27), min_size=1, max_size=6, unique=True), st.integers(0, 99))
def test_cuts_are_struck_when_they_come(style, hits, seed):
    score = score_of(style, 30.0, seed, hits=sorted(hits))
    piece = to_midi(score)
    [part] = [one for one in score.parts if one.role == "hits"]
    struck = {note.start for note in part.notes}
    for asked, tick in score.hits:
        assert tick in struck
        assert abs(piece.seconds_at(tick) - asked) <= 0.04 if asked < 27 else True
    assert check(score) == []


@pytest.mark.parametrize("style", NAMES)
def test_a_loop_has_whole_bars_and_no_last_chord(style):
    score = score_of(style, 24.0, loop=True)
    assert score.is_loop
    last = score.form[-1].end
    assert abs(to_midi(score).seconds_at(last) - 24.0) < 0.002
    assert all(note.start < last + 12 for part in score.parts for note in part.notes)
    assert check(score) == []


@pytest.mark.parametrize(
    ("seconds", "more", "code"),
    [(0.0, {}, "music.bad_length"), (36_000.0, {}, "music.bad_length"), (-5.0, {}, "music.bad_length"),
     (20.0, {"hits": [25.0]}, "music.bad_hit"), (20.0, {"hits": [-1.0]}, "music.bad_hit"),
     (20.0, {"hits": [n / 4 for n in range(65)]}, "music.too_many_hits"),
     (20.3, {"loop": True, "tempo": 120.0}, "music.no_loop"),
     (20.0, {"tempo": 10.0}, "music.bad_tempo"),
     (4.0, {"tempo": 45.0}, "music.too_slow"), (20.0, {"key": "H"}, "music.bad_key"),
     (20.0, {"key": "D zhi"}, "music.contradiction")],
)  # fmt: skip
def test_what_cannot_be_is_refused(seconds, more, code):
    with pytest.raises(UsageError) as refused:
        score_of("pop", seconds, **more)
    assert refused.value.code == code


def test_instruments_asked_for_are_heard():
    names = {part.name for part in score_of("pop", 30.0, tags=["saxophone"]).parts}
    assert "saxophone" in names
    kits = {part.kit for part in score_of("pop", 30.0, tags=["三弦", "京胡"]).parts}
    assert {"sanxian", "jinghu"} <= kits
    assert "flute" in {part.name for part in score_of("pentatonic", 30.0, tags=["flute"]).parts}  # no dizi will do
    assert not [part for part in score_of("rock", 30.0, tags=["no drums"]).parts if part.is_drums]
    assert [part for part in score_of("strings", 60.0, tags=["drums"]).parts if part.is_drums]


def test_the_story_of_a_score_is_plain_json():
    told = describe(score_of("waltz", 30.0))
    assert told["beats_a_bar"] == 3
    assert told["form"][-1]["to_s"] < told["seconds"]
    assert all(len(one["voices"]) == 4 for one in told["harmony"])


def plant(score, number, **changes):
    harmony = list(score.harmony)
    harmony[number] = replace(harmony[number], **changes)
    return {one.rule for one in check(replace(score, harmony=tuple(harmony)))}


def test_the_checker_finds_what_is_planted():
    score = score_of("strings", 60.0, key="C major")
    number = next(n for n, one in enumerate(score.harmony) if n and one.chord != score.harmony[n - 1].chord)
    bass, tenor, alto, soprano = score.harmony[number].voices
    assert "range" in plant(score, number, voices=(bass - 36, tenor, alto, soprano))
    assert "crossing" in plant(score, number, voices=(bass, alto, tenor, soprano))
    assert "spacing" in plant(score, number, voices=(bass, tenor, alto, soprano + 24))
    assert "foreign tone" in plant(score, number, voices=(bass, tenor, alto, soprano + 1))
    first = score.harmony[0].voices
    assert "not as sung" in plant(score, 0, voices=(*first[:3], first[3] + 1))


def moved(one, two, chords=("I", "IV"), key="C major"):
    """What the checker says of two chords alone."""
    from malan.composing.score import Harmony
    from malan.composing.theory import chord_of

    score = score_of("strings", 20.0, key=key)
    held = tuple(
        Harmony(n * 1920, 1920, chord_of(symbol, score.key), voices)
        for n, (symbol, voices) in enumerate(zip(chords, (one, two), strict=True))
    )
    return {found.rule for found in check(replace(score, harmony=held, parts=()))}


def test_the_checker_knows_the_rules_of_the_books():
    assert moved((48, 60, 64, 67), (53, 60, 65, 69)) == set()
    assert "parallel fifths" in moved((48, 55, 64, 72), (53, 60, 65, 69))
    assert "parallel octaves" in moved((48, 55, 64, 72), (53, 57, 60, 77))
    assert "seventh" in moved((43, 59, 65, 74), (48, 60, 67, 76), ("V7", "I"))
    assert "leading tone" in moved((43, 62, 67, 71), (48, 60, 64, 67), ("V", "I"))
    assert "no third" in moved((48, 60, 67, 72), (53, 60, 65, 69))
    assert "doubled" in moved((47, 62, 67, 71), (48, 60, 67, 76), ("V/3", "I"))
    assert "hidden perfect" in moved((48, 60, 64, 67), (53, 60, 69, 77))


def test_the_checker_hears_leaps_and_foreign_tones_in_a_melody():
    score = score_of("jiangnan", 40.0)
    [tune] = [part for part in score.parts if part.role == "melody"]
    one = sorted(tune.notes)[3]
    foreign = next(p for p in range(one.pitch, one.pitch + 12) if p % 12 not in score.key.scale)
    spoilt = tuple(note._replace(pitch=foreign) if note == one else note for note in tune.notes)
    parts = tuple(replace(part, notes=spoilt) if part is tune else part for part in score.parts)
    assert "not in the mode" in {found.rule for found in check(replace(score, parts=parts))}


def test_all_modes_are_rotations_of_one_scale():
    gong = SCALES["gong"]
    for place, mode in enumerate(FIVE_TONE):
        assert sorted((step + gong[place]) % 12 for step in SCALES[mode]) == sorted(gong)
