"""What the pages of the console show, as plain frozen values that turn into JSON as they are.

Times ending in `_s` are seconds on the clock of the asset; frame numbers count from 0 in presentation order. Texts are
in the language the caller asked for. Nothing here reads anything. Start reading at `SearchView` and `AssetView`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from malan.core.errors import MalanError


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as every face shows it."""

    code: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: MalanError, lang: str) -> Failure:
        return cls(error.code, error.message(lang), error.hint(lang))


# Search


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text; `is_match` where it is one of the words looked for."""

    text: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class EvidenceLine:
    """Why a clip was found: `field` is caption, title, tag or file_name."""

    field: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class UseDecision:
    """Whether terms allow one use today, and why."""

    use: str
    label: str
    is_allowed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RightsBadge:
    """What terms allow today, in few words: `tone` is good, warn (looking only) or bad (nothing)."""

    label: str
    tone: str
    uses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClipCard:
    """One result of a search."""

    clip_id: str
    asset_id: str
    fragment: str
    kind: str  # video, image, audio
    file: str
    owner: str
    start_s: float
    end_s: float
    at: str
    lasts: str
    evidence: tuple[EvidenceLine, ...]
    tags: tuple[str, ...]
    colour: str | None
    rights: RightsBadge
    duplicates: int
    group_id: str | None
    score: float
    aspect: float  # width over height of one frame; its filmstrip is as many frames wide as fit
    share: tuple[float, float]  # the part of the asset it is, from 0 to 1


@dataclass(frozen=True, slots=True)
class Choice:
    """One value a filter can have, with its name for people."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Filters:
    """What the filters of the search offer."""

    owners: tuple[Choice, ...]
    motions: tuple[Choice, ...]
    lights: tuple[Choice, ...]
    faces: tuple[Choice, ...]
    colours: tuple[Choice, ...]
    uses: tuple[Choice, ...]
    by_meaning: bool = False  # an encoder stands ready, with an index


@dataclass(frozen=True, slots=True)
class SearchView:
    """One page of results. `total` counts before near-duplicates are folded; it may be a lower bound."""

    cards: tuple[ClipCard, ...]
    total: int
    is_total_exact: bool
    is_relaxed: bool
    next_offset: int | None
    took_ms: float
    library_clips: int
    library_assets: int
    like: ClipCard | None = None


# Assets


@dataclass(frozen=True, slots=True)
class AssetCard:
    """One asset in a list; `clip_id` is the one whose picture stands for it."""

    id: str
    file: str
    owner: str
    kind: str
    lasts: str
    duration_s: float
    size: str
    status: str
    status_label: str
    clips: int
    clip_id: str | None


@dataclass(frozen=True, slots=True)
class AssetList:
    assets: tuple[AssetCard, ...]
    total: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class TransitionView:
    """How a shot begins."""

    type: str
    first_frame: int
    last_frame: int
    confidence: float


@dataclass(frozen=True, slots=True)
class ShotRow:
    clip_id: str
    first_frame: int
    end_frame: int
    start_s: float
    end_s: float
    transition: TransitionView
    tags: tuple[str, ...]
    colour: str | None


@dataclass(frozen=True, slots=True)
class CaptionRow:
    text: str
    first_frame: int
    end_frame: int
    start_s: float
    end_s: float
    confidence: float | None
    is_persistent: bool
    is_spoken: bool = False  # written down by a recogniser, not read in the picture


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech or silence."""

    start_s: float
    end_s: float
    kind: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class LoudnessView:
    """Momentary loudness at even steps (EBU R128); None where there is no measure."""

    start_s: float
    step_s: float
    values_lufs: tuple[float | None, ...]
    integrated_lufs: float | None


@dataclass(frozen=True, slots=True)
class Peaks:
    """Where the waveform is, and the stretch of time its `count` pairs of low and high are spread over."""

    url: str
    count: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class FindingRow:
    start_s: float
    end_s: float
    first_frame: int | None
    summary: str
    confidence: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Findings of one kind by one producer."""

    kind: str
    label: str
    producer: str
    version: str
    total: int
    rows: tuple[FindingRow, ...]


@dataclass(frozen=True, slots=True)
class Playback:
    """How the asset can be played here."""

    url: str
    kind: str  # video, audio, image, none
    mime: str
    needs_proxy: bool  # not every browser plays it
    may_try: bool  # this one may
    reason: str
    proxy_state: str  # none, running, ready, failed
    proxy_url: str
    proxy_progress: float
    problem: Failure | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class FactGroup:
    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class AssetView:
    """Everything the page of one asset shows."""

    id: str
    file: str
    owner: str
    duration_s: float
    start_s: float
    frame_count: int
    frame_rate: float | None
    frames_url: str
    aspect: float
    rights: tuple[UseDecision, ...]
    status: str
    status_label: str
    playback: Playback
    shots: tuple[ShotRow, ...]
    captions: tuple[CaptionRow, ...]
    stretches: tuple[Stretch, ...]
    loudness: LoudnessView | None
    peaks: Peaks | None
    findings: tuple[FindingGroup, ...]
    facts: tuple[FactGroup, ...] = field(default=())


# Jobs


@dataclass(frozen=True, slots=True)
class JobView:
    id: str
    kind: str
    title: str
    state: str  # queued, running, done, failed, cancelled
    done: int
    total: int
    failed: int
    unit: str
    detail: str
    started: str
    ended: str
    seconds: float
    error: Failure | None
    can_retry: bool
    can_cancel: bool


@dataclass(frozen=True, slots=True)
class RefusedView:
    """A file or asset that could not be taken, and why."""

    path: str
    code: str
    message: str
    hint: str
    when: str


@dataclass(frozen=True, slots=True)
class JobsView:
    """`throughput` holds how many items ended in each of the last stretches of time, oldest first."""

    jobs: tuple[JobView, ...]
    refused: tuple[RefusedView, ...]
    refused_total: int
    running: int
    throughput: tuple[tuple[str, float], ...]
