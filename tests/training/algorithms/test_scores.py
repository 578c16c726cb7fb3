"""Scores in MIDI and ABC become notes, and notes tokens; nothing of this needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from drawn_job import modules_of
from drawn_words import midi_scale

C_MAJOR = [60, 62, 64, 65, 67, 69, 71, 72]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    with modules_of("music-lm", tmp_path_factory.mktemp("music"), "notes", "midi", "abc_notation") as found:
        yield found


@pytest.fixture
def abc(music: dict[str, ModuleType]) -> ModuleType:
    return music["abc_notation"]


def heard(abc: ModuleType, tune: str, key: str = "C", unit: str = "1/4") -> list[tuple[int, int, int]]:
    """Start, length, pitch of each note of a line of music."""
    return [tuple(note[:3]) for note in abc.read_abc(f"X:1\nL:{unit}\nK:{key}\n{tune}\n")]


def pitches(abc: ModuleType, tune: str, key: str = "C") -> list[int]:
    return [pitch for _start, _length, pitch in heard(abc, tune, key)]


def test_a_midi_file_written_by_hand_is_read(music: dict[str, ModuleType]) -> None:
    notes = music["midi"].read_midi(midi_scale(60))
    assert [note.pitch for note in notes] == C_MAJOR
    assert [(note.start, note.length) for note in notes] == [(12 * n, 12) for n in range(8)]


def test_what_is_written_reads_the_same(music: dict[str, ModuleType]) -> None:
    note, lots = music["notes"].Note, np.random.default_rng(0)
    for _ in range(20):
        drawn = {(int(s) * 6, int(p), int(g)) for s, p, g in lots.integers((0, 30, 0), (200, 90, 17), (40, 3))}
        notes = sorted(note(start, 6, pitch, group) for start, pitch, group in drawn)
        assert music["midi"].read_midi(music["midi"].write_midi(notes)) == notes


def test_drums_are_told_by_their_channel(music: dict[str, ModuleType]) -> None:
    note, drums = music["notes"].Note, music["notes"].DRUMS
    found = music["midi"].read_midi(music["midi"].write_midi([note(0, 6, 36, drums), note(0, 6, 60, 3)]))
    assert {one.group for one in found} == {drums, 3}


@pytest.mark.parametrize("cut", [*range(0, 14), *range(23, 80, 5)])
def test_a_midi_file_that_is_cut_off_is_refused(music: dict[str, ModuleType], cut: int) -> None:
    with pytest.raises(ValueError, match=r"MIDI|cut off|event"):
        music["midi"].read_midi(midi_scale(60)[:cut])


def test_ten_thousand_damaged_midi_files_do_no_harm(music: dict[str, ModuleType]) -> None:
    lots, sound = np.random.default_rng(1), bytearray(midi_scale(60))
    for _ in range(10_000):
        data = bytearray(sound)
        for place in lots.integers(0, len(data), 3):
            data[place] = lots.integers(256)
        try:
            notes = music["midi"].read_midi(bytes(data))
        except ValueError:
            continue
        assert all(0 <= note.pitch < 128 and note.length > 0 and note.start >= 0 for note in notes)


def test_octaves_and_accidentals(abc: ModuleType) -> None:
    assert pitches(abc, "C,, C, C c c' ^C _D =C ^^C __D") == [36, 48, 60, 72, 84, 61, 61, 60, 62, 60]


def test_an_accidental_lasts_to_the_bar(abc: ModuleType) -> None:
    assert pitches(abc, "^F F f | F") == [66, 66, 77, 65]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("C", [65, 71]),
        ("G", [66, 71]),
        ("F", [65, 70]),
        ("D", [66, 71]),
        ("Em", [66, 71]),
        ("Bb", [65, 70]),
        ("A minor", [65, 71]),
        ("D dor", [65, 71]),
        ("F# minor", [66, 71]),
    ],
)
def test_keys_move_notes(abc: ModuleType, key: str, expected: list[int]) -> None:
    assert pitches(abc, "F B", key) == expected


def test_lengths(abc: ModuleType) -> None:
    assert [length for _s, length, _p in heard(abc, "C C2 C/ C// C3/2 C/4")] == [12, 24, 6, 3, 18, 3]


def test_broken_rhythm_and_triplets(abc: ModuleType) -> None:
    assert [one[:2] for one in heard(abc, "C>D C<D (3CDE F")] == [
        *((0, 18), (18, 6), (24, 6), (30, 18)),
        *((48, 8), (56, 8), (64, 8), (72, 12)),
    ]


def test_chords_rests_and_ties(abc: ModuleType) -> None:
    assert heard(abc, "[CEG]2 z C-C D") == [
        *((0, 24, 60), (0, 24, 64), (0, 24, 67)),
        *((36, 24, 60), (60, 12, 62)),
    ]


def test_repeats_are_played_twice_with_their_endings(abc: ModuleType) -> None:
    assert pitches(abc, "|: C D |1 E :|2 F | G") == [60, 62, 64, 60, 62, 65, 67]
    assert pitches(abc, "C :| D |: E :: F :|") == [60, 60, 62, 64, 64, 65, 65]


def test_what_has_no_sound_is_passed_over(abc: ModuleType) -> None:
    assert pitches(abc, '"Am"A !f! {gag}B .c (de) % words EFG') == [69, 71, 72, 74, 76]


def test_a_key_and_a_unit_may_change_within_a_tune(abc: ModuleType) -> None:
    assert heard(abc, "F [K:G] F [L:1/8] F\nK:C\nF") == [(0, 12, 65), (12, 12, 66), (24, 6, 66), (30, 6, 65)]


def test_voices_sound_together_and_tunes_one_after_another(abc: ModuleType) -> None:
    two = "X:1\nL:1/4\nK:C\nV:1\nC D\nV:2\nE F\nV:1\nG\n"
    assert [note[:3] for note in abc.read_abc(two)] == [
        (0, 12, 60),
        (0, 12, 64),
        (12, 12, 62),
        (12, 12, 65),
        (24, 12, 67),
    ]
    assert [note.start for note in abc.read_abc("X:1\nL:1/4\nK:C\nC\nX:2\nL:1/4\nK:C\nC\n")] == [0, 12]


@pytest.mark.parametrize("text", ["", "X:1\n", "no music", "X:1\nK:C\n", "{" * 1000, "X:1\nK:C\n" + "|:" * 2000])
def test_a_text_without_a_tune_is_refused(abc: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match="tune"):
        abc.read_abc(text)


def test_a_bomb_of_repeats_does_not_go_off(abc: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(heard(abc, ":|" * 50 + "C" + ":|" * 200)) < 500
    monkeypatch.setattr(abc, "MOST_NOTES", 500)
    with pytest.raises(ValueError, match="too many"):
        abc.read_abc("X:1\nK:C\n" + "C" * 501)


def test_random_signs_do_no_harm(abc: ModuleType) -> None:
    lots = np.random.default_rng(2)
    signs = list("CDEFGabc^_=[]()|:<>-/,'123{}\"!%zZXVKLM \n")
    for _ in range(500):
        try:
            notes = abc.read_abc("X:1\nK:C\n" + "".join(lots.choice(signs, 200)))
        except ValueError:
            continue
        assert all(0 <= note.pitch < 128 and note.length > 0 for note in notes)


def test_tokens_and_back(music: dict[str, ModuleType]) -> None:
    lots, notes = np.random.default_rng(3), music["notes"]
    for _ in range(20):
        drawn = {(int(s), int(g), int(p)) for s, p, g in lots.integers((0, 0, 0), (3000, 128, 17), (50, 3))}
        held = sorted(
            (notes.Note(s, int(lots.integers(1, 49)), p, g) for s, g, p in drawn), key=lambda n: (n[0], n[3], n[2])
        )
        tokens = notes.to_tokens(held)
        assert notes.from_tokens(tokens) == held
        assert max(tokens) < notes.VOCABULARY == 244


def test_tokens_that_make_no_sense_are_passed_over(music: dict[str, ModuleType]) -> None:
    lots = np.random.default_rng(4)
    for _ in range(200):
        for note in music["notes"].from_tokens(lots.integers(0, 244, 100).tolist()):
            assert 0 <= note.pitch < 128
            assert 1 <= note.length <= 48
