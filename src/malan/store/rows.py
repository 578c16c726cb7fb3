"""What goes into the library and comes out of it.

Plain frozen values around the core records; no Arrow here. Start reading at `AssetRow` and `ScanRows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from malan.core import Asset, Clip, Finding, Span

if TYPE_CHECKING:
    import numpy as np

REGISTERED, SCANNED, REFUSED = "registered", "scanned", "refused"


@dataclass(frozen=True)
class Location:
    """Where a file lies, and what it looked like when it was read.

    A file that was refused has no asset, but a code and the values of its message.
    """

    path: str  # as the operating system gives it; may hold surrogates for bytes that are not UTF-8
    size_bytes: int
    mtime_ns: int
    asset_id: str | None = None
    code: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    seen_s: float = 0.0  # seconds since 1970, UTC


@dataclass(frozen=True)
class AssetRow:
    """An asset and what the library knows about it beside the record."""

    asset: Asset
    status: str = REGISTERED  # registered, scanned, refused (the scan failed: `code` says why)
    code: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    tags: tuple[str, ...] = ()
    added_s: float = 0.0  # seconds since 1970, UTC
    scan: Mapping[str, Any] = field(default_factory=dict)  # producer → version, of what was run
    locations: tuple[Location, ...] = ()


@dataclass(frozen=True)
class Extra:
    """Something about a whole asset that is shown rather than searched: a loudness curve, peaks, a shot report.

    `data` is for arrays (say in `value` how to read it), `value` is plain JSON.
    """

    kind: str
    value: Any = None
    data: bytes = b""


@dataclass(frozen=True)
class ScanRows:
    """What one scan learned about one asset.

    `producers` names every operator that ran, also those that found nothing: what they wrote before is replaced.
    `clips` is None when shots were not looked for: the clips the asset has stay.
    """

    asset_id: str
    producers: Mapping[str, str]  # producer → version
    clips: tuple[Clip, ...] | None = None
    findings: tuple[Finding, ...] = ()
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)  # clip id → JPEG
    filmstrips: Mapping[str, bytes] = field(default_factory=dict)  # clip id → JPEG
    descriptors: Mapping[str, np.ndarray] = field(default_factory=dict)  # clip id → float32
    extras: tuple[Extra, ...] = ()


@dataclass(frozen=True)
class ClipRow:
    """A clip as search knows it: flat, made again from the findings whenever they change.

    Numbers are None where nothing was measured; a bound on such a number does not match.
    """

    clip: Clip
    owner_id: str
    terms_id: str
    title: str = ""
    file_name: str = ""
    caption: str = ""  # lines, in order of time
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()  # `motion.class=pan`, `colour.dominant=blue`, and every kind that was found
    measures: Mapping[str, float] = field(default_factory=dict)  # see `flatten.MEASURES`
    added_s: float = 0.0
    look: tuple[str, ...] = ()  # names of what was seen, in Chinese and English: 夜景, night
    group_id: str | None = None  # near-duplicates share it

    @property
    def id(self) -> str:
        return self.clip.id

    @property
    def span(self) -> Span:
        return self.clip.span
