"""The first scan: from a file to clips and what is known about them, with as little decoding as it takes.

    detect_shots ─ every frame it decodes ─▶ Sampler
    shots ─▶ plan ─ what is still missing ─▶ Sampler ─▶ views of clips ─▶ operators ─▶ findings
    sound, decoded once ───────────────────────────────▶

Start at `scan_file`. It reads one file and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from malan.core import Clip, Finding, Span, Track
from malan.core.errors import MalanError, MediaError
from malan.curation.operator import Batch, ClipView, Damage, Learned, Operator, PacketView, Vector, check_operators
from malan.curation.operators import all_operators
from malan.curation.pictures import filmstrip, thumbnail
from malan.curation.plan import WISHED_FRAMES, WISHED_SHARE, Stretch, carry_out, plan_decode, rate_at, stretches
from malan.curation.samples import Sampler, exact_seconds
from malan.curation.shots.report import Shot, ShotReport, Transition
from malan.curation.sound import Sound, hear
from malan.media.decode import FrameDecoder
from malan.media.index import CORRUPT, PacketIndex

if TYPE_CHECKING:
    from malan.media.probe import Probe

BATCH_CLIPS = 48  # looked at together; bounds what is decoded and held beyond the samples
PRODUCER, VERSION = "scan", "1"
_ONE_DAMAGE = 12  # damaged frames this near to each other are told as one stretch

Observe = Callable[[av.VideoFrame, int, bool], None]
Detect = Callable[..., ShotReport]
Captions = Callable[..., Any]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Cost:
    """What a part of the scan took."""

    cpu_s: float = 0.0
    frames_decoded: int = 0


@dataclass(frozen=True)
class ScanResult:
    """All that one scan learned.

    `clips` are the shots (of a file without pictures: the whole track). Findings may also be about other stretches:
    speech, silence, captions, the whole sound track. `costs` has a line for shots, decode, sound, pictures and each
    operator; `problems` says which part failed while the rest went on.
    """

    shots: ShotReport | None
    clips: tuple[Clip, ...]
    findings: tuple[Finding, ...]
    producers: Mapping[str, str]
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)  # clip id → JPEG
    filmstrips: Mapping[str, bytes] = field(default_factory=dict)  # clip id → JPEG
    descriptors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # clip id → unit vector
    fingerprints: Mapping[str, bytes] = field(default_factory=dict)  # clip id → `ClipPrint.from_bytes`
    sound: Sound | None = None
    captions: Any = None
    costs: Mapping[str, Cost] = field(default_factory=dict)
    predicted_frames: int = 0
    problems: tuple[MalanError, ...] = ()


def scan_file(
    path: str | Path,
    asset_id: str,
    probe: Probe,
    index: PacketIndex | None,
    *,
    operators: Sequence[Operator] | None = None,
    captions: Captions | None = None,
    detect: Detect | None = None,
    progress: Progress | None = None,
) -> ScanResult:
    """Find the shots of a file and run the operators over them, all in one shared decode.

    Memory is bounded whatever the length. A part of the file that cannot be decoded is a finding, not an error.

    Args:
        path: The file.
        asset_id: Its digest; goes into the clips.
        probe: What it holds.
        index: Packet index of its picture track; None without one.
        operators: What to run; all that are installed when None.
        captions: Called as `captions(path, index)`, returns what `read_captions` returns; not read when None.
        detect: Shot detector; `detect_shots` when None.
        progress: Called with the name of a part and how much of it is done, 0 to 1.

    Raises:
        MediaError: Neither picture nor sound can be decoded.
        UsageError: The operators do not fit together.
    """
    chosen = all_operators() if operators is None else check_operators(operators)
    return _Scan(path, asset_id, probe, index, chosen, captions, detect, progress or _silent).run()


def _silent(_part: str, _done: float) -> None:
    """No progress is wanted."""


@dataclass(frozen=True)
class _Pictures:
    """The picture track of a file and its packets."""

    track: Track
    index: PacketIndex

    @classmethod
    def of(cls, tracks: Sequence[Track], index: PacketIndex | None) -> _Pictures | None:
        track = next((t for t in tracks if t.kind in ("video", "image")), None)
        return cls(track, index) if track is not None and index is not None and index.frame_count else None


class _Scan:
    """One scan under way."""

    def __init__(
        self,
        path: str | Path,
        asset_id: str,
        probe: Probe,
        index: PacketIndex | None,
        operators: Sequence[Operator],
        captions: Captions | None,
        detect: Detect | None,
        progress: Progress,
    ) -> None:
        self._path, self._asset_id, self._operators = path, asset_id, operators
        self._tracks, self._captions, self._detect, self._progress = probe.tracks, captions, detect, progress
        self._pictures = _Pictures.of(probe.tracks, index)
        self._audio = next((t for t in probe.tracks if t.kind == "audio"), None)
        self._reads = frozenset[str]().union(*(operator.reads for operator in operators))
        self._findings: list[Finding] = []
        self._vectors: list[Vector] = []
        self._thumbnails: dict[str, bytes] = {}
        self._filmstrips: dict[str, bytes] = {}
        self._costs: dict[str, Cost] = {}
        self._problems: list[MalanError] = []
        self._damaged_frames: list[int] = []
        self._predicted = 0

    def run(self) -> ScanResult:
        report, sampler = self._shots()
        sound = self._hear()
        if report is None and sound is None:
            raise self._problems[0] if self._problems else MediaError("scan.nothing", path=str(self._path))
        clips: tuple[Clip, ...] = ()
        if self._pictures is not None and report is not None and sampler is not None:
            clips = self._look(self._pictures, report, sampler, sound)
        clips = self._listen(sound, clips)
        lines = self._read_captions(clips)
        return ScanResult(
            shots=report,
            clips=clips,
            findings=tuple(self._findings),
            producers={PRODUCER: VERSION} | {o.name: o.version for o in self._operators if not self._has_failed(o)},
            thumbnails=self._thumbnails,
            filmstrips=self._filmstrips,
            descriptors={v.clip.id: v.values for v in self._vectors if v.kind.startswith("descriptor.")},
            fingerprints={v.clip.id: v.values.tobytes() for v in self._vectors if v.kind.startswith("fingerprint.")},
            sound=sound,
            captions=lines,
            costs=self._costs,
            predicted_frames=self._predicted,
            problems=tuple(self._problems),
        )

    # Pictures

    def _shots(self) -> tuple[ShotReport | None, Sampler | None]:
        """Shots, and the samples taken on the way; None for a file in which no picture can be decoded."""
        if self._pictures is None:
            return None, None
        sampler = Sampler(self._pictures.index, self._pictures.track, bursts="motion" in self._reads)
        try:
            with self._charged("shots"):
                report = self._detected(self._pictures.index, sampler.observe)
        except MediaError as error:
            self._problems.append(error)
            return None, None
        self._count("shots", report.frames_decoded)
        return (report, sampler) if report.shots else (None, None)

    def _detected(self, index: PacketIndex, observe: Observe) -> ShotReport:
        if index.frame_count == 1:
            return ShotReport("single", 1, 0, 0.0, 0.0, (Shot(0, 1, Transition("start", 0, 0, 1.0)),))
        if self._detect is None:
            from malan.curation.shots import detect_shots

            self._detect = detect_shots
        self._progress("shots", 0.0)
        return self._detect(self._path, index, observe=observe)

    def _look(self, pictures: _Pictures, report: ShotReport, sampler: Sampler, sound: Sound | None) -> tuple[Clip, ...]:
        """Fill in what the samples lack, then run the operators, some clips at a time."""
        index, track = pictures.index, pictures.track.index
        clips = [Clip(self._asset_id, track, index.span(s.first, s.end)) for s in report.shots]
        self._findings += [_transition(clip, shot) for clip, shot in zip(clips, report.shots, strict=True)]
        parts = stretches(report.shots)
        self._damaged_frames += [int(n) for n in np.flatnonzero(index.flags[index.shown] & CORRUPT)]
        with FrameDecoder(self._path, index, track=track, threads="one") as decoder:
            for at in range(0, len(parts), BATCH_CLIPS):
                chunk = slice(at, at + BATCH_CLIPS)
                self._fill(parts[chunk], sampler, decoder)
                pairs = zip(clips[chunk], parts[chunk], strict=True)
                views = tuple(self._view(clip, part, index, sampler, sound) for clip, part in pairs)
                self._run(views, with_pictures=True)
                sampler.forget(parts[chunk][-1].end)
                self._progress("clips", min(1.0, (at + BATCH_CLIPS) / len(parts)))
        return tuple(clips)

    def _fill(self, parts: Sequence[Stretch], sampler: Sampler, decoder: FrameDecoder) -> None:
        index = decoder.index
        if not self._reads & {"pictures", "motion"}:
            return
        with self._charged("decode"):
            allowance = WISHED_SHARE * (parts[-1].end - parts[0].first) + (WISHED_FRAMES if not parts[0].first else 0)
            plan = plan_decode(parts, index, sampler, motion="motion" in self._reads, allowance=allowance)
            filled = carry_out(plan, decoder, sampler)
        self._predicted += plan.predicted_frames
        self._damaged_frames += [*filled.lost, *sampler.damaged]
        sampler.damaged.clear()
        self._count("decode", filled.frames_decoded)

    def _view(self, clip: Clip, part: Stretch, index: PacketIndex, sampler: Sampler, sound: Sound | None) -> ClipView:
        samples = sampler.samples(part.clean_first, part.clean_end) or sampler.samples(part.first, part.end)
        packets = index.shown[part.first : part.end]
        is_key = np.zeros(part.end - part.first, bool)
        is_key[index.key_frames[(index.key_frames >= part.first) & (index.key_frames < part.end)] - part.first] = True
        start_s, end_s = clip.span.start_s, clip.span.end_s
        return ClipView(
            clip=clip,
            start_s=start_s,
            end_s=end_s,
            rate_hz=rate_at(index, part.first),
            samples=tuple(samples),
            bursts=tuple(sampler.bursts(part.clean_first, part.clean_end)),
            packets=PacketView(index.size_bytes[packets], is_key),
            sound=sound.between(start_s, end_s) if sound else None,
            damage=tuple(_damage(self._damaged_frames, part, index)) + tuple(_sound_damage(sound, start_s, end_s)),
        )

    def _run(self, views: tuple[ClipView, ...], *, with_pictures: bool = False) -> None:
        batch = Batch(views)
        for operator in self._operators:
            with self._charged(operator.name):
                self._keep(operator, batch)
        if with_pictures:
            with self._charged("pictures"):
                for view in views:
                    if view.samples:
                        self._thumbnails[view.clip.id] = thumbnail(view.samples)
                        self._filmstrips[view.clip.id] = filmstrip(view.samples)

    def _keep(self, operator: Operator, batch: Batch) -> None:
        """Run one operator; one that fails is named and left out, the others go on."""
        if self._has_failed(operator):
            return
        try:
            learned: Sequence[Learned] = operator.run(batch)
        except Exception as error:  # the edge between Malan and operators, guests among them
            self._problems.append(
                MalanError("operator.failed", name=operator.name, path=str(self._path), detail=repr(error))
            )
            return
        self._vectors += [item for item in learned if isinstance(item, Vector)]
        self._findings += [item for item in learned if isinstance(item, Finding)]

    def _has_failed(self, operator: Operator) -> bool:
        return any(problem.values.get("name") == operator.name for problem in self._problems)

    # Sound

    def _hear(self) -> Sound | None:
        if self._audio is None or not self._reads & {"sound", "speech"}:
            return None
        self._progress("sound", 0.0)
        try:
            with self._charged("sound"):
                return hear(self._path, self._audio.index, speech="speech" in self._reads)
        except MediaError as error:
            self._problems.append(error)
            return None

    def _listen(self, sound: Sound | None, clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
        """Let operators hear the whole track; of a file without pictures it is the one clip."""
        if sound is None or self._audio is None:
            return clips
        base = self._audio.timebase
        start, end = (round(Fraction(edge) / base) for edge in (sound.start_s, sound.end_s))
        whole = Clip(self._asset_id, self._audio.index, Span(start, max(start, end), base))
        damage = () if clips else tuple(_sound_damage(sound, sound.start_s, sound.end_s))
        view = ClipView(whole, sound.start_s, sound.end_s, sound=sound, damage=damage, is_whole=True)
        self._run((view,))
        return clips or (whole,)

    # Text

    def _read_captions(self, clips: Sequence[Clip]) -> Any:
        pictures = self._pictures
        if self._captions is None or pictures is None or pictures.index.frame_count < 2 or not clips:
            return None
        self._progress("captions", 0.0)
        with self._charged("captions"):
            report = self._captions(self._path, pictures.index)
        for kind, lines in (("text.caption", report.captions), ("text.persistent", report.persistent)):
            self._findings += [_caption(self._asset_id, pictures, kind, line) for line in lines]
        self._count("captions", report.frames_decoded)
        return report

    # Accounts

    def _charged(self, name: str) -> _Charge:
        return _Charge(self._costs, name)

    def _count(self, name: str, frames: int) -> None:
        cost = self._costs.get(name, Cost())
        self._costs[name] = Cost(cost.cpu_s, cost.frames_decoded + frames)


class _Charge:
    """Adds the CPU time of a block to a line of the accounts."""

    def __init__(self, costs: dict[str, Cost], name: str) -> None:
        self._costs, self._name = costs, name

    def __enter__(self) -> None:
        self._started = time.process_time()

    def __exit__(self, *_: object) -> None:
        cost = self._costs.get(self._name, Cost())
        spent = time.process_time() - self._started
        self._costs[self._name] = Cost(cost.cpu_s + spent, cost.frames_decoded)


def _transition(clip: Clip, shot: Shot) -> Finding:
    """How the clip begins."""
    value = {
        "type": shot.transition.type,
        "first_frame": shot.transition.first_frame,
        "last_frame": shot.transition.last_frame,
        "clip_first_frame": shot.first,
        "clip_end_frame": shot.end,
    }
    return Finding(clip, "shot.transition", PRODUCER, VERSION, value, round(float(shot.transition.confidence), 3))


def _damage(frames: Sequence[int], part: Stretch, index: PacketIndex) -> Iterator[Damage]:
    """Runs of damaged frames within a clip."""
    inside = sorted({n for n in frames if part.first <= n < part.end})
    runs: list[list[int]] = []
    for number in inside:
        if runs and number - runs[-1][-1] <= _ONE_DAMAGE:
            runs[-1].append(number)
        else:
            runs.append([number])
    for run in runs:
        start_s, end_s = (float(exact_seconds(index, n)) for n in (run[0], run[-1] + 1))
        yield Damage(start_s, end_s, len(run), "video")


def _sound_damage(sound: Sound | None, start_s: float, end_s: float) -> Iterator[Damage]:
    for first_s, last_s in sound.damaged_s if sound else ():
        if first_s < end_s and last_s >= start_s:
            yield Damage(first_s, last_s, 1, "audio")


def _caption(asset_id: str, pictures: _Pictures, kind: str, line: Any) -> Finding:
    clip = Clip(asset_id, pictures.track.index, pictures.index.span(line.first_frame, line.end_frame))
    value = {
        "text": line.text,
        "first_frame": line.first_frame,
        "end_frame": line.end_frame,
        "box": [int(edge) for edge in line.box],
        "language": getattr(line, "language", None),
    }
    return Finding(clip, kind, "captions", "1", value, round(float(line.confidence), 3))
