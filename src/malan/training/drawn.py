"""Data that nobody filmed, for an algorithm to show that it works: clips of a few kinds that can be told apart.

Each kind has its place among the descriptors, its colour, its tone and its words. The same seed draws the same data.
Start reading at `draw_holdings`.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core import Clip, Span
from malan.core.errors import NotFound
from malan.core.ids import digest_record
from malan.media.index import PacketIndex, build_index
from malan.training.loader import Holdings
from malan.training.loader.holdings import Film
from malan.training.package import DataRequest

WIDTH = 48
FRAMES_A_SECOND, RATE_HZ = 25, 16_000
CLIPS_A_FILM = 4
_SIDE_PX = 96
_APART = 1.6  # how far the kinds lie apart, in spreads of one number


@dataclass(frozen=True)
class Drawn:
    """The clips of one set: how many, of how many kinds, each so many seconds long."""

    clips: int
    classes: int
    seconds: int
    seed: int

    @property
    def kinds_N(self) -> NDArray[np.int64]:
        """The kind of each clip; every kind is there, in no order."""
        return np.random.default_rng([self.seed, 1]).permutation(np.arange(self.clips) % self.classes)


def draw_holdings(request: DataRequest, *, clips: int, classes: int, seed: int, folder: Path) -> Holdings:
    """Clips with everything that a request asks for.

    Args:
        request: What is asked for.
        clips: How many.
        classes: Of how many kinds.
        seed: Another seed gives other clips of the same kinds.
        folder: Where films and sound are drawn to, when they are asked for.
    """
    drawn = Drawn(clips, classes, _seconds(request), seed)
    names = [f"kind-{number}" for number in range(classes)]
    asked = set(request.deliver)
    footage = DrawnFootage(drawn, folder, asked) if asked & {"frames", "audio"} else None
    return Holdings(
        clips=_clips(drawn),
        descriptors_ND=_descriptors(drawn) if "descriptor" in asked else None,
        labels=[[names[kind]] for kind in drawn.kinds_N] if "labels" in asked else None,
        classes=names if "labels" in asked else None,
        captions=_captions(drawn, request.modality) if "captions" in asked else None,
        owners=[f"owner-{number % 2}" for number in range(clips)] if "owner" in asked else None,
        footage=footage,
    )


class DrawnFootage:
    """Films of coloured stripes that move, and tones; one file for a few clips."""

    def __init__(self, drawn: Drawn, folder: Path, asked: set[str]) -> None:
        self._folder, self._length = folder, drawn.seconds * FRAMES_A_SECOND
        self._films: dict[str, tuple[Path, PacketIndex]] = {}
        for number, kinds in enumerate(_films(drawn)):
            asset_id = _asset_id(drawn.seed, number)
            if "frames" in asked:
                path = folder / f"{asset_id[:16]}.mp4"
                _draw_film(path, kinds, self._length)
                self._films[asset_id] = (path, build_index(path))
            if "audio" in asked:
                _draw_sound(folder / f"{asset_id[:16]}.wav", kinds, drawn.seconds)

    def film(self, clip: Clip) -> Film:
        """The frames of a clip in its film."""
        if clip.asset_id not in self._films:
            raise NotFound("algorithm.not_drawn")
        path, index = self._films[clip.asset_id]
        return Film(path, index, clip.span.start, clip.span.end, aspect=1.0)

    def sound(self, clip: Clip) -> Path:
        """The file with the sound of a clip."""
        path = self._folder / f"{clip.asset_id[:16]}.wav"
        if not path.is_file():
            raise NotFound("algorithm.not_drawn")
        return path


def _clips(drawn: Drawn) -> tuple[Clip, ...]:
    length, base = drawn.seconds * FRAMES_A_SECOND, Fraction(1, FRAMES_A_SECOND)
    found = []
    for number in range(drawn.clips):
        film, place = divmod(number, CLIPS_A_FILM)
        found.append(Clip(_asset_id(drawn.seed, film), 0, Span(place * length, (place + 1) * length, base)))
    return tuple(found)


def _films(drawn: Drawn) -> list[list[int]]:
    kinds = drawn.kinds_N.tolist()
    return [kinds[start : start + CLIPS_A_FILM] for start in range(0, len(kinds), CLIPS_A_FILM)]


def _asset_id(seed: int, number: int) -> str:
    return digest_record("drawn", [seed, number])


def _descriptors(drawn: Drawn) -> NDArray[np.float32]:
    """A cloud of points for each kind; the middles are the same for every seed.

    As in real footage, some numbers are far larger than others, and some are the same for all clips.
    """
    middles_CD = np.random.default_rng(7).normal(size=(drawn.classes, WIDTH)) * _APART / 2
    spread_ND = np.random.default_rng([drawn.seed, 2]).normal(size=(drawn.clips, WIDTH))
    scale_D = np.ones(WIDTH)
    scale_D[:4], scale_D[4:8], scale_D[8:12] = 0, 50, 0.01
    return np.asarray((middles_CD[drawn.kinds_N] + spread_ND) * scale_D + (scale_D == 0), np.float32)


def _captions(drawn: Drawn, modality: str) -> Sequence[str]:
    random = np.random.default_rng([drawn.seed, 3])
    make = _tune if modality == "music" else _sentence
    return [make(kind, random) for kind in drawn.kinds_N.tolist()]


def _sentence(kind: int, random: np.random.Generator) -> str:
    colours = ("red", "green", "blue", "yellow", "violet", "white")
    speeds = ("slowly", "quickly", "steadily")
    return f"A film of {colours[kind % len(colours)]} stripes that move {speeds[int(random.integers(3))]}."


def _tune(kind: int, random: np.random.Generator) -> str:
    """Eight bars in ABC notation; each kind keeps to a scale of its own."""
    keys = ("C", "G", "D", "F", "A", "E")
    notes = ("C D E G A", "G A B d e", "D E F A B", "F G A c d", "A B c e f", "E F G B c")[kind % 6].split()
    bars = [" ".join(notes[int(step)] for step in random.integers(0, len(notes), 4)) for _ in range(8)]
    return f"X:1\nT:Drawn\nM:4/4\nL:1/4\nK:{keys[kind % len(keys)]}\n{' | '.join(bars)} |]\n"


def _seconds(request: DataRequest) -> int:
    """Long enough for one window of what is asked for."""
    frames = request.window.frames * request.window.every if request.window else 1
    sound = request.sound.seconds if request.sound else 1
    return min(max(-(-frames // FRAMES_A_SECOND), sound, 1), 60)


def _draw_film(path: Path, kinds: Sequence[int], length: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FRAMES_A_SECOND, options={"preset": "ultrafast", "g": "25"})
        stream.width = stream.height = _SIDE_PX
        stream.pix_fmt = "yuv420p"
        for kind in kinds:
            for number in range(length):
                frame = av.VideoFrame.from_ndarray(_picture(kind, number), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _picture(kind: int, number: int) -> NDArray[np.uint8]:
    """Stripes in the colour of a kind that move to the right."""
    colour_C = np.array([(220, 60, 50), (60, 190, 80), (60, 90, 220), (220, 200, 60), (170, 70, 200), (230, 230, 230)])
    across_W = (np.arange(_SIDE_PX) + 2 * number) // (8 + 4 * (kind % 5)) % 2
    light_HW = np.broadcast_to(0.35 + 0.65 * across_W, (_SIDE_PX, _SIDE_PX))
    return np.asarray(light_HW[..., None] * colour_C[kind % len(colour_C)], np.uint8)


def _draw_sound(path: Path, kinds: Sequence[int], seconds: int) -> None:
    time_S = np.arange(RATE_HZ * seconds) / RATE_HZ
    tones = [np.sin(2 * np.pi * 220 * 1.5**kind * time_S) for kind in kinds]
    samples_S = (np.concatenate(tones) * 12_000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples_S.tobytes())
