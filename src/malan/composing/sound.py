"""A score as sound: every part played by itself, mixed as the score places it, mastered to a loudness, exactly so long.

    Score ─ FluidSynth, our own instruments ─▶ stems ─ mix_down ─▶ mix ─ balance ─ ring out or fold ─ master ─▶

Start reading at `render`; `bed` is music under a film in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from malan.composing.compose import compose
from malan.composing.plan import make_plan
from malan.composing.score import Part, Score, to_midi
from malan.composing.words import read_tags
from malan.media.balance import balanced
from malan.media.gongs import play_gongs
from malan.media.instruments import play_instrument
from malan.media.mastering import RATE_HZ, Mastered, Sound, Strip, faded, folded, master, mix_down, write_wav_24
from malan.media.midi import MidiFile
from malan.media.soundfont import play

LOUDNESS_LUFS = -16.0
_TAIL_S = 4.0  # what a loop lets ring into its beginning
_FADE_S = (0.3, 2.4)
_HANDS = 2
_LOW_CUTS_HZ = {
    "bass": 28.0, "timpani": 35.0, "drums": 28.0, "luogu": 60.0, "hits": 30.0, "chorale": 150.0, "figure": 120.0,
    "melody": 140.0, "answer": 160.0, "heterophony": 150.0, "spark": 300.0, "double": 160.0,
}  # fmt: skip
_WIDTHS = {"bass": 0.3, "melody": 0.7, "chorale": 1.15}
_FULL_RANGE = 48  # a figure that goes so low carries the bass

Stop = Callable[[], None]


@dataclass(frozen=True)
class Rendered:
    """The master, and each part as it stands in the mix before mastering, where that was asked for."""

    mastered: Mastered
    stems: dict[str, Sound]


def render(
    score: Score, *, loudness: float = LOUDNESS_LUFS, stems: bool = False, stop: Stop = lambda: None
) -> Rendered:  # fmt: skip
    """Play, mix and master a score; exactly `score.seconds` long to the sample.

    Raises:
        MissingExtra: FluidSynth or a soundfont is not installed.
        MediaError: The soundfont cannot be read.
    """
    length = score.seconds + (_TAIL_S if score.is_loop else 0.0)
    played = _played(score, length, stop)
    mix = mix_down(played, [_strip(part, score) for part in score.parts], room_s=score.room_s, keep=stems)
    stop()
    count = round(score.seconds * RATE_HZ)
    fade = _fade_s(score)

    def ended(samples: Sound) -> Sound:
        return folded(samples, count) if score.is_loop else faded(samples[:count], fade)

    done = master(ended(balanced(mix.samples)), loudness, is_loop=score.is_loop)
    names = [part.name for part in score.parts]
    return Rendered(done, {name: ended(stem) for name, stem in zip(names, mix.stems, strict=False)})


def _played(score: Score, length: float, stop: Stop) -> list[Sound]:
    """A stem each, in the order of the parts: our own gongs and instruments beside the soundfont's."""
    piece = to_midi(score)
    own = [number for number, part in enumerate(score.parts) if part.kit]
    others = tuple(track for number, track in enumerate(piece.tracks) if number not in own)
    lean = MidiFile(piece.division, piece.tempos, others)
    stop()
    with ThreadPoolExecutor(_HANDS) as hands:  # FluidSynth and numpy let go of the interpreter
        ours = {number: hands.submit(_own, score.parts[number].kit, piece, number, length) for number in own}
        try:
            theirs = iter(play(lean, length, stop=stop) if others else ())
        except BaseException:
            hands.shutdown(cancel_futures=True)
            raise
        return [ours[number].result() if number in ours else next(theirs) for number in range(len(score.parts))]


def _own(kit: str, piece: MidiFile, number: int, length: float) -> Sound:
    track = piece.tracks[number]
    if kit != "luogu":
        return play_instrument(kit, piece, track, length)
    return play_gongs([(piece.seconds_at(n.start), n.pitch, n.velocity) for n in track.notes], length)


def _strip(part: Part, score: Score) -> Strip:
    cut = _LOW_CUTS_HZ.get(part.role, 100.0)
    if part.role in ("figure", "chorale") and not any(one.role == "bass" for one in score.parts):
        cut = 35.0
    if part.role == "figure" and part.lowest < _FULL_RANGE:
        cut = min(cut, 70.0)
    if part.role == "heterophony" and part.lowest < _FULL_RANGE:
        cut = 50.0
    return Strip(part.level_db, part.pan, part.room, cut, _WIDTHS.get(part.role, 1.0))


def _fade_s(score: Score) -> float:
    """The end dies away over the second half of what rings."""
    rings = score.seconds - to_midi(score).seconds_at(score.form[-1].end)
    return min(max(0.55 * rings, _FADE_S[0]), _FADE_S[1])


def bed(
    seconds: float, out: Path, *, tags: Sequence[str], hits: Sequence[float] = (), seed: int = 0,
    loudness: float = -20.0, loop: bool = False, stop: Stop = lambda: None,
) -> Path:  # fmt: skip
    """Music under a film: a WAV file (48 kHz, 24 bits) of exactly this length that strikes at the cuts.

    It carries no label of its own: the film it goes into does.

    Args:
        seconds: 2 to 300.
        out: Where it shall be.
        tags: Style, mood, tempo, key, instruments, in Chinese or English.
        hits: Seconds at which something is to be struck.
        seed: Another one gives another piece.
        loudness: Integrated, in LUFS.
        loop: The end leads into the beginning.
        stop: Asked now and then; what it raises ends the work.

    Raises:
        UsageError: The tags contradict each other, or the length is not possible.
        MissingExtra: FluidSynth or a soundfont is not installed.
    """
    score = compose(make_plan(read_tags(tags), seconds, seed=seed, hits=hits, loop=loop))
    write_wav_24(render(score, loudness=loudness, stop=stop).mastered.samples, out)
    return out
