"""Findings of an asset, brought to its clips: the flat row that search compares.

A finding about a clip belongs to it; one about another stretch (a caption, a speech segment, the whole file) belongs
to every clip it shares time with. New kinds need no line here to be searchable by label: `kind`, and `kind=name` for
what the value names. Only numbers that are compared need a column. Start reading at `flatten`.

What a person labelled (`label.<set>`) and what a model tagged (`tag.<set>`) are found alike, as `tag.<set>=<name>`;
where both speak of one set, the person is right.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from malan.core import Clip, Finding
from malan.core.catalogue import catalogue
from malan.store.rows import AssetRow, ClipRow

# Column of the clips table → kind of finding, and the names the number may have in its value, first found wins.
_MEASURED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "blur": ("quality.technical", ("blur",)),
    "sharpness": ("quality.technical", ("sharpness",)),
    "exposure": ("quality.technical", ("exposure", "brightness", "luma_mean")),
    "contrast": ("quality.technical", ("contrast",)),
    "black_share": ("quality.technical", ("black_share", "black")),
    "freeze_share": ("quality.technical", ("freeze_share", "freeze")),
    "letterbox_share": ("quality.technical", ("letterbox_share", "letterbox")),
    "motion": ("motion.class", ("amount", "magnitude", "energy", "motion", "speed")),
    "loudness_lufs": ("audio.loudness", ("integrated_lufs", "loudness_lufs", "lufs", "integrated")),
    "peak_dbfs": ("audio.loudness", ("sample_peak_dbfs",)),
    "face_share": ("privacy.face", ("share",)),
    "face_size": ("privacy.face", ("size",)),
}
# Column → kind whose segments are added up: the share of the clip they cover.
_SHARES: Mapping[str, str] = {
    "speech_share": "speech.segment",
    "silence_share": "audio.silence",
    "caption_share": "text.caption",
}
MEASURES: tuple[str, ...] = (*_MEASURED, *_SHARES)

_CAPTION_KINDS = ("text.caption", "text.persistent", "speech.transcript")
_TITLE_KIND, _TAG_KIND = "text.title", "text.tag"
_NAMING_KEYS = ("class", "type", "name", "label", "colour", "color")
_BY_PEOPLE, _BY_MODELS = "label.", "tag."
NOTHING = "none"  # a person looked, and nothing of the set applies
_INSTANT_S = 1e-6  # less than this in common is two edges that touch


def flatten(asset: AssetRow, file_name: str, clips: Sequence[Clip], findings: Iterable[Finding]) -> list[ClipRow]:
    """The search rows of an asset's clips.

    Cost grows with clips + findings + what they share, not with their product.
    """
    known: dict[str, list[_Shared]] = {clip.id: [] for clip in clips}
    for clip_id, shared in _shared(clips, findings):
        known[clip_id].append(shared)
    return [_row(asset, file_name, clip, known[clip.id]) for clip in clips]


@dataclass(frozen=True, slots=True)
class _Shared:
    """A finding and the seconds it has in common with a clip."""

    finding: Finding
    seconds: float
    is_own: bool  # about this very clip


def _shared(clips: Sequence[Clip], findings: Iterable[Finding]) -> Iterator[tuple[str, _Shared]]:
    """Each finding with each clip it has time in common with. Seconds as float: this is for search, not for cutting."""
    order = sorted(clips, key=lambda clip: (clip.span.start_s, clip.span.end_s))
    starts = [clip.span.start_s for clip in order]
    reach = list(accumulate((clip.span.end_s for clip in order), max))
    for finding in sorted(findings, key=lambda f: f.clip.span.start_s):
        begin, end = finding.clip.span.start_s, finding.clip.span.end_s
        own_id = finding.clip.id
        for clip in order[bisect_right(reach, begin) : bisect_left(starts, end)]:
            seconds = min(end, clip.span.end_s) - max(begin, clip.span.start_s)
            if seconds > _INSTANT_S:
                yield clip.id, _Shared(finding, seconds, clip.id == own_id)


def _row(asset: AssetRow, file_name: str, clip: Clip, shared: Sequence[_Shared]) -> ClipRow:
    """One clip with everything known about it."""
    row = ClipRow(clip, asset.asset.owner_id, asset.asset.terms_id, asset.title, file_name, added_s=asset.added_s)
    titles = _texts(shared, (_TITLE_KIND,))
    labels = _decided([item for item in shared if not _is_beside(item, float(clip.span.duration))])
    return replace(
        row,
        title=" ".join(dict.fromkeys([*titles, asset.title])).strip(),
        caption="\n".join(dict.fromkeys(_texts(shared, _CAPTION_KINDS))),
        tags=tuple(dict.fromkeys([*asset.tags, *_texts(shared, (_TAG_KIND,))])),
        labels=labels,
        look=tuple(dict.fromkeys(word for label in labels for word in _look(label))),
        measures=_measures(float(clip.span.duration), shared),
    )


def _texts(shared: Sequence[_Shared], kinds: tuple[str, ...]) -> list[str]:
    found = (item.finding.value.get("text") for item in shared if item.finding.kind in kinds)
    return [text for text in found if isinstance(text, str) and text.strip()]


def _is_beside(item: _Shared, duration_s: float) -> bool:
    """Whether a label was given to a neighbour: after a new cut, a stretch of less than half says nothing of a clip."""
    named = item.finding.kind.startswith((_BY_PEOPLE, _BY_MODELS))
    return named and not item.is_own and 2 * item.seconds < duration_s


def _decided(shared: Sequence[_Shared]) -> tuple[str, ...]:
    """All labels of a clip; of a set that people labelled, what models say of it is left out."""
    by_people = [item.finding for item in shared if item.finding.kind.startswith(_BY_PEOPLE)]
    sets = {finding.kind.removeprefix(_BY_PEOPLE) for finding in by_people}
    overruled = {_BY_MODELS + name for name in sets}
    labels = [label for i in shared if i.finding.kind not in overruled for label in _labels(i.finding)]
    for finding in by_people:
        kind = _BY_MODELS + finding.kind.removeprefix(_BY_PEOPLE)
        labels += [f"{kind}={name}" for name in _names(finding.value) if name != NOTHING]
    return tuple(dict.fromkeys(labels))


def _labels(finding: Finding) -> list[str]:
    """The kind, and each name in its value: `motion.class`, `motion.class=pan`."""
    return [finding.kind, *(f"{finding.kind}={name}" for name in _names(finding.value))]


def _look(label: str) -> Iterator[str]:
    """What people call it: `scene.light=night` is 夜景 and night. Labels without a name are not looked for by words.

    A name that somebody gave, in whatever language, is itself a word to look for.
    """
    message = catalogue().get("look." + label.replace("=", "."))
    if message is not None:
        yield message.words["zh"]
        yield message.words["en"]
    elif label.startswith(_BY_MODELS) and "=" in label:
        yield label.partition("=")[2]


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in _NAMING_KEYS and isinstance(inner, str):
                yield inner
            elif isinstance(inner, Mapping | list | tuple):
                yield from _names(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names(inner)


def _measures(duration_s: float, shared: Sequence[_Shared]) -> dict[str, float]:
    found: dict[str, float] = {}
    for column, (kind, names) in _MEASURED.items():
        number = _measured(shared, kind, names)
        if number is not None:
            found[column] = number
    for column, kind in _SHARES.items():
        covered = sum(item.seconds for item in shared if item.finding.kind == kind)
        if covered:
            found[column] = min(1.0, covered / duration_s)
    return found


def _measured(shared: Sequence[_Shared], kind: str, names: tuple[str, ...]) -> float | None:
    """What was measured on the clip itself, else on the stretch it has most in common with."""
    ordered = sorted((i for i in shared if i.finding.kind == kind), key=lambda i: (i.is_own, i.seconds), reverse=True)
    for item in ordered:
        for name in names:
            number = item.finding.value.get(name)
            if isinstance(number, int | float):
                return float(number)
    return None
