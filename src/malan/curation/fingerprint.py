"""Find clips that show the same footage: encoded again, cropped, scaled, mirrored, trimmed, with a logo on top.

    thumbs ─ signs of low frequencies by region ─ buckets ─▶ candidates ─ pictures compared ─▶ true pairs
           ─ one offset per pair of assets ─▶ alignments ─ clips that overlap ─▶ groups

Every frame of a print is also tried mirrored and with its borders cut off, so either copy may be the cropped one. A
pair of assets counts only if several frames agree on one offset in time. Pictures are compared in `likeness`. Start at
`find_duplicates`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malan.curation.likeness import REGIONS, SIDE, SIGNS, cropped, likeness_of, roughly_alike, signs_of

DISTANCE = 44  # of 128 signs that may differ in a candidate; of unlike pictures 64 do
ALIKE = 0.86  # least correlation of two thumbs, their worst sixth left out
SAME_TIME_S = 1.25  # how far two sightings of one offset may lie apart
CROPS = ((1.0, 1.0), (0.9, 0.9), (0.8, 0.8), (1.0, 0.86), (0.86, 1.0))  # width, height kept, about the middle
ALIKE_CHANGE = 0.7  # least correlation of what changes between frames
SURE_CHANGE = 0.85
REPEAT_ALIKE = 0.985  # the same within one film, where set-ups come back
REPEAT_AFTER_S = 8.0  # and must lie this far apart: what comes back sooner is the same scene going on
STILL_ALIKE = 0.985  # least correlation of pictures in which nothing changes

_CHANGE = 1.5  # standard deviation of a change below which nothing changes
_EDGE_S = 0.06  # edges of clips this near to each other are one cut
_VERY_NEAR_S = 0.15  # offsets this near to each other are the same beyond doubt
_KEY_BITS = 20  # what a bucket is named by: the signs of a region and some of the next
_CROWD = 48  # a bucket with more frames says nothing: skies, title cards
_PLAIN = 9.0  # standard deviation of a thumb below which it says nothing
_PAIRS = 16_384  # compared at once
_BLOCK = 4096  # frames asked about at once; bounds memory
_HEAD = struct.Struct("<2sHdd")  # mark, frames, start and end in seconds
_MARK = b"F1"

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]


@dataclass(frozen=True)
class ClipPrint:
    """What stands for a clip: some frames, tiny, without bars, stretched to a square; and when each is shown."""

    clip_id: str
    asset_id: str
    start_s: float
    end_s: float
    times_s: NDArray[np.float64]
    thumbs_THW: NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        """To keep beside the clip; its ids are not in it."""
        offsets_ms = np.round((self.times_s - self.start_s) * 1000).astype("<i4")
        head = _HEAD.pack(_MARK, len(self.times_s), self.start_s, self.end_s)
        return head + offsets_ms.tobytes() + self.thumbs_THW.tobytes()

    @classmethod
    def from_bytes(cls, clip_id: str, asset_id: str, data: bytes) -> ClipPrint:
        """Read what `to_bytes` wrote; what is not that is a ValueError."""
        mark, count, start_s, end_s = _HEAD.unpack_from(data.ljust(_HEAD.size, b"\0"))
        if mark != _MARK or len(data) != _HEAD.size + count * (4 + SIDE * SIDE):
            raise ValueError("not a fingerprint of this version")
        offsets_ms = np.frombuffer(data, "<i4", count, _HEAD.size)
        thumbs = np.frombuffer(data, np.uint8, count * SIDE * SIDE, _HEAD.size + 4 * count)
        return cls(clip_id, asset_id, start_s, end_s, start_s + offsets_ms / 1000, thumbs.reshape(count, SIDE, SIDE))


@dataclass(frozen=True)
class Alignment:
    """Two assets that share footage: what `one` shows at time t, `other` shows at t + `offset_s`."""

    one: str
    other: str
    offset_s: float
    is_mirrored: bool
    frames: int  # that agree
    first_s: float  # in `one`
    last_s: float
    likeness: float  # median correlation of the frames


@dataclass(frozen=True)
class Duplicates:
    """Groups of two or more clips of the same footage, and the pairs of assets behind them."""

    groups: tuple[tuple[str, ...], ...]
    alignments: tuple[Alignment, ...]


def find_duplicates(prints: Sequence[ClipPrint]) -> Duplicates:
    """Which of these clips show the same footage. Order of the result depends on ids alone.

    Cost: a sort of all frames and the comparison of those that share a bucket; 100,000 clips take seconds.
    """
    frames = _Frames.of(sorted(prints, key=lambda p: (p.asset_id, p.start_s, p.clip_id)))
    if len(frames.clip) < 2:
        return Duplicates((), ())
    pairs = _true_pairs(frames)
    alignments, clip_pairs = [], []
    for alignment, shared in _aligned(frames, pairs):
        alignments.append(alignment)
        clip_pairs += shared
    return Duplicates(_groups(frames, clip_pairs), tuple(alignments))


@dataclass(frozen=True)
class _Frames:
    """All frames that say something, flat."""

    prints: Sequence[ClipPrint]
    asset_ids: Sequence[str]
    clip: _I64  # place in `prints`
    asset: _I64
    time_s: NDArray[np.float64]
    thumbs: NDArray[np.uint8]  # (N, 16, 16)
    length_s: NDArray[np.float64]  # of each print

    @classmethod
    def of(cls, prints: Sequence[ClipPrint]) -> _Frames:
        counts = [len(p.times_s) for p in prints]
        asset_ids = sorted({p.asset_id for p in prints})
        place = {asset_id: i for i, asset_id in enumerate(asset_ids)}
        clip = np.repeat(np.arange(len(prints)), counts)
        asset = np.repeat(np.array([place[p.asset_id] for p in prints], np.int64), counts)
        times = np.concatenate([p.times_s for p in prints]) if prints else np.zeros(0)
        thumbs = np.concatenate([p.thumbs_THW for p in prints]) if prints else np.zeros((0, SIDE, SIDE), np.uint8)
        keep = np.concatenate(
            [
                np.zeros(0, bool),
                *(thumbs[part].reshape(-1, SIDE * SIDE).std(axis=1) >= _PLAIN for part in _blocks(thumbs)),
            ]
        )
        lengths = np.array([p.end_s - p.start_s for p in prints])
        return cls(prints, asset_ids, clip[keep], asset[keep], times[keep], thumbs[keep], lengths)


@dataclass(frozen=True)
class _Pairs:
    """Frames `a` and `b` show the same; `a` lies before `b` in the order of frames.

    `crop` says which part of one was compared: 1 and up of `a`, -1 and down of `b`, 0 neither.
    """

    a: _I64
    b: _I64
    is_mirrored: NDArray[np.bool_]
    crop: _I64
    likeness: _F32

    def at(self, places: _I64) -> _Pairs:
        return _Pairs(
            self.a[places], self.b[places], self.is_mirrored[places], self.crop[places], self.likeness[places]
        )

    def turned(self) -> _Pairs:
        """The same seen from the other side: which asset comes first must not matter."""
        return _Pairs(self.b, self.a, self.is_mirrored, -self.crop, self.likeness)


def _true_pairs(frames: _Frames) -> _Pairs:
    """Pairs of frames that share the signs of a region, differ in few others, and whose pictures agree."""
    base = np.concatenate([signs_of(frames.thumbs[part]) for part in _blocks(frames.thumbs)])
    buckets = [_Buckets.of(_bucket_keys(base, number)) for number in range(len(REGIONS))]
    found = []
    for part in _blocks(frames.thumbs):
        for number, crop in enumerate(CROPS):
            cut = cropped(frames.thumbs[part].astype(np.float32), crop)
            for is_mirrored in (False, True):
                asked = cut[:, :, ::-1] if is_mirrored else cut
                for a, b, likeness in _alike(
                    frames, part.start, asked, _candidates(asked, part, base, buckets, frames.clip)
                ):
                    signed = np.where(a < b, number, -number)
                    found.append((a, b, np.full(len(signed), is_mirrored), signed, likeness))
    a, b, mirrored, crops, likeness = (np.concatenate(column) for column in zip(*found, strict=True))
    return _best(_Pairs(np.minimum(a, b), np.maximum(a, b), mirrored, crops, likeness))


def _blocks(thumbs: NDArray[np.uint8]) -> Iterator[slice]:
    """So many frames at once that their pictures as numbers fit into some megabytes; one empty block of none."""
    return (slice(at, at + _BLOCK) for at in range(0, max(1, len(thumbs)), _BLOCK))


def _alike(frames: _Frames, start: int, asked: _F32, pairs: tuple[_I64, _I64]) -> Iterator[tuple[_I64, _I64, _F32]]:
    """Those of the candidates whose pictures agree, and how well. `asked` are the pictures from frame `start` on."""
    for at in range(0, max(1, len(pairs[0])), _PAIRS):
        a, b = (side[at : at + _PAIRS] for side in pairs)
        near = roughly_alike(asked[a - start], frames.thumbs[b])
        a, b = a[near], b[near]
        likeness = likeness_of(asked[a - start], frames.thumbs[b].astype(np.float32))
        good = likeness >= ALIKE
        yield a[good], b[good], likeness[good]


def _best(pairs: _Pairs) -> _Pairs:
    """Each pair once a side, as cut where it is most alike."""
    order = np.lexsort((-pairs.likeness, pairs.is_mirrored, pairs.b, pairs.a))
    key = np.stack([pairs.a, pairs.b, pairs.is_mirrored], axis=1)[order]
    is_first = np.ones(len(key), bool)
    is_first[1:] = (np.diff(key, axis=0) != 0).any(axis=1)
    return pairs.at(order[is_first])


def _candidates(
    asked: _F32, part: slice, base: NDArray[np.uint16], buckets: Sequence[_Buckets], clip: _I64
) -> tuple[_I64, _I64]:
    """Frames asked for, which are those of `part`, and frames known that share a bucket and differ in few signs."""
    signs = signs_of(asked)
    wide_asked, wide_known = signs.view(np.uint64), base.view(np.uint64)
    near = []
    for number, bucket in enumerate(buckets):
        a, b = _within(bucket, _bucket_keys(signs, number))
        differ = np.bitwise_count(wide_asked[a] ^ wide_known[b]).sum(axis=1, dtype=np.int64)
        a = a + part.start
        keep = (differ <= DISTANCE) & (clip[a] != clip[b])
        near.append(a[keep] * len(base) + b[keep])
    a, b = np.divmod(np.unique(np.concatenate(near)), len(base))
    return a, b


@dataclass(frozen=True)
class _Buckets:
    """Frames sorted by the signs of one region: those of sign pattern k stand from `starts[k]` to `starts[k + 1]`."""

    order: _I64
    starts: _I64

    @classmethod
    def of(cls, keys: _I64) -> _Buckets:
        counts = np.bincount(keys, minlength=1 << _KEY_BITS)
        return cls(np.argsort(keys, kind="stable"), np.concatenate([[0], np.cumsum(counts)]))


def _bucket_keys(signs: NDArray[np.uint16], number: int) -> _I64:
    """All signs of a region and the four coarsest of the next one, so that large libraries fill buckets thinly."""
    beside = signs[:, (number + 1) % len(REGIONS)].astype(np.int64)
    return signs[:, number] | (beside & ((1 << (_KEY_BITS - SIGNS)) - 1)) << SIGNS


def _within(bucket: _Buckets, keys: _I64) -> tuple[_I64, _I64]:
    """Every asked frame with every frame of its bucket; crowded buckets are passed over."""
    first = bucket.starts[keys]
    count = bucket.starts[keys + 1] - first
    count[count > _CROWD] = 0
    a = np.repeat(np.arange(len(keys)), count)
    within = np.arange(len(a)) - np.repeat(np.cumsum(count) - count, count)
    return a, bucket.order[np.repeat(first, count) + within]


def _aligned(frames: _Frames, pairs: _Pairs) -> Iterator[tuple[Alignment, list[tuple[int, int]]]]:
    """Pairs of assets whose frames agree on an offset, and the clips that share frames under it."""
    one, other = frames.asset[pairs.a], frames.asset[pairs.b]
    key = (one * len(frames.asset_ids) + other) * 2 + pairs.is_mirrored
    order = np.argsort(key, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        if not len(part):
            continue
        chosen = pairs.at(part)
        if one[part[0]] != other[part[0]]:
            yield from _offsets(frames, chosen)
        elif not chosen.is_mirrored[0]:
            yield from _repeats(frames, chosen)


def _offsets(frames: _Frames, pairs: _Pairs) -> Iterator[tuple[Alignment, list[tuple[int, int]]]]:
    """One alignment for each offset that enough frames of two assets agree on, the best first."""
    while len(pairs.a):
        shift = frames.time_s[pairs.b] - frames.time_s[pairs.a]
        reach = _reach_s(frames, pairs)
        agree = np.abs(shift - _densest(shift, pairs.likeness, reach)) <= reach
        chosen = pairs.at(np.flatnonzero(agree))
        if not (_is_enough(frames, chosen) or _is_enough(frames, chosen.turned())):
            return
        shared = sorted(set(zip(frames.clip[chosen.a].tolist(), frames.clip[chosen.b].tolist(), strict=True)))
        yield _alignment(frames, chosen, shared), shared
        pairs = pairs.at(np.flatnonzero(~agree & ~np.isin(pairs.a, chosen.a)))


def _reach_s(frames: _Frames, pairs: _Pairs) -> NDArray[np.float64]:
    """How far a sighting may lie from the offset: less in short clips, of which every moment would do otherwise."""
    lengths = [frames.length_s[frames.clip[side]] for side in (pairs.a, pairs.b)]
    return np.clip(0.3 * np.minimum(*lengths), 0.15, SAME_TIME_S)


def _is_enough(frames: _Frames, pairs: _Pairs) -> bool:
    """Three frames of either side, fewer where a side has no more; and what changes between them is the same.

    Where nothing changes the pictures must be all the more alike; where the same changes happen, two frames do.
    """
    counts = [len(np.unique(np.round(frames.time_s[side], 1))) for side in (pairs.a, pairs.b)]
    there_are = min(3, *(int(np.sum(frames.asset == frames.asset[side[0]])) for side in (pairs.a, pairs.b)))
    likeness, change = float(np.median(pairs.likeness)), _change_likeness(frames, pairs)
    if change is None:
        return min(counts) >= there_are and likeness >= STILL_ALIKE
    if change < ALIKE_CHANGE:
        return False
    return min(counts) >= there_are or (min(counts) > 1 and change >= SURE_CHANGE)


def _repeats(frames: _Frames, pairs: _Pairs) -> Iterator[tuple[Alignment, list[tuple[int, int]]]]:
    """Footage used twice in one film: two clips in which the same changes happen.

    A still shot that comes back is not told from the same set-up filmed on, so it is left alone.
    """
    clip_pair = np.stack([frames.clip[pairs.a], frames.clip[pairs.b]], axis=1)
    for shared in np.unique(clip_pair, axis=0):
        chosen = pairs.at(np.flatnonzero((clip_pair == shared).all(axis=1) & (pairs.likeness >= REPEAT_ALIKE)))
        apart_s = frames.prints[int(shared[1])].start_s - frames.prints[int(shared[0])].end_s
        if apart_s < REPEAT_AFTER_S or min(len(np.unique(chosen.a)), len(np.unique(chosen.b))) < 2:
            continue
        change = _change_likeness(frames, chosen)
        if change is not None and change >= ALIKE_CHANGE:
            together = [(int(shared[0]), int(shared[1]))]
            yield _alignment(frames, chosen, together), together


def _change_likeness(frames: _Frames, pairs: _Pairs) -> float | None:
    """Whether what changes from frame to frame is the same on both sides: their correlation, strong changes first.

    Two takes in one room look alike, but different things happen in them. None where nothing changes.
    """
    shift = frames.time_s[pairs.b] - frames.time_s[pairs.a]
    order = np.lexsort((np.abs(shift - np.median(shift)), pairs.a))
    order = order[np.concatenate([[True], np.diff(pairs.a[order]) != 0])]
    a, b = (frames.thumbs[side[order]].astype(np.float32) for side in (pairs.a, pairs.b))
    b = b[:, :, ::-1] if pairs.is_mirrored[0] else b
    for number in np.unique(pairs.crop[order]):
        at = pairs.crop[order] == number
        side = a if number > 0 else b
        side[at] = cropped(side[at], CROPS[abs(int(number))])
    change_a, change_b = np.diff(a, axis=0).reshape(-1, SIDE * SIDE), np.diff(b, axis=0).reshape(-1, SIDE * SIDE)
    strength = np.maximum(change_a.std(axis=1), change_b.std(axis=1)) if len(change_a) else np.zeros(0)
    strong = strength >= _CHANGE
    if not strong.any():
        return None
    x, y = change_a[strong].ravel(), change_b[strong].ravel()
    return float((x @ y) / (np.sqrt((x @ x) * (y @ y)) + 1e-3))


def _alignment(frames: _Frames, pairs: _Pairs, shared: Sequence[tuple[int, int]]) -> Alignment:
    times = frames.time_s[pairs.a]
    return Alignment(
        frames.asset_ids[int(frames.asset[pairs.a[0]])],
        frames.asset_ids[int(frames.asset[pairs.b[0]])],
        round(_offset_s(frames, pairs, shared), 3),
        bool(pairs.is_mirrored[0]),
        len(np.unique(pairs.a)),
        float(times.min()),
        float(times.max()),
        round(float(np.median(pairs.likeness)), 4),
    )


def _offset_s(frames: _Frames, pairs: _Pairs, shared: Sequence[tuple[int, int]]) -> float:
    """The offset in time: by the edges of the shared clips where two agree, for cuts are exact; else by frames."""
    coarse = float(np.median(frames.time_s[pairs.b] - frames.time_s[pairs.a]))
    clips = [(frames.prints[a], frames.prints[b]) for a, b in shared]
    edges = np.array([d for a, b in clips for d in (b.start_s - a.start_s, b.end_s - a.end_s)])
    longest_s = max((min(a.end_s - a.start_s, b.end_s - b.start_s) for a, b in clips), default=0.0)
    near = edges[np.abs(edges - coarse) <= max(SAME_TIME_S, longest_s)]
    if not len(near):
        return coarse
    best = _densest(near, np.ones(len(near), np.float32), np.full(len(near), _EDGE_S))
    agree = near[np.abs(near - best) <= _EDGE_S]
    return float(np.median(agree)) if len(agree) > 1 else coarse


def _densest(values: NDArray[np.float64], weight: _F32, reach: NDArray[np.float64]) -> float:
    """The value that most others lie near to, each asked by its own reach; those that lie very near count twice.

    A wide reach alone would give many values the same score, and the first of them is the least likely.
    """
    order = np.argsort(values)
    ordered, summed = values[order], np.concatenate([[0.0], np.cumsum(weight[order])])

    def within(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        first = np.searchsorted(ordered, ordered - reach, side="left")
        end = np.searchsorted(ordered, ordered + reach, side="right")
        return np.asarray(summed[end] - summed[first])

    score = within(reach[order]) + within(np.minimum(reach[order], _VERY_NEAR_S))
    return float(ordered[int(np.argmax(score))])


def _groups(frames: _Frames, clip_pairs: Iterable[tuple[int, int]]) -> tuple[tuple[str, ...], ...]:
    """Clips that are joined by pairs, directly or through others."""
    parent = list(range(len(frames.prints)))

    def root(clip: int) -> int:
        while parent[clip] != clip:
            parent[clip] = parent[parent[clip]]
            clip = parent[clip]
        return clip

    for a, b in clip_pairs:
        parent[max(root(a), root(b))] = min(root(a), root(b))
    members: dict[int, list[str]] = {}
    for clip, made in enumerate(frames.prints):
        members.setdefault(root(clip), []).append(made.clip_id)
    return tuple(sorted(tuple(sorted(group)) for group in members.values() if len(group) > 1))
