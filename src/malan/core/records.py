"""The ten records. Frozen; nothing else crosses a package boundary.

    Asset ─ Clip ─ Finding      what there is and what is known of it
    Snapshot                    a frozen choice of clips
    Terms ─ Grant               what is allowed, and to whom
    Job ─ Model ─ Output        what was done with it
    Event                       the proof of each of the above

A record holds ids, never bytes and never a path. Start reading at `Asset`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from malan.core.ids import digest_record
from malan.core.time import Span


@dataclass(frozen=True, slots=True)
class Track:
    """One stream of an asset as the file describes it. Times in ticks of `timebase`.

    Fields that do not apply to the kind are None. Sizes are as stored; `rotation_deg` (clockwise: 0, 90, 180, 270)
    and `sample_aspect` tell how to show them.
    """

    index: int
    kind: str  # video, audio, subtitle, image, data
    codec: str
    timebase: Fraction
    start_ticks: int = 0
    duration_ticks: int = 0
    language: str | None = None
    title: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    rotation_deg: int | None = None
    sample_aspect: Fraction | None = None
    pixel_format: str | None = None
    frame_count: int | None = None
    mean_rate: Fraction | None = None
    is_variable_rate: bool | None = None
    is_interlaced: bool | None = None
    field_order: str | None = None  # tff, bff: which field is earlier
    is_telecined: bool | None = None  # film shown as 2 and 3 fields in turn, by flag (soft pull-down)
    sample_rate_hz: int | None = None
    channels: int | None = None

    @property
    def shown_size_px(self) -> tuple[int, int] | None:
        """Width and height as a viewer sees them: sample aspect and rotation applied. None without a picture."""
        if not self.width_px or not self.height_px:
            return None
        width, height = round(self.width_px * (self.sample_aspect or 1)), self.height_px
        return (height, width) if self.rotation_deg in (90, 270) else (width, height)


@dataclass(frozen=True, slots=True)
class Asset:
    """素材: registered footage. The id is the SHA-256 of the bytes; where they lie is the library's business."""

    id: str
    size_bytes: int
    container: str
    duration: Fraction  # seconds, exact
    tracks: tuple[Track, ...]
    owner_id: str
    terms_id: str

    def first(self, kind: str) -> Track | None:
        """The first track of a kind, the one that is scanned and shown."""
        return next((t for t in self.tracks if t.kind == kind), None)


@dataclass(frozen=True)
class Clip:
    """片段: an asset, a track and a span; nothing else. Its id follows from them."""

    asset_id: str
    track: int
    span: Span

    @cached_property
    def id(self) -> str:
        base = self.span.timebase
        return digest_record(
            "clip", [self.asset_id, self.track, self.span.start, self.span.end, base.numerator, base.denominator]
        )

    def to_value(self) -> dict[str, Any]:
        """What manifests hold of a clip: its id and all it follows from."""
        span = self.span
        return {
            "clip": self.id,
            "asset": self.asset_id,
            "track": self.track,
            "start": span.start,
            "end": span.end,
            "timebase": [span.timebase.numerator, span.timebase.denominator],
        }

    @classmethod
    def from_value(cls, said: Mapping[str, Any]) -> Clip:
        """The clip a manifest tells of; the caller holds its id against what was said.

        Raises:
            KeyError, TypeError, ValueError, ZeroDivisionError, UsageError: It tells of none.
        """
        return cls(said["asset"], said["track"], Span(said["start"], said["end"], Fraction(*said["timebase"])))

    @property
    def fragment(self) -> str:
        """The public form, `asset#t=12.5,18.2`."""
        return f"{self.asset_id}#{self.span.fragment()}"


@dataclass(frozen=True)
class Finding:
    """发现: one thing learned about a clip. Scores are kept; thresholds are queries.

    `value` is plain JSON; `author` is `operator` or `person:<id>`; `reason` says why, for what a filter refused.
    """

    clip: Clip
    kind: str
    producer: str
    version: str
    value: Mapping[str, Any]
    confidence: float | None = None
    author: str = "operator"
    reason: str | None = None

    @cached_property
    def id(self) -> str:
        return digest_record(
            "finding", [self.clip.id, self.kind, self.producer, self.version, dict(self.value), self.author]
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """数据集版本: a frozen choice. The id is the Merkle root (RFC 6962 §2.1) over its sorted manifest records."""

    id: str
    name: str
    clip_count: int
    finding_kinds: tuple[str, ...]
    terms_ids: tuple[str, ...]
    split_seed: int
    split_shares: tuple[tuple[str, Fraction], ...]
    query: Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """使用条款: what an owner allows. What is not named is not allowed; `other` holds what was not understood.

    No purposes, territories or recipients means any; no uses means none; no tiers, egress, isolation or
    memorisation means the cautious defaults of `rights.decide`.
    """

    owner_id: str
    name: str
    uses: tuple[str, ...]
    purposes: tuple[str, ...] = ()
    territories: tuple[str, ...] = ()
    starts: str | None = None  # ISO 8601 date, first day
    ends: str | None = None  # ISO 8601 date, last day
    limits: Mapping[str, int] = field(default_factory=dict)  # clip_seconds, runs, outputs, output_bytes
    price_minor: int = 0  # smallest unit of `currency`
    currency: str = "CNY"
    share_rule: str | None = None
    attribution: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict)
    recipients: tuple[str, ...] = ()  # ids of parties
    isolation: str | None = None  # least level a run must reach: process, sandbox, confidential
    tiers: tuple[str, ...] = ()  # ways of training: recipe, recipe-dp, code
    egress: tuple[str, ...] = ()  # what may leave a run: metrics, adapter, weights, samples
    prohibitions: tuple[str, ...] = ()  # likeness, redistribution, scene
    price_per: str = "deal"  # deal, clip_second, run, output
    licence: str | None = None  # a public licence these terms stand for, as an SPDX id
    memorisation: str | None = None  # what becomes of a model that learned by heart: unchecked, checked, strict

    @cached_property
    def id(self) -> str:
        """Digest of everything said above; what was left out does not count, so that terms outlive new fields."""
        held = {name: getattr(self, name) for name in self.__dataclass_fields__}
        said = {k: v for k, v in held.items() if k in _FIRST_FIELDS or v != self.__dataclass_fields__[k].default}
        return digest_record("terms", {k: dict(v) if isinstance(v, Mapping) else v for k, v in said.items()})


_FIRST_FIELDS = frozenset(list(Terms.__dataclass_fields__)[:13])


@dataclass(frozen=True, slots=True)
class Grant:
    """授权: what owners and a party agreed on about a snapshot, signed by all. Its id: digest of the agreement."""

    id: str
    party_id: str
    snapshot_id: str
    owner_ids: tuple[str, ...]
    terms_id: str
    uses: tuple[str, ...]
    limits: Mapping[str, int]  # clip_seconds, runs, outputs, output_bytes
    starts: str | None  # ISO 8601 date, first day
    expires: str | None  # ISO 8601 date, last day; None: until it is revoked
    signatures: Mapping[str, bytes]  # by party id


@dataclass(frozen=True, slots=True)
class Job:
    """任务: a piece of work, named by the digest of its specification. Never holds a secret."""

    id: str
    kind: str
    spec: Mapping[str, Any]
    snapshot_id: str | None = None
    grant_id: str | None = None
    code_digest: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """模型: named by the digest of its weights, with the line back to what it was made from."""

    id: str
    name: str
    base_model_id: str | None
    job_id: str | None
    snapshot_id: str | None
    licence: str
    evaluation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """成品: a finished file and the clips it stands on, each with the share it has in it."""

    id: str
    app: str
    sources: tuple[tuple[Clip, Fraction], ...]
    model_ids: tuple[str, ...]
    mode: str  # retrieve, assemble, compose, render, infer, diffuse


@dataclass(frozen=True, slots=True)
class Event:
    """存证: canonical bytes of one record, who wrote it and when, at its place in the log."""

    log_index: int
    kind: str
    actor_id: str
    time: str  # ISO 8601, UTC
    body: bytes
