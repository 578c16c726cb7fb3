"""What speaks for a clip in a promo, part by part, and how that is told to an editor.

Each part is 0 to 1. What was never measured (footage scanned by an older Malan) is worth neither more nor less than the
usual: `NEUTRAL` for faces and sound. Numbers only, nothing is decoded. Start at `judge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.core.catalogue import entry
from malan.services.clips.picking import Candidate
from malan.services.clips.strips import Strip

Floats = NDArray[np.float64]

WEIGHTS = {
    "fit": 3.0, "sharp": 1.0, "light": 1.0, "motion": 0.8, "clean": 1.2, "long": 0.6, "faces": 0.8, "loud": 0.5,
}  # fmt: skip
NEUTRAL = 0.5
_MOTION = {"lively": 0.25, "calm": 0.03, "documentary": 0.08}
# How much better than a place a shot of people is: films of landscape ask for neither, and nobody loses to a place.
_PEOPLE = {"lively": 0.5, "calm": 0.0, "documentary": 0.35}
_FACE_SEEN, _FACE_LARGE = 0.05, 0.18  # heights of a face over that of the picture: just seen, and as near as is wished
_QUIET_LUFS, _ALIVE_LUFS, _TOO_LOUD_LUFS = -48.0, -30.0, -9.0
_CLIPPED_DBFS = -0.1
_TOLD = 3
_BOARD = 0.92  # of what is seen of a picture is lost where it is for reading
_CLEARLY, _FADED = 0.015, 0.6  # better than the others by so much; darker than so much of its brightest is a fade


@dataclass(frozen=True)
class Judged:
    """A candidate with what it scored, part by part, each 0 to 1."""

    candidate: Candidate
    parts: dict[str, float]
    strip: Strip | None = None
    fills: float = 1.0  # how much of the film's picture it fills, or of its own it keeps

    @property
    def score(self) -> float:
        """A mean; but what cannot be seen is worth nothing, however well it fits."""
        mean = sum(WEIGHTS[name] * value for name, value in self.parts.items()) / sum(WEIGHTS.values())
        return mean * (0.25 + 0.75 * min(1.0, 2 * self.parts["light"])) * (0.6 + 0.4 * self.fills)

    @property
    def has_people(self) -> bool | None:
        """Whether faces are seen; None where nobody looked."""
        share = self.candidate.row.measures.get("face_share")
        return None if share is None else share > 0


def judge(
    one: Candidate, style: str, strip: Strip | None = None, aspect: float = 0.0, *, is_heard: bool = False
) -> Judged:
    """What speaks for a clip, by what was measured of it and, where it was read, by its filmstrip.

    Args:
        aspect: Width over height of the film that matters most. 0: any.
        is_heard: The sound of the clips is what the film sounds like: no music and no voice over it.
    """
    measures = one.row.measures
    exposure, contrast = measures.get("exposure", 0.45), measures.get("contrast", 0.3)
    wrong = max(measures.get(name, 0.0) for name in ("black_share", "freeze_share", "letterbox_share"))
    written = measures.get("caption_share", 0.0)
    length = one.row.span.end_s - one.row.span.start_s
    wished = _MOTION[style]
    moving = measures.get("motion", wished)
    light = float(np.clip(1 - abs(exposure - 0.47) / 0.42, 0, 1) * np.clip(contrast / 0.22, 0, 1))
    if strip is not None:
        light = float(np.max(seen(strip)))
        wrong = max(measures.get("black_share", 0.0), measures.get("freeze_share", 0.0))
    return Judged(
        one,
        {
            "fit": one.fit,
            "sharp": float(np.clip(measures.get("sharpness", 0.5), 0, 1)),
            "light": light,
            "motion": float(np.exp(-abs(np.log((moving + 0.01) / (wished + 0.01))) / 2)),
            "clean": float(np.clip(1 - wrong, 0, 1) * (1 - 0.9 * min(1.0, written))),
            "long": float(np.clip(length / 3.0, 0, 1)),
            "faces": _faces(measures, style),
            "loud": _sound(measures) if is_heard else NEUTRAL,
        },
        strip,
        min(strip.aspect, aspect) / max(strip.aspect, aspect) if strip and strip.aspect > 0 and aspect > 0 else 1.0,
    )


def _faces(measures: Mapping[str, float], style: str) -> float:
    """More for people who are seen often and near; never less than neutral, so that places stay in the film."""
    share, size = measures.get("face_share", 0.0), measures.get("face_size", 0.0)
    near = np.clip((size - _FACE_SEEN) / (_FACE_LARGE - _FACE_SEEN), 0, 1)
    return NEUTRAL + _PEOPLE[style] * float(np.clip(share, 0, 1) * (0.4 + 0.6 * near))


def _sound(measures: Mapping[str, float]) -> float:
    """Alive but not distorted. Silence is neutral: that a shot has no sound is no reason to leave it out."""
    level = measures.get("loudness_lufs")
    if level is None:
        return NEUTRAL
    alive = float(np.clip((level - _QUIET_LUFS) / (_ALIVE_LUFS - _QUIET_LUFS), 0, 1))
    alive *= 1 - min(1.0, measures.get("silence_share", 0.0))
    clipped = measures.get("peak_dbfs", -6.0) >= _CLIPPED_DBFS
    harsh = float(np.clip((level - _TOO_LOUD_LUFS) / 6, 0, 1))
    return float(np.clip(NEUTRAL + 0.5 * alive - 0.35 * clipped - 0.4 * harsh, 0, 1))


def seen(strip: Strip) -> Floats:
    """How much there is to see at each moment, 0 to 1: not dark, burnt out, flat or fading, no credits, no boards."""
    lit = np.clip(strip.light / 0.16, 0, 1) * np.clip((1.04 - strip.light) / 0.2, 0, 1)
    whole = np.clip(strip.light / max(_FADED * float(strip.light.max()), 1e-6), 0, 1)
    there = np.clip(strip.spread / 0.11, 0, 1) * np.clip((1.0 - strip.black) / 0.35, 0, 1)
    read = 1.0 if strip.board is None else 1 - _BOARD * strip.board
    return np.asarray(lit * whole * there * read, np.float64)


def reasons(one: Judged, usual: Mapping[str, float], language: str) -> tuple[str, ...]:
    """Why it was picked, in words with numbers: what says that it shows what was asked for; then in what it is better
    than the others, most first.

    Args:
        usual: What the others have of each part, on average.
    """
    lead = {
        name: WEIGHTS[name] * (value - usual.get(name, value)) for name, value in one.parts.items() if name != "fit"
    }
    best = sorted((name for name in lead if lead[name] > _CLEARLY), key=lambda name: (-lead[name], name))
    proven = _proven(one.candidate, language)
    told = best[: _TOLD - len(proven)] or ([] if proven else [max(one.parts, key=lambda name: _worth(one, name))])
    return (*proven, *(f"{_word(one, name, language)} {one.parts[name]:.2f}" for name in told))


def _worth(one: Judged, name: str) -> tuple[float, str]:
    return (WEIGHTS[name] * one.parts[name] if name != "fit" else 0.0), name


def _proven(one: Candidate, language: str) -> tuple[str, ...]:
    """What says that a clip shows the words that were asked for: something of the shot itself, or its file alone."""
    proof = one.proof
    if proof is None or not (proof.of_shot or proof.of_file):
        return ()
    if proof.of_shot:
        return (entry(f"promo.why.{proof.field}").text(language, {"words": _listed(proof.of_shot)}),)
    values = {"words": _listed(proof.of_file), "sure": f"{proof.sure:.2f}"}
    return (entry("promo.why.file").text(language, values),)


def _listed(words: Sequence[str]) -> str:
    """Words as they were asked for: neighbours that share a character are one."""
    found: list[str] = []
    for word in words:
        if found and not word.isascii() and found[-1][-1] == word[0]:
            found[-1] += word[1:]
        else:
            found.append(word)
    return " ".join(found)


def _word(one: Judged, name: str, language: str) -> str:
    is_near = name == "faces" and "privacy.face=closeup" in one.candidate.row.labels
    return entry(f"promo.why.{'closeup' if is_near else name}").text(language)


def usual_parts(judged: Sequence[Judged]) -> dict[str, float]:
    """What clips have of each part, on average."""
    if not judged:
        return {}
    return {name: float(np.mean([one.parts[name] for one in judged])) for name in WEIGHTS}
