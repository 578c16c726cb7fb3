"""Answers what a run asks for: checked as hostile, counted, and only then delivered.

    request ─ read_request ─▶ slots ─ withdrawn? ─ count ─▶ arrays            the next batch is made ready meanwhile

Clips are numbers 0 to n-1 in everything that leaves. Start reading at `Loader.serve`; what a delivery counts is in
`counting.py`, what may be asked in `requests.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import NotGranted, Rejected
from malan.training.loader.counting import Counter, Tally, Uncounted, microseconds
from malan.training.loader.holdings import Columns, Holdings
from malan.training.loader.order import Pass, Slots
from malan.training.loader.requests import Allowed, Request, read_request

Arrays = dict[str, NDArray[Any]]
_WHOLE = frozenset({"descriptor", "labels", "captions"})


class Loader:
    """The data of one run, or of one of its sets.

    Args:
        holdings: What there is.
        allowed: What may be asked for; kinds it names must be there.
        seed: What shuffling and random windows follow from, together with the epoch.
        counter: Who keeps count.

    Raises:
        Rejected: A kind that may be asked for is not there.
    """

    def __init__(self, holdings: Holdings, allowed: Allowed, *, seed: int = 0, counter: Counter | None = None) -> None:
        holdings.check(sorted(allowed.deliver))
        self._holdings, self._allowed, self._seed = holdings, allowed, seed
        self._counter: Counter = counter or Uncounted()
        self._columns = Columns(holdings)
        self._tally = Tally([microseconds(Fraction(clip.span.duration)) for clip in holdings.clips])
        self._passes: dict[tuple[Any, ...], Pass] = {}
        self._delivered: set[str] = set()
        self._lock = threading.Lock()
        self.requests = 0
        self.counted_us = 0

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

    def serve(self, asked: Mapping[str, Any]) -> Arrays | None:
        """Answer one request: fresh arrays, or None when the pass is over.

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
            slots = self._slots(request)
            if not len(slots):
                return None
            slots = self._without_withdrawn(slots)
            self._count(request, slots)
            return self._arrays(request, slots)

    def close(self) -> None:
        """Give back what is held of the grant, and everything open; closing twice does no harm."""
        self._counter.close()

    def _slots(self, request: Request) -> Slots:
        if request.order is None:
            return np.array([[clip, 0] for clip in request.clips], np.int32).reshape(-1, 2)
        key = (request.order, request.epoch)
        if key not in self._passes:
            self._passes = {key: self._pass(request)}  # one pass at a time
        return self._passes[key][request.batch]

    def _pass(self, request: Request) -> Pass:
        assert request.order is not None  # noqa: S101  # the caller looked
        turns = np.ones(len(self), np.int32)
        return Pass(turns, request.order, seed=self._seed, epoch=request.epoch)

    def _without_withdrawn(self, slots: Slots) -> Slots:
        """Clips whose footage was taken back are left out; if the run has had some of it, the run is over."""
        gone = set(self._counter.gone())
        if not gone:
            return slots
        if gone & self._delivered:
            raise NotGranted("loader.withdrawn")
        clips = self._holdings.clips
        return slots[[clips[clip].asset_id not in gone for clip in slots[:, 0].tolist()]]

    def _count(self, request: Request, slots: Slots) -> None:
        whole = set(slots[:, 0].tolist()) if _WHOLE & set(request.deliver) else set[int]()
        added = self._tally.of(request.epoch, whole, ())
        by_asset: dict[str, int] = {}
        for clip, amount in added.items():
            asset_id = self._holdings.clips[clip].asset_id
            by_asset[asset_id] = by_asset.get(asset_id, 0) + amount
        if by_asset:
            self._counter.count(by_asset)
        self._tally.keep(added)
        self.counted_us += sum(added.values())
        self._delivered |= {self._holdings.clips[clip].asset_id for clip in slots[:, 0].tolist()}

    def _arrays(self, request: Request, slots: Slots) -> Arrays:
        clips: NDArray[np.int32] = slots[:, 0].astype("<i4")
        found: Arrays = {"clip_N": clips}
        for kind in request.deliver:
            found |= self._columns.pick(kind, clips)
        return found


def split_facts(data: Loader, held_out: Loader) -> dict[str, Any]:
    """Facts of both sets as one: classes and width are those of the first."""
    return {**data.facts, "held_out": len(held_out)}
