"""What somebody with music21 would write: chords from numerals, a melody, bass and drums; MIDI, FluidSynth, loudnorm.

Run by bench_music.py with the interpreter of the peers; prints the seconds it took.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time

SECONDS, BPM = float(sys.argv[1]), 104
OUT = sys.argv[2]

began = time.perf_counter()
from music21 import chord, instrument, key, meter, note, roman, stream, tempo  # noqa: E402

random.seed(0)
home = key.Key("C")
bars = round(SECONDS * BPM / 60 / 4)
parts = {name: stream.Part(id=name) for name in ("melody", "chords", "pad", "bass", "drums")}
players = (instrument.Flute(), instrument.AcousticGuitar(), instrument.StringInstrument(), instrument.ElectricBass())
for part, player in zip(parts.values(), (*players, instrument.UnpitchedPercussion()), strict=True):
    part.append([player, tempo.MetronomeMark(number=BPM), meter.TimeSignature("4/4")])
for bar in range(bars):
    harmony = roman.RomanNumeral(("I", "V", "vi", "IV")[bar % 4], home)
    pitches = list(harmony.pitches)
    for _ in range(4):
        parts["melody"].append(note.Note(random.choice(pitches).transpose(12), quarterLength=1))
    for _ in range(8):
        parts["chords"].append(chord.Chord(pitches, quarterLength=0.5))
    parts["pad"].append(chord.Chord(pitches, quarterLength=4))
    for _ in range(4):
        parts["bass"].append(note.Note(harmony.root().transpose(-24), quarterLength=1))
    for beat in range(8):
        parts["drums"].append(note.Note(42 if beat % 2 else 36, quarterLength=0.5))
stream.Score(list(parts.values())).write("midi", fp=f"{OUT}.mid")
font = "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3"
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.run(
    ["fluidsynth", "-ni", "-q", "-r", "48000", "-F", f"{OUT}.raw.wav", font, f"{OUT}.mid"], check=True, **quiet
)
master = ["-af", "loudnorm=I=-16:TP=-1", "-ar", "48000", "-t", str(SECONDS), f"{OUT}.wav"]
subprocess.run(["ffmpeg", "-y", "-nostdin", "-i", f"{OUT}.raw.wav", *master], check=True, **quiet)
print(time.perf_counter() - began)
