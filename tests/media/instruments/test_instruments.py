"""Our own instruments are heard: in tune, dying from the top, slurred where notes touch, the same each time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from malan.media.instruments import INSTRUMENTS, play_instrument
from malan.media.instruments.playing import RATE_HZ, Line, Tone, drawn, hertz
from malan.media.instruments.plucked import PLUCKED, pluck
from malan.media.instruments.rising import rise
from malan.media.instruments.sung import SUNG, sing_line
from malan.media.midi import MidiFile, MidiNote, MidiTrack

PITCHES = {"zhongruan": 50, "sanxian": 55, "dizi": 79, "jinghu": 76}


def played(name, notes, seconds=2.0, **more):
    track = MidiTrack(name, 0, 0, tuple(MidiNote(*note) for note in notes), **more)
    return play_instrument(name, MidiFile(480, ((0, 500_000),), (track,)), track, seconds)


def spectrum(sound, start_s, lasts_s):
    first, count = round(start_s * RATE_HZ), round(lasts_s * RATE_HZ)
    piece = sound[first : first + count].mean(axis=1) * np.hanning(count)
    return np.abs(np.fft.rfft(piece, 4 * count)), np.fft.rfftfreq(4 * count, 1 / RATE_HZ)


def cents_off(sound, pitch, start_s=0.25, lasts_s=0.5):
    level, frequencies = spectrum(sound, start_s, lasts_s)
    near = np.abs(np.log2(np.maximum(frequencies, 1) / hertz(pitch))) < 1 / 12
    return 1200 * float(np.log2(frequencies[near][np.argmax(level[near])] / hertz(pitch)))


def band(sound, start_s, low_hz, high_hz):
    level, frequencies = spectrum(sound, start_s, 0.1)
    return 20 * float(np.log10(np.sqrt((level[(frequencies > low_hz) & (frequencies < high_hz)] ** 2).sum()) + 1e-9))


@pytest.mark.parametrize("name", [*PLUCKED, *SUNG])
def test_every_instrument_is_in_tune_heard_and_as_long_as_asked(name):
    pitch = PITCHES.get(name, 69)
    sound = played(name, [(0, 960, pitch, 90)])
    assert sound.shape == (2 * RATE_HZ, 2)
    assert sound.dtype == np.float32
    assert 0.02 < np.abs(sound).max() < 1
    assert abs(cents_off(sound, pitch)) < 6
    assert np.abs(sound[-2000:]).max() < 0.02 * np.abs(sound).max()


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_the_same_notes_give_the_same_samples_on_one_grid(name):
    notes = [(0, 240, 70, 80), (240, 240, 72, 90)]
    one, two = played(name, notes, 0.6), played(name, notes, 0.6)
    assert one.tobytes() == two.tobytes()
    steps = one.astype(np.float64) * 2**22
    assert np.array_equal(steps, np.rint(steps))
    assert not played(name, [], 0.1).any()


@pytest.mark.parametrize("name", ["guzheng", "pipa", "zhongruan", "sanxian", "yueqin"])
def test_high_partials_of_a_plucked_string_die_first(name):
    sound = played(name, [(0, 1920, 57, 92)], 2.4)
    low = band(sound, 0.02, 150, 700) - band(sound, 0.5, 150, 700)
    high = band(sound, 0.02, 3000, 8000) - band(sound, 0.5, 3000, 8000)
    assert high > low + 6


def test_a_stiff_string_stretches_its_partials():
    sound = played("pipa", [(0, 1920, 57, 100)], 1.6)
    level, frequencies = spectrum(sound, 0.05, 1.0)
    off = []
    for partial in (1, 6, 12):
        wanted = partial * hertz(57)
        near = np.abs(frequencies / wanted - 1) < 0.02
        off.append(1200 * float(np.log2(frequencies[near][np.argmax(level[near])] / wanted)))
    assert abs(off[0]) < 2
    assert 0.5 < off[1] < off[2] < 40


def test_fingers_of_a_tremolo_differ_and_a_string_is_one():
    strings = PLUCKED["pipa"]
    tones = tuple(Tone(0.1 * n, 0.1 * n + 0.09, 69, 90) for n in range(6))
    sound = pluck(strings, Line(tones), 1.0)
    strokes = [sound[round(0.1 * n * RATE_HZ) : round((0.1 * n + 0.08) * RATE_HZ), 0] for n in range(6)]
    levels = [np.log(np.abs(np.fft.rfft(one))[8:400:4] + 1e-6) for one in strokes]
    assert all(np.abs(one - two).mean() * 8.7 > 1.5 for one, two in pairwise(levels[1:]))


def test_a_long_tone_of_the_zheng_trembles_and_may_slide_up():
    tones = (Tone(0.0, 0.9, 67, 90), Tone(1.0, 2.4, 69, 90), Tone(2.5, 4.0, 69, 90))
    sound = pluck(PLUCKED["guzheng"], Line(tones), 4.0)
    assert abs(cents_off(sound, 69, 1.9, 0.4)) < 30
    assert np.isfinite(sound).all()


def test_slurred_notes_are_one_breath_and_separate_ones_are_not():
    slurred = played("erhu", [(0, 480, 69, 90), (480, 480, 72, 90)], 1.2)
    apart = played("erhu", [(0, 300, 69, 90), (480, 480, 72, 90)], 1.2)
    around = slice(round(0.47 * RATE_HZ), round(0.5 * RATE_HZ))
    assert np.abs(slurred[around]).max() > 8 * np.abs(apart[around]).max()


def test_bends_stay_until_the_next_and_swells_are_followed():
    straight = played("datong", [(0, 960, 62, 90)], 1.2)
    bent = played("datong", [(0, 960, 62, 90)], 1.2, bends=((0, 40.0), (900, 0.0)))
    assert 34 < cents_off(bent, 62) - cents_off(straight, 62) < 46
    dying = played("erhu", [(0, 960, 69, 90)], 1.2, controls=((0, 11, 127), (480, 11, 30)))
    plain = played("erhu", [(0, 960, 69, 90)], 1.2)
    late = slice(round(0.7 * RATE_HZ), round(0.8 * RATE_HZ))
    assert np.abs(dying[late]).max() < 0.3 * np.abs(plain[late]).max()


def test_harder_is_brighter():
    soft, hard = (played("erhu", [(0, 960, 64, force)], 1.2) for force in (45, 115))
    ratio = [band(sound, 0.4, 2000, 6000) - band(sound, 0.4, 200, 800) for sound in (soft, hard)]
    assert ratio[1] > ratio[0] + 3


def test_a_membrane_colours_the_dizi():
    dizi, xiao = (played(name, [(0, 960, 74, 96)], 1.2) for name in ("dizi", "xiao"))
    bright = [band(sound, 0.4, 3800, 6500) - band(sound, 0.4, 500, 800) for sound in (dizi, xiao)]
    assert bright[0] > bright[1] + 12


def test_where_two_notes_sound_at_once_one_is_sung():
    both = Line((Tone(0.0, 0.5, 62, 90), Tone(0.0, 0.5, 69, 90), Tone(0.3, 0.8, 71, 90), Tone(5.0, 6.0, 60, 90)))
    sound = sing_line(SUNG["suona"], both, 1.0)
    level, frequencies = spectrum(sound, 0.05, 0.2)
    at = [level[np.argmin(np.abs(frequencies - hertz(pitch)))] for pitch in (62, 69)]
    assert at[1] > 5 * at[0]


def test_a_riser_climbs_grows_and_stops():
    sound = rise(Line((Tone(0.5, 2.5, 60, 100), Tone(2.9, 2.92, 60, 100))), 3.0)
    levels = [float(np.abs(sound[round(at * RATE_HZ) :][:4800]).max()) for at in (0.7, 1.5, 2.3)]
    assert levels[0] < levels[1] < levels[2]
    assert not sound[: RATE_HZ // 2].any()
    assert not sound[round(2.51 * RATE_HZ) :].any()
    assert band(sound, 2.3, 4000, 12_000) > band(sound, 2.3, 100, 1000)


def test_lots_are_the_same_for_the_same_numbers():
    assert drawn(3, 4) == drawn(3, 4) != drawn(4, 3)
    assert all(0 <= drawn(n, 7) < 1 for n in range(200))
