"""What makes a piece worth hearing can be counted: themes return, phrases rest, strings slide, the end dies away."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from malan.composing import STYLES, check, compose, make_plan, read_tags
from malan.composing.harmony import harmonise
from malan.composing.melody import sing
from malan.composing.score import QUARTER, SIXTEENTH
from malan.composing.singing import Came, Slot, Voice, sung
from malan.composing.theory import FIVE_TONE, Key, chord_of
from malan.composing.words import STYLE_WORDS, nearest_words

NAMES = sorted(STYLES)
WESTERN = [name for name in NAMES if STYLES[name].modes[0] not in FIVE_TONE]


def plan_of(style: str, seconds: float = 60.0, seed: int = 0, **more):
    return make_plan(read_tags([STYLE_WORDS[style][0]]), seconds, seed=seed, **more)


def tune_of(plan):
    return sing(plan, harmonise(plan), 60, 86)


def bars_of(plan, tune) -> dict[int, tuple[tuple[int, int], ...]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for note in tune:
        found.setdefault(note.start // plan.bar, []).append((note.start % plan.bar, note.pitch))
    return {bar: tuple(notes) for bar, notes in found.items()}


@pytest.mark.parametrize("style", ["pop", "rock", "folk", "waltz", "luogu", "huaguxi", "jazz"])
def test_what_was_heard_comes_back(style):
    shares = []
    for seed in range(3):
        plan = plan_of(style, seed=seed)
        bars = bars_of(plan, tune_of(plan))
        times = Counter(bars.values())
        shares.append(sum(times[bar] > 1 for bar in bars.values()) / len(bars))
    assert sum(shares) / len(shares) >= 0.3


@pytest.mark.parametrize("style", NAMES)
def test_phrases_rest_on_a_tone_of_the_chord(style):
    resting = stable = 0
    for seed in range(2):
        plan = plan_of(style, seed=seed)
        harmony, tune = harmonise(plan), tune_of(plan)
        for section in plan.sections:
            for number in range(3, section.bars, 4):
                bar = harmony[section.bar + number]
                here = [note for note in tune if bar.start <= note.start < bar.start + bar.length]
                if here:
                    breathes = here[-1].start + here[-1].length < bar.start + bar.length  # else it leads on
                    rest = here[-1] if breathes else max(here, key=lambda note: (note.length, -note.start))
                    resting += 1
                    stable += rest.pitch % 12 in bar.chord.tones
    assert stable >= 0.75 * resting


@pytest.mark.parametrize("style", NAMES)
def test_a_melody_moves_mostly_by_step_and_leaps_turn_back(style):
    plan = plan_of(style, seed=1)
    tune = tune_of(plan)
    pitches = [plan.key.nearest(note.pitch) for note in tune]
    steps = [two - one for one, two in pairwise(pitches)]
    assert sum(abs(step) <= 2 for step in steps) >= 0.6 * len(steps)
    joined = [two.start - one.start - one.length < QUARTER for one, two in pairwise(tune)]  # no breath between
    wide = [
        (one, two) for (one, two), is_sung in zip(pairwise(steps), joined, strict=False) if abs(one) >= 5 and is_sung
    ]
    assert all(one * two <= 0 or abs(two) <= 2 for one, two in wide)


@pytest.mark.parametrize("style", WESTERN)
def test_the_melody_does_not_run_with_the_bass(style):
    for seed in range(3):
        assert [one for one in check(compose(plan_of(style, 40.0, seed))) if one.rule.startswith("parallel")] == []


def test_the_checker_hears_a_melody_that_runs_with_the_bass():
    score = compose(plan_of("pop", 60.0))
    [bass] = [part for part in score.parts if part.role == "bass"]
    [tune] = [part for part in score.parts if part.role == "melody"]
    doubled = tuple(note._replace(pitch=note.pitch + 36) for note in bass.notes)
    spoilt = replace(tune, notes=doubled, lowest=0, highest=127)
    parts = tuple(spoilt if part is tune else part for part in score.parts)
    assert "parallel octaves" in {one.rule for one in check(replace(score, parts=parts))}


def test_a_phrase_is_found_as_one_and_takes_up_its_theme():
    key = Key(0, "major")
    chord, voice = chord_of("I", key), Voice(Key(0, "major"), 60, 84)
    slots = [Slot(key.nearest(pitch), chord, is_strong=False) for pitch in (64, 65, 67, 72)]
    assert sung(slots, voice, Came())[0] == [64, 65, 67, 72]
    kept = [
        replace(slot, wanted=key.nearest(60), kept=pitch) for slot, pitch in zip(slots, (67, 65, 64, 62), strict=True)
    ]
    assert sung(kept, voice, Came())[0] == [67, 65, 64, 62]
    aimed = [*slots[:-1], replace(slots[-1], goal=7)]
    assert sung(aimed, voice, Came())[0][-1] % 12 == 7


def test_a_foreign_tone_on_a_strong_beat_goes_on_by_step():
    loud = 0
    for style in ("strings", "folk", "pop"):
        plan = plan_of(style, seed=2)
        harmony, tune = harmonise(plan), tune_of(plan)
        for one, two in pairwise(tune):
            bar = harmony[min(one.start // plan.bar, len(harmony) - 1)]
            is_strong = one.start % plan.bar % (8 * SIXTEENTH) == 0
            if is_strong and one.pitch % 12 not in bar.chord.tones and two.start == one.start + one.length:
                loud += abs(two.pitch - one.pitch) > 2
    assert loud <= 2


def test_bowed_strings_slide_and_tremble():
    for style, name in (("jiangnan", "erhu"), ("huaguxi", "datong"), ("luogu", "jinghu")):
        [part] = [one for one in compose(plan_of(style)).parts if one.name == name]
        bends = [cents for _, cents in part.bends]
        assert max(abs(cents) for cents in bends) <= 200  # the range of a bend
        assert len({cents for cents in bends if 2 < abs(cents) < 70}) > 8
        assert all(one[0] < two[0] for one, two in pairwise(part.bends))


def test_a_second_voice_sings_below_the_refrain():
    score = compose(plan_of("pop"))
    [below] = [part for part in score.parts if part.name == "second lead"]
    [tune] = [part for part in score.parts if part.role == "melody"]
    refrain = [span for span in score.form if "chorus" in span.name and "pre" not in span.name]
    inside = [note for note in below.notes if note.start < score.form[-1].end - 60]
    assert inside
    assert all(any(span.start - 60 <= note.start < span.end for span in refrain) for note in inside)
    for note in inside:
        above = [one.pitch for one in tune.notes if abs(one.start - note.start) <= 60]
        assert any(3 <= pitch - note.pitch <= 9 for pitch in above)


@pytest.mark.parametrize("style", ["cinematic", "strings", "jiangnan", "rock"])
def test_the_last_chord_dies_away(style):
    score = compose(plan_of(style, 30.0))
    last = score.form[-1].end
    dying = [[value for tick, number, value in part.controls if number == 11 and tick >= last] for part in score.parts]
    fading = [values for values in dying if len(values) > 4]
    assert fading
    assert all(values == sorted(values, reverse=True) and values[-1] < 0.5 * values[0] for values in fading)
    loop = compose(plan_of(style, 30.0, loop=True))
    assert not [1 for part in loop.parts for tick, number, _ in part.controls if number == 11 and tick >= last * 2]


def test_what_strikes_does_not_ring_at_the_end():
    score = compose(plan_of("cinematic"))
    [part] = [one for one in score.parts if one.name == "spiccato strings"]
    assert max(note.length for note in part.notes) <= QUARTER


def test_periods_ask_and_answer():
    plan = make_plan(read_tags(["waltz"], key="C major"), 60.0)
    harmony = harmonise(plan)
    section = next(one for one in plan.sections if one.theme == "A")
    assert harmony[section.bar + 3].chord.symbol == "V"
    assert [harmony[section.bar + n].chord.symbol for n in (6, 7)] == ["V7", "I"]


def test_four_phrases_of_a_chinese_tune_begin_turn_and_come_home():
    plan = plan_of("huaguxi", seed=3)
    section = next(one for one in plan.sections if one.bars == 16)
    bars = bars_of(plan, tune_of(plan))
    rhythms = [tuple(at for at, _ in bars[section.bar + 4 * phrase]) for phrase in range(4)]
    assert rhythms[0] == rhythms[1] == rhythms[3] != rhythms[2]


def test_words_that_were_misspelt_have_neighbours():
    assert "江南丝竹" in nearest_words(["江男丝竹"])
    assert "cinematic" in nearest_words(["cinematik"])
    assert nearest_words(["\x00\x1b[31m", "x" * 400]) == []
    assert len(nearest_words(["pian", "flut", "jaz", "rok", "foll", "epik"] * 4)) <= 6
