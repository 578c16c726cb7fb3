"""Answers what a run asks for: checked as hostile, counted, and only then delivered.

    request ─ read_request ─▶ slots ─ withdrawn? ─ decoded ─ count ─▶ arrays      the next ones are decoded meanwhile

Clips are numbers 0 to n-1 in everything that leaves. Start reading at `Loader.serve`; what a delivery counts is in
`counting.py`, what may be asked in `requests.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import NotGranted, Rejected
from malan.training.loader.counting import Counter, Tally, Uncounted, microseconds
from malan.training.loader.holdings import Columns, Holdings
from malan.training.loader.media import MediaDesk, Moving, answer_bytes
from malan.training.loader.order import Pass, Slots, alike
from malan.training.loader.requests import Allowed, Request, read_request

Arrays = dict[str, NDArray[Any]]
_WHOLE = frozenset({"descriptor", "labels", "captions"})
_MOVING = frozenset({"frames", "audio"})
_AHEAD = 2  # batches
_WINDOWS_A_CLIP = 4  # on average, when clips are asked for by name


class Loader:
    """The data of one run, or of one of its sets.

    Args:
        holdings: What there is.
        allowed: What may be asked for; kinds it names must be there.
        seed: What shuffling and random windows follow from, together with the epoch.
        counter: Who keeps count; None for an owner's own footage.
        threads: Decoders side by side; None: as many as this process may use processors.
        ahead: Batches that are decoded before they are asked for.

    Raises:
        Rejected: A kind that may be asked for is not there.
    """

    def __init__(
        self,
        holdings: Holdings,
        allowed: Allowed,
        *,
        seed: int = 0,
        counter: Counter | None = None,
        threads: int | None = None,
        ahead: int = _AHEAD,
    ) -> None:
        holdings.check(sorted(allowed.deliver))
        self._holdings, self._allowed, self._seed, self._most_ahead = holdings, allowed, seed, ahead
        self._counter: Counter = counter or Uncounted()
        self._columns = Columns(holdings)
        self._media = MediaDesk(holdings, seed, threads) if _MOVING & allowed.deliver else None
        self._tally = Tally([microseconds(Fraction(clip.span.duration)) for clip in holdings.clips])
        self._longest_s = float(max((clip.span.duration for clip in holdings.clips), default=0))
        self._pass: tuple[tuple[Any, ...], Pass] | None = None
        self._ahead: dict[Request, tuple[Slots, Moving]] = {}
        self._delivered: set[str] = set()
        self._lock = threading.Lock()
        self.requests = 0
        self.counted_us = 0
        self.unreadable = 0  # slots left out because their file could not be read

    def __len__(self) -> int:
        return len(self._holdings.clips)

    @property
    def facts(self) -> dict[str, Any]:
        """What a run is told about its data."""
        return self._holdings.facts()

    @property
    def deliver(self) -> tuple[str, ...]:
        """The kinds that may be asked for."""
        return tuple(sorted(self._allowed.deliver))

    @property
    def answer_bytes(self) -> int:
        """The most that one answer holds."""
        return self._allowed.answer_bytes

    def serve(self, asked: Mapping[str, Any]) -> Arrays | None:
        """Answer one request: fresh arrays, or None when the pass is over. One at a time, from any thread.

        Clips whose footage was taken back, or whose file cannot be read, are left out of the answer.

        Raises:
            Rejected: It is no request, asks for what was not declared, for too much at once, or once too often.
            NotGranted: The grant ended or is used up, or footage that was delivered before has been withdrawn.
            RetryLater: What is left of the grant is held by others.
        """
        with self._lock:
            self.requests += 1
            if self.requests > self._allowed.requests:
                raise Rejected("loader.too_many", most=self._allowed.requests)
            request = read_request(asked, self._allowed, len(self))
            all_slots = self._slots(request)
            if not len(all_slots):
                return None
            self._check_size(request, all_slots)
            slots = self._without_withdrawn(all_slots)
            moving = self._moving(request, slots)
            self._look_ahead(request)
            slots, found = self._decoded(slots, moving)
            self._count(request, slots, moving)
            return self._columns_of(request, slots) | found

    def check(self) -> None:
        """Ask once more, when a run is over, whether what it was given may still be used.

        Raises:
            NotGranted: The grant ended, or footage that was delivered has been withdrawn.
        """
        with self._lock:
            if set(self._counter.gone()) & self._delivered:
                raise NotGranted("loader.withdrawn")

    def close(self) -> None:
        """Give back what is held of the grant, and everything open; closing twice does no harm."""
        if self._media:
            self._media.hurry()  # whoever still waits for an answer is told that there is none
        with self._lock:
            self._ahead.clear()
            if self._media:
                self._media.close()
            self._counter.close()

    # Which clips ------------------------------------------------------------------------------------------------------

    def _slots(self, request: Request) -> Slots:
        if request.order is None:
            return self._named(request)
        key = (request.order, request.epoch, request.window)
        if self._pass is None or self._pass[0] != key:
            self._ahead.clear()
            self._pass = (key, self._new_pass(request))
        return self._pass[1][request.batch]

    def _named(self, request: Request) -> Slots:
        """Clips by their numbers; where all windows are wanted, each as often as it has some."""
        clips = np.array(request.clips, np.int32)
        turns = self._turns(request)[clips]
        self._check_slots(int(turns.sum(dtype=np.int64)), _WINDOWS_A_CLIP * self._allowed.batch_clips)
        starts = np.repeat(np.cumsum(turns) - turns, turns)
        return np.stack([np.repeat(clips, turns), np.arange(int(turns.sum()), dtype=np.int32) - starts], axis=1)

    def _new_pass(self, request: Request) -> Pass:
        assert request.order is not None  # noqa: S101  # the caller looked
        turns = self._turns(request)
        self._check_slots(int(turns.sum(dtype=np.int64)) * request.order.repeats, self._allowed.slots)
        return Pass(
            turns,
            request.order,
            seed=self._seed,
            epoch=request.epoch,
            bucket_N=self._buckets(request),
        )

    def _turns(self, request: Request) -> NDArray[np.int32]:
        if self._media and request.window and request.window.pick == "all":
            return self._media.turns(request.window)
        return np.ones(len(self), np.int32)

    def _buckets(self, request: Request) -> NDArray[np.int64] | None:
        """What clips of a batch must have in common."""
        wanted = request.order.bucket if request.order else ""
        if self._media and request.window and (wanted == "aspect" or request.window.fit == "whole"):
            return np.round([1000 * self._media.aspect(clip) for clip in range(len(self))]).astype(np.int64)
        if wanted == "length":
            return alike([float(clip.span.duration) for clip in self._holdings.clips])
        return None

    def _without_withdrawn(self, slots: Slots) -> Slots:
        """Clips whose footage was taken back are left out; if the run has had some of it, the run is over."""
        gone = set(self._counter.gone())
        if not gone:
            return slots
        if gone & self._delivered:
            raise NotGranted("loader.withdrawn")
        clips = self._holdings.clips
        return slots[np.array([clips[clip].asset_id not in gone for clip in slots[:, 0].tolist()], np.bool_)]

    def _check_slots(self, asked: int, most: int) -> None:
        """Raises before lists of that length are made."""
        if asked > most:
            raise Rejected("loader.too_long", asked=asked, most=most)

    def _check_size(self, request: Request, slots: Slots) -> None:
        asked = len(slots) * answer_bytes(request, self._longest_s)
        if "captions" in request.deliver:
            asked += self._columns.caption_bytes(slots[:, 0])
        if asked > self._allowed.answer_bytes:
            raise Rejected("loader.too_much", asked=asked, most=self._allowed.answer_bytes)

    # What comes with them ---------------------------------------------------------------------------------------------

    def _moving(self, request: Request, slots: Slots) -> Moving | None:
        """Frames and sound of these slots, on their way; perhaps since the request before."""
        if self._media is None or not _MOVING & set(request.deliver):
            return None
        begun = self._ahead.pop(request, None)
        if begun is not None and np.array_equal(begun[0], slots):
            return begun[1]
        return self._media.start(request, slots)

    def _look_ahead(self, request: Request) -> None:
        """Begin to decode what will be asked for next."""
        if self._media is None or self._pass is None or request.order is None or not _MOVING & set(request.deliver):
            return
        for batch in range(request.batch + 1, request.batch + 1 + self._most_ahead):
            coming = replace(request, batch=batch)
            slots = self._pass[1][batch]
            if len(slots) and coming not in self._ahead:
                self._ahead[coming] = (slots, self._media.start(coming, slots))
        for other in [one for one in self._ahead if not request.batch < one.batch <= request.batch + self._most_ahead]:
            del self._ahead[other]

    def _decoded(self, slots: Slots, moving: Moving | None) -> tuple[Slots, Arrays]:
        if moving is None:
            return slots, {}
        is_there, arrays = moving.wait()
        self.unreadable += int((~is_there).sum())
        return slots[is_there], arrays

    def _columns_of(self, request: Request, slots: Slots) -> Arrays:
        clips: NDArray[np.int32] = slots[:, 0].astype("<i4")
        found: Arrays = {"clip_N": clips}
        for kind in request.deliver:
            if kind not in _MOVING:
                found |= self._columns.pick(kind, clips)
        return found

    def _count(self, request: Request, slots: Slots, moving: Moving | None) -> None:
        """Count before it is handed over: what raises here is not delivered."""
        clips = slots[:, 0].tolist()
        whole = set(clips) if _WHOLE & set(request.deliver) else set[int]()
        added = self._tally.of(request.epoch, whole, moving.lengths_us() if moving else ())
        added = {clip: amount for clip, amount in added.items() if clip not in self._holdings.planted}
        by_asset: dict[str, int] = {}
        for clip, amount in added.items():
            asset_id = self._holdings.clips[clip].asset_id
            by_asset[asset_id] = by_asset.get(asset_id, 0) + amount
        if by_asset:
            self._counter.count(by_asset)
        self._tally.keep(added)
        self.counted_us += sum(added.values())
        self._delivered |= {self._holdings.clips[clip].asset_id for clip in clips if clip not in self._holdings.planted}


def split_facts(data: Loader, held_out: Loader) -> dict[str, Any]:
    """Facts of both sets as one: classes and width are those of the first."""
    return {**data.facts, "held_out": len(held_out)}
