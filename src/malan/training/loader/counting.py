"""What a delivery counts, and who keeps count.

Each clip counts in an epoch for as much as was delivered of it: frames and sound by the length of the stretch, every
time; and no less than the whole clip as soon as its descriptor, labels or captions came. Asked for again in the same
epoch, those cost nothing: a run that keeps them has them. Start reading at `Tally.of`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Protocol

MICROSECONDS = 1_000_000


class Counter(Protocol):
    """Counts what is handed over under a grant. Every method may be called from another thread than it was made in."""

    def gone(self) -> Collection[str]:
        """Assets that may not be delivered any more, as of now.

        Raises:
            NotGranted: The grant itself does not hold any more.
        """
        ...

    def count(self, amounts: Mapping[str, int]) -> None:
        """Count clip-microseconds by asset; holds first, counts then, in one transaction. Called before the delivery.

        Raises:
            NotGranted: Too little is left.
            RetryLater: Enough is left, but others hold it.
        """
        ...

    def close(self) -> None:
        """Give back what is held and was not used; closing twice does no harm."""
        ...


class Uncounted:
    """For an owner's own footage: nothing is counted, nothing is withdrawn."""

    def gone(self) -> Collection[str]:
        return ()

    def count(self, amounts: Mapping[str, int]) -> None:
        pass

    def close(self) -> None:
        pass


class Tally:
    """What each clip has counted for in the epoch that is under way; another epoch begins anew.

    Args:
        whole_us: The length of each clip in microseconds.
    """

    def __init__(self, whole_us: Sequence[int]) -> None:
        self._whole_us = whole_us
        self._epoch = -1
        self._stretches: dict[int, int] = {}
        self._counted: dict[int, int] = {}

    def of(self, epoch: int, clips: Iterable[int], stretches: Iterable[tuple[int, int]]) -> dict[int, int]:
        """What a delivery adds, by clip; those that add nothing are left out. Changes nothing yet.

        Args:
            epoch: Which pass it belongs to.
            clips: Those delivered as a whole (descriptor, labels, captions).
            stretches: Clip and microseconds of each window of frames or stretch of sound.
        """
        if epoch != self._epoch:
            self._epoch, self._stretches, self._counted = epoch, {}, {}
        lengths: dict[int, int] = defaultdict(int)
        for clip, microseconds in stretches:
            lengths[clip] += microseconds
        self._wished = {clip: self._stretches.get(clip, 0) + us for clip, us in lengths.items()}
        whole = set(clips)
        added = {}
        for clip in whole | lengths.keys():
            had = self._counted.get(clip, 0)
            needs = max(had, self._wished.get(clip, 0), self._whole_us[clip] if clip in whole else 0)
            # A clip that was counted as a whole covers its stretches until they are longer than it.
            if needs > had:
                added[clip] = needs - had
        return added

    def keep(self, added: Mapping[int, int]) -> None:
        """Note what was just counted."""
        self._stretches |= self._wished
        for clip, microseconds in added.items():
            self._counted[clip] = self._counted.get(clip, 0) + microseconds


def microseconds(seconds: Fraction) -> int:
    """A length in whole microseconds, at least one; exact halves go to the even number."""
    return max(1, round(seconds * MICROSECONDS))
