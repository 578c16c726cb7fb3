"""What rules ask about one episode: what was measured, what was told, what the others say. Start at `EpisodeFacts`.

What was not told and not measured is unknown, with the name of what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from malan.apps.review.language.values import Moment, Value, moments, number, text, truth
from malan.apps.review.language.vocabulary import FACTS
from malan.apps.review.measure.detectors import detected
from malan.apps.review.measure.episode import Measured
from malan.apps.review.measure.pictures import Stretch


@dataclass(frozen=True)
class SeriesFacts:
    """What the other files say about this one."""

    count: int = 1
    episode: int | None = None
    is_first: bool = True
    is_last: bool = True
    missing: tuple[int, ...] = ()
    lacking: int = 0  # files too few, where names do not tell which
    duplicate_of: tuple[str, ...] = ()
    other_numbers: tuple[Moment, ...] = ()
    credits: bool | None = None
    key: str = ""  # what the episode is known by from cut to cut
    namesake: str | None = None  # an earlier file of the same number
    other_format: str | None = None  # its picture, and that of most episodes


@dataclass(frozen=True)
class EpisodeFacts:
    """The facts of one episode, as the language asks for them.

    Args:
        measured: What was seen and heard.
        told: What the submission says, by the names of `meta.…`; absent is unknown.
        release: The day it is judged as of.
        matches: Footage of others found in it; None where there was no library to compare with.
    """

    measured: Measured
    told: Mapping[str, str | float | bool | None]
    release: str
    series: SeriesFacts = field(default_factory=SeriesFacts)
    matches: tuple[Moment, ...] | None = None

    @property
    def duration_s(self) -> float:
        return self.measured.duration_s

    def detected(self, sense: str, name: str) -> Value:
        """`vision(name)` and `hearing(name)`."""
        return detected(self.measured.detected, sense, name)

    def fact(self, name: str) -> Value:
        """The value of a name of the vocabulary."""
        area, _, rest = name.partition(".")
        if area == "qc":
            return _quality(rest, self.measured)
        if area == "meta":
            return self._told(name, rest)
        if area == "series":
            return self._series(rest)
        if area == "label":
            return truth(self.measured.is_labelled, ("label.metadata",))
        if area == "library":
            return moments(self.matches or (), () if self.matches is not None else ("library.matches",))
        return self._words(name)

    def _words(self, name: str) -> Value:
        found = self.measured
        if name == "speech":
            return moments(found.speech or (), () if found.speech is not None else ("speech",))
        if name == "titles":
            said = self.told.get("title")
            whole = Moment(0.0, found.duration_s, str(said), source="title") if said else None
            return moments([whole] if whole else (), () if whole else ("meta.title",))
        listed = {"ocr.captions": found.captions, "ocr.persistent": found.persistent, "ocr.cards": found.cards}
        if name in listed:
            return moments(listed[name])
        read = [*found.captions, *found.persistent, *found.cards]
        if name == "ocr":
            return moments(read)
        parts = [moments(read), self._words("speech"), self._words("titles")]
        return moments((m for part in parts for m in part.data), _union(part.missing for part in parts[:2]))

    def _told(self, name: str, rest: str) -> Value:
        kind, dim = FACTS[name]
        said = self.measured.digest if rest == "digest" else self.told.get(rest)
        if kind == "truth":
            return truth(None if said is None else bool(said), (name,))
        if kind == "number":
            return number(None if said is None else float(said), dim, (name,))
        return text(None if said is None else str(said), (name,))

    def _series(self, rest: str) -> Value:
        said = self.series
        if rest in _SERIES_WORDS:
            words = _SERIES_WORDS[rest](said)
            return moments(Moment(0.0, self.measured.duration_s, one, source="series") for one in words)
        if rest == "number_differs":
            return moments(said.other_numbers)
        if rest == "credits":
            return truth(said.credits, ("series.credits",))
        if rest in ("is_first", "is_last"):
            return truth(said.is_first if rest == "is_first" else said.is_last)
        return number(said.count if rest == "count" else said.episode, "", (f"series.{rest}",))


def _missing(said: SeriesFacts) -> list[str]:
    if said.missing:
        return [f"第{'、'.join(map(str, said.missing))}集"]
    return [f"缺{said.lacking}集"] if said.lacking else []


_SERIES_WORDS: Mapping[str, Callable[[SeriesFacts], Iterable[str]]] = {
    "missing": _missing,
    "duplicate": lambda said: said.duplicate_of,
    "same_number": lambda said: [said.namesake] if said.namesake else [],
    "format_differs": lambda said: [said.other_format] if said.other_format else [],
}


def _quality(name: str, found: Measured) -> Value:
    """`qc.…`"""
    heard = found.heard
    if name in ("silence", "clipping"):
        listed = [] if heard is None else heard.silence if name == "silence" else heard.clipping
        return moments(_moments(listed, name, found.start_s))
    if name == "damage":
        listed = heard.damage if heard else []
        lost = [Moment(0.0, found.duration_s, source="damage", detail=(("frames", found.frames_missing),))]
        gaps = _moments(found.stretches.get("gap", []), "gap", 0.0)
        return moments([*_moments(listed, name, found.start_s), *gaps, *(lost if found.frames_missing else ())])
    if name in FACTS_OF_PICTURES:
        return moments(_moments(found.stretches.get(name, []), name, 0.0))
    if name in ("has_picture", "has_sound", "interlaced"):
        known = {"has_picture": found.has_picture, "has_sound": found.has_sound, "interlaced": found.is_interlaced}
        return truth(known[name])
    width, height = found.size_px
    numbers: dict[str, float | None] = {
        "duration": found.duration_s,
        "width": width or None,
        "height": height or None,
        "short_side": min(width, height) or None,
        "aspect": width / height if height else None,
        "pixel_aspect": found.pixel_aspect if found.has_picture else None,
        "rate": found.rate or None,
        "av_gap": found.av_gap_s,
        "sample_rate": found.sample_rate_hz,
        "channels": found.channels,
        "loudness": heard.loudness_lufs if heard else None,
        "loudness_range": heard.range_lu if heard else None,
        "true_peak": heard.true_peak_dbtp if heard else None,
    }
    return number(numbers[name], FACTS[f"qc.{name}"][1], (f"qc.{name}",))


FACTS_OF_PICTURES = ("black", "freeze", "flash", "flash_long", "red_flash", "pattern", "combing")


_MEASURES = {"flash": "area", "flash_long": "area", "red_flash": "area", "pattern": "area", "clipping": "samples"}


def _moments(listed: Iterable[Stretch], source: str, start_s: float) -> list[Moment]:
    return [
        Moment(max(0.0, one.start_s - start_s), one.end_s - start_s, source=source,
               detail=((_MEASURES[source], round(one.value, 4)),) if source in _MEASURES else ())
        for one in listed
    ]  # fmt: skip


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)
