"""Tags are understood in both languages, and what contradicts itself is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.composing import STYLES, read_tags
from malan.composing.theory import NAMES, SCALES, Key, chord_of
from malan.composing.words import STYLE_WORDS, parse_key
from malan.core.errors import UsageError


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in STYLE_WORDS.items() for word in words])
def test_every_word_for_a_style_names_it(name, word):
    assert read_tags([word]).style == name


def test_every_style_has_words_in_both_languages():
    assert set(STYLE_WORDS) == set(STYLES)
    for words in STYLE_WORDS.values():
        assert any(word.isascii() for word in words)
        assert any(not word.isascii() for word in words)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("C major", Key(0, "major")), ("c小调", Key(0, "minor")), ("F#m", Key(6, "minor")),
        ("升F小调", Key(6, "minor")),
        ("降B大调", Key(10, "major")), ("Bb", Key(10, "major")), ("D zhi", Key(2, "zhi")), ("G徵调", Key(7, "zhi")),
        ("A羽", Key(9, "yu")), ("E dorian", Key(4, "dorian")),
    ],
)  # fmt: skip
def test_keys_are_read_as_people_write_them(text, key):
    assert parse_key(text) == key


@pytest.mark.parametrize("text", ["H major", "C sideways", "", "宫", "a", "Cmajor7", "12"])
def test_what_is_no_key_is_none(text):
    assert parse_key(text) is None


@pytest.mark.parametrize(
    "tags",
    [
        ("rock", "江南丝竹"), ("happy", "sad"), ("欢快", "悲伤"), ("fast", "slow"), ("slow", "160 bpm"),
        ("C major", "D minor"), ("drums", "no drums"), ("C大调", "小调"), ("平静", "动感"),
        ("90 bpm", "120 bpm"), ("major", "minor"),
    ],
)  # fmt: skip
def test_tags_that_contradict_each_other_are_refused(tags):
    with pytest.raises(UsageError) as refused:
        read_tags(["pop", *tags] if not set(tags) & {"rock"} else tags)
    assert refused.value.code == "music.contradiction"
    assert all(refused.value.values.values())


@pytest.mark.parametrize(
    ("tags", "code"),
    [((), "music.no_tag"), (("", " ,，"), "music.no_tag"), (("qwertz",), "music.no_tag"),
     (("a" * 401,), "music.too_many_tags"), (tuple(f"tag{n}" for n in range(25)), "music.too_many_tags"),
     (("pop", "900 bpm"), "music.bad_tempo"), (("<script>alert(1)</script>",), "music.no_tag")],
)  # fmt: skip
def test_tags_that_say_nothing_are_refused(tags, code):
    with pytest.raises(UsageError) as refused:
        read_tags(tags)
    assert refused.value.code == code


def test_wishes_hold_what_was_said():
    wishes = read_tags(["忧伤, 钢琴，慢；A小调", "unheard of"])
    assert (wishes.style, wishes.moods, wishes.pace) == ("piano", ("sad",), 0.2)
    assert (wishes.key, wishes.instruments, wishes.unknown) == (Key(9, "minor"), ("piano",), ("unheard of",))


@pytest.mark.parametrize(
    ("sentence", "style", "moods", "key", "bpm"),
    [
        ("A calm piano piece for rain, in D minor at 70 bpm", "piano", ("calm",), Key(2, "minor"), 70.0),
        ("云雾缭绕的张家界，配一段空灵宁静的江南丝竹", "jiangnan", ("dreamy", "calm"), None, 0.0),
        ("欢快热闹的湖南花鼓戏", "huaguxi", ("happy", "festive"), None, 0.0),
    ],
)
def test_sentences_are_understood_by_the_words_in_them(sentence, style, moods, key, bpm):
    wishes = read_tags([sentence])
    assert (wishes.style, wishes.key, wishes.bpm) == (style, key, bpm)
    assert set(wishes.moods) == set(moods)


def test_a_bare_key_follows_the_gender_that_was_said():
    assert read_tags(["pop", "D", "minor"]).key == Key(2, "minor")


@given(st.lists(st.text(max_size=50), max_size=30))
def test_whatever_is_said_there_is_an_answer(tags):
    with suppress(UsageError):  # a typed answer, whatever was said
        assert read_tags(tags).style in STYLES


@given(st.sampled_from(sorted(SCALES)), st.integers(0, 11))
def test_every_chord_of_every_progression_can_be_read(mode, tonic):
    key = Key(tonic, mode)
    for style in STYLES.values():
        for place, rows in style.progressions.items():
            family = place.split(".")[0]
            if (family == "open") == key.is_five_tone:
                for symbol in " ".join(rows).split():
                    chord = chord_of(symbol, key)
                    assert chord.bass in chord.tones
                    if key.is_five_tone:
                        assert set(chord.tones) <= set(key.scale)


def test_signatures_are_those_of_the_books():
    known = {
        "C major": 0,
        "D major": 2,
        "Bb major": -2,
        "A minor": 0,
        "E minor": 1,
        "D dorian": 0,
        "D zhi": 1,
        "C gong": 0,
    }
    for text, sharps in known.items():
        key = parse_key(text)
        assert key is not None
        assert key.sharps == sharps
    assert str(Key(10, "major")) == f"{NAMES[10]} major"
