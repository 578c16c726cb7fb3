"""Music from tags: a minute of it, beside a script with music21 and FluidSynth alone; and 500 scores, listened to.

Tempo and key are heard by `midi_listener.py`, which shares no code with the composer; loudness and peak by ffmpeg. The
peer runs with the interpreter named by MALAN_BENCH_PYTHON.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Report, arguments, measure
from midi_listener import is_in_key, listen, tempo_of_onsets

CODE = "001191110000802100433B10001"  # a well-formed provider code of an organisation that does not exist
WESTERN = (
    "cinematic",
    "pop",
    "electronic",
    "folk",
    "strings",
    "piano",
    "corporate",
    "rock",
    "jazz",
    "news",
    "waltz",
    "lofi",
)
CHINESE = ("pentatonic", "jiangnan", "luogu", "huaguxi")
ALL = (*WESTERN, "ambient", *CHINESE)
PATCHES = {  # what General MIDI has for them, and a low note
    "guzheng": (107, 57), "pipa": (106, 57), "zhongruan": (24, 45), "sanxian": (105, 48), "yueqin": (105, 57),
    "yangqin": (15, 57), "erhu": (110, 64), "datong": (110, 60), "jinghu": (110, 72), "dizi": (73, 72),
    "xiao": (77, 65), "suona": (111, 69),
}  # fmt: skip
NOTES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def main() -> None:
    options = arguments(__doc__ or "")
    quick = options.quick
    report = Report("Music from tags" if not quick else "Music, a smoke")
    with tempfile.TemporaryDirectory(prefix="malan-bench-") as name:
        a_minute(report, Path(name), seconds=5.0 if quick else 60.0, runs=1 if quick else max(3, options.runs))
        renders(report, Path(name), ("pop",) if quick else ALL, seconds=5.0 if quick else 20.0)
    scores(report, 12 if quick else 500)
    instruments(report, ("pipa", "erhu") if quick else tuple(PATCHES))
    report.show()
    if options.json:
        report.save(options.json)


def a_minute(report: Report, folder: Path, *, seconds: float, runs: int) -> None:
    """Arms take turns; medians."""
    from malan.composing import compose, make_plan, read_tags, render, to_midi
    from malan.media.mastering import write_wav_24
    from malan.media.midi import write_midi

    def music() -> None:
        score = compose(make_plan(read_tags(["电影感", "磅礴"]), seconds))
        write_wav_24(render(score).mastered.samples, folder / "a.wav")
        (folder / "a.mid").write_bytes(write_midi(to_midi(score)))

    asked = {"tags": ("电影感", "磅礴"), "seconds": seconds}
    arms: dict[str, Callable[[], float | None]] = {
        "music": lambda: measure(music)[0].wall_s, "app": lambda: app(folder, asked),
        "limit": lambda: synthesiser_alone(folder), "peer": lambda: peer(folder, seconds),
    }  # fmt: skip
    took: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(runs):
        for arm, run in arms.items():
            if (one := run()) is not None:
                took[arm].append(one)
    middle = {arm: statistics.median(values) if values else None for arm, values in took.items()}
    cpu = measure(music)[0].cpu_s
    beside = {"peer": shown(middle["peer"]), "limit": shown(middle["limit"])}
    said = f"{shown(middle['music'])} ({cpu:.1f} s CPU)"
    what = f"{seconds:g} s of music, 11 instruments: composed, played, mixed, mastered"
    report.add(what, said, **beside, must="≤ 8 s", met=(middle["music"] or 99) <= 8)
    report.add("the same by `malan app run music`, labelled, signed, logged", shown(middle["app"]))
    report.notes.append(
        "Peer: a script with music21 (five parts, random melody), FluidSynth, ffmpeg's loudnorm. Limit: FluidSynth "
        "alone on the same MIDI file, without mix or master."
    )


def app(folder: Path, asked: dict[str, object]) -> float:
    from malan.apps.running import run_app
    from malan.workspace import Workspace

    place = folder / "ws"
    place.mkdir(exist_ok=True)
    (place / "malan.toml").write_text(f'organisation = "bench"\nproducer_code = "{CODE}"\n', "utf-8")
    began = time.perf_counter()
    run_app(Workspace(place), "music", asked, folder / "out")
    return time.perf_counter() - began


def synthesiser_alone(folder: Path) -> float:
    from malan.media.soundfont import find_soundfont

    out = ["-r", "48000", "-T", "wav", "-F", str(folder / "limit.wav")]
    command = [
        "fluidsynth",
        "-ni",
        "-q",
        "-o",
        "synth.dynamic-sample-loading=1",
        *out,
        str(find_soundfont()),
        str(folder / "a.mid"),
    ]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def peer(folder: Path, seconds: float) -> float | None:
    python = os.environ.get("MALAN_BENCH_PYTHON", str(Path(__file__).parents[1] / ".venv-peers/bin/python"))
    command = [python, str(Path(__file__).with_name("music_by_music21.py")), str(seconds), str(folder / "peer")]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the peer did not run: {error}", file=sys.stderr)
        return None
    return float(said.stdout.split()[-1])


def renders(report: Report, folder: Path, styles: tuple[str, ...], *, seconds: float) -> None:
    """Every style, at a target of its own; measured by ffmpeg."""
    from imageio_ffmpeg import get_ffmpeg_exe

    from malan.composing import bed

    lengths, levels, peaks = [], [], []
    for number, style in enumerate(styles):
        target, asked = (-16.0, -23.0, -14.0)[number % 3], seconds + 0.137 * number
        out = bed(asked, folder / "style.wav", tags=[style], seed=number, loudness=target)
        command = [
            get_ffmpeg_exe(),
            "-hide_banner",
            "-nostats",
            "-i",
            str(out),
            "-af",
            "ebur128=peak=true:framelog=quiet",
            "-f",
            "null",
            "-",
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        hours, minutes, rest = re.findall(r"Duration: (\d+):(\d+):([\d.]+)", said)[0]
        lengths.append(abs(3600 * int(hours) + 60 * int(minutes) + float(rest) - asked))
        levels.append(abs(float(re.findall(r"I:\s+(-?[\d.]+) LUFS", said)[-1]) - target))
        peaks.append(float(re.findall(r"Peak:\s+(-?[\d.]+) dBFS", said)[-1]))
    count = f"{len(styles)} styles"
    report.add(f"length, {count}", f"≤ {1000 * max(lengths):.0f} ms off", must="± 10 ms", met=max(lengths) <= 0.0101)
    report.add(f"integrated loudness, {count}", f"≤ {max(levels):.2f} LU off", must="± 0.5 LU", met=max(levels) <= 0.5)
    report.add(f"true peak, {count}", f"≤ {max(peaks):.1f} dBTP", must="≤ -1 dBTP", met=max(peaks) <= -0.95)


def scores(report: Report, count: int) -> None:
    """Scores in keys and tempi drawn by lot, heard by a stranger and judged by the checker."""
    from malan.composing import STYLES, check, compose, make_plan, read_tags, to_midi
    from malan.media.midi import write_midi

    lots = random.Random(7)
    right = {"tempo": 0, "grid": 0, "key": 0, "length": 0}
    faults, cpu = 0, time.process_time()
    for number in range(count):
        style = lots.choice(ALL)
        is_chinese = style in CHINESE
        mode = lots.choice(("gong", "shang", "jue", "zhi", "yu")) if is_chinese else lots.choice(("major", "minor"))
        tonic, slow, fast = lots.randrange(12), *STYLES[style].bpm[::2]
        bpm, seconds = float(lots.randint(round(slow), round(fast))), round(lots.uniform(20, 90), 3)
        wishes = read_tags([style, f"{bpm:g} bpm"], key=f"{NOTES[tonic]} {mode}")
        score = compose(make_plan(wishes, seconds, seed=number))
        faults += len(check(score))
        heard = listen(write_midi(to_midi(score)))
        right["tempo"] += [tempo for _, tempo in heard.tempos] == [round(60e6 / bpm)]
        right["grid"] += abs(tempo_of_onsets(heard, bpm) / bpm - 1) <= 0.003
        right["key"] += is_in_key(heard, tonic, mode)
        right["length"] += abs(heard.seconds(score.end) - seconds) <= 0.010
    took = (time.process_time() - cpu) / count
    names = {
        "tempo": "tempo as asked, by its event",
        "grid": "tempo as asked, by when notes begin",
        "key": "key as asked, by what sounds",
        "length": "length as asked",
    }
    for what, told in names.items():
        report.add(
            f"{told}, {count} scores", f"{100 * right[what] / count:.1f} %", must="100 %", met=right[what] == count
        )
    report.add(
        f"rules broken (four voices, melody and bass, ranges, modes), {count} scores",
        str(faults),
        must="0",
        met=faults == 0,
    )
    report.add("a score: composed, checked, listened to", f"{1000 * took:.0f} ms CPU")


def instruments(report: Report, names: tuple[str, ...]) -> None:
    """Our own instruments beside the patch of the soundfont that plays them otherwise: the same three notes each."""
    from malan.media.instruments import play_instrument
    from malan.media.instruments.plucked import PLUCKED
    from malan.media.midi import MidiFile, MidiNote, MidiTrack
    from malan.media.soundfont import play

    off: dict[str, list[float]] = {"ours": [], "patch": []}
    top: dict[str, list[float]] = {"ours": [], "patch": []}
    rises: dict[str, list[float]] = {"ours": [], "patch": []}
    lows = [PATCHES[name][1] for name in names]
    tracks = tuple(
        MidiTrack(name, 0, PATCHES[name][0], tuple(MidiNote(2400 * n, 1440, low + 7 * n, 90) for n in range(3)))
        for name, low in zip(names, lows, strict=True)
    )
    piece = MidiFile(480, ((0, 500_000),), tracks)
    patches = play(piece, 7.5)
    for name, low, track, patch in zip(names, lows, tracks, patches, strict=True):
        ours = play_instrument(name, piece, track, 7.5)
        for whose, sound in (("ours", ours), ("patch", patch)):
            for n in range(3):
                note = sound[120_000 * n : 120_000 * n + 96_000]
                off[whose].append(abs(cents_off(note, low + 7 * n)))
                if name in PLUCKED:
                    top[whose].append(fall(note, 3000, 8000) - fall(note, 100, 700))
                else:
                    rises[whose].append(rise_ms(note))
    count = f"{len(names)} instruments"
    report.add(
        f"furthest from its pitch, {count} of our own", f"{max(off['ours']):.1f} cents",
        peer=f"{max(off['patch']):.1f} cents", must="≤ 6 cents", met=max(off["ours"]) <= 6,
    )  # fmt: skip
    report.add(
        "plucked: above 3 kHz falls more in half a second than below 700 Hz, median",
        f"{statistics.median(top['ours']):.0f} dB", peer=f"{statistics.median(top['patch']):.0f} dB",
        must="≥ 6 dB", met=statistics.median(top["ours"]) >= 6,
    )  # fmt: skip
    report.add(
        "bows and breath: until a note is there (half of its level), median",
        f"{statistics.median(rises['ours']):.0f} ms", peer=f"{statistics.median(rises['patch']):.0f} ms",
        must="≤ 60 ms", met=statistics.median(rises["ours"]) <= 60,
    )  # fmt: skip
    report.notes.append("Beside our own instruments: the patch of the soundfont that General MIDI has for them.")


def cents_off(sound: Any, pitch: int) -> float:
    """How far what sounds near a pitch lies from it, in the mean: a tone may tremble."""
    import numpy as np

    piece = sound[9600:43_200].mean(axis=1) * np.hanning(33_600)
    level, hertz = np.abs(np.fft.rfft(piece, 1 << 18)), np.fft.rfftfreq(1 << 18, 1 / 48_000)
    steps = 12 * np.log2(np.maximum(hertz, 1) / 440) + 69 - pitch
    near = np.abs(steps) < 0.6
    return float(100 * (steps[near] * level[near] ** 2).sum() / (level[near] ** 2).sum())


def fall(sound: Any, low_hz: float, high_hz: float) -> float:
    """By how many dB a band falls within half a second."""
    import numpy as np

    levels = []
    for start in (480, 24_480):
        level = np.abs(np.fft.rfft(sound[start : start + 4800].mean(axis=1) * np.hanning(4800)))
        hertz = np.fft.rfftfreq(4800, 1 / 48_000)
        levels.append(10 * np.log10((level[(hertz > low_hz) & (hertz < high_hz)] ** 2).sum() + 1e-9))
    return float(levels[0] - levels[1])


def rise_ms(sound: Any) -> float:
    import numpy as np

    power = np.convolve((sound.mean(axis=1)[:48_000]) ** 2, np.full(480, 1 / 480), "same") ** 0.5
    return float(np.argmax(power > 0.5 * np.median(power[14_400:43_200])) / 48)


def shown(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f} s"


if __name__ == "__main__":
    main()
