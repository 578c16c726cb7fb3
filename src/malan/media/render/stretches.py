"""A film is rendered in stretches of some seconds, several at a time, each by a process of its own.

One x264 that gives the same bytes every time leaves a fifth of two processors idle: it looks ahead and encodes by
turns. Stretches fill them, and as many more as there are; whole pieces each, so that nothing is seen of it. Where a
film is cut into stretches follows from the film alone, how many run at once from the machine. Start reading at
`cut_into` and `side_by_side`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from fractions import Fraction
from threading import Event

from malan.media.render.process import Tell
from malan.media.render.timeline import Piece, Timeline

STRETCH_S = Fraction(15, 2)  # of one format; of several twice that: their encoders already work side by side
_MOST_BYTES, _READ_BYTES = 5 << 29, 1 << 30  # of all processes together, of what one stretch reads; by reckoning
_PICTURES, _READ = 75, 14  # measured: an encoder holds so many pictures of 1.5 bytes a pixel, an input so many
_LOOK_S = 0.2

Render = Callable[[Tell], None]


def cut_into(timeline: Timeline, numbers: Sequence[int]) -> list[list[int]]:
    """Pieces in stretches of about one length, in their order; the same for the same film.

    All files of a stretch are read from its beginning on: many short pieces of large pictures are more stretches.
    """
    total = sum(timeline.pieces[number].frames for number in numbers)
    length = STRETCH_S * min(2, len(timeline.formats))
    least = 2 if len(timeline.formats) == 1 and total >= STRETCH_S * timeline.rate else 1  # one leaves processors idle
    count = min(len(numbers), max(least, round(total / timeline.rate / length)))
    found: list[list[int]] = [[]]
    at = read = due = 0
    for number in numbers:
        piece = timeline.pieces[number]
        middle, size = at + Fraction(piece.frames, 2), _read_bytes(piece)
        is_due = middle > Fraction(total * (due + 1), count)
        if found[-1] and (is_due or read + size > _READ_BYTES):
            found.append([])
            read, due = 0, due + is_due
        found[-1].append(number)
        at, read = at + piece.frames, read + size
    return found


def at_once(timeline: Timeline, stretches: Sequence[Sequence[int]]) -> int:
    """How many stretches are rendered at a time: two encoders a processor, at least two stretches, within memory."""
    wished = max(2, 2 * len(os.sched_getaffinity(0)) // len(timeline.formats))
    largest = max(_bytes(timeline, numbers) for numbers in stretches)
    return max(1, min(wished, len(stretches), _MOST_BYTES // max(1, largest)))


def _bytes(timeline: Timeline, numbers: Sequence[int]) -> int:
    """What rendering a stretch takes of memory, about."""
    encoded = sum(3 * form.width * form.height // 2 * _PICTURES for form in timeline.formats)
    return encoded + sum(_read_bytes(timeline.pieces[number]) for number in numbers)


def _read_bytes(piece: Piece) -> int:
    return 3 * piece.size[0] * piece.size[1] // 2 * _READ if piece.path else 0


def side_by_side(work: Sequence[tuple[int, Render]], most: int, tell: Tell | None) -> None:
    """Do all of it, so many at a time. When one fails, or whoever is told stops it, the others end too.

    Args:
        work: What to do, and how much of the whole it is; each is given what to tell its own share to.
        most: How many at a time.
        tell: Given the share of the whole that is done, by this thread. What it raises ends the work.
    """
    whole, shares, stop = sum(weight for weight, _ in work), [0.0] * len(work), Event()

    def run(place: int) -> None:
        def told(share: float) -> None:
            shares[place] = share
            if stop.is_set():
                raise _Stopped

        told(0.0)
        work[place][1](told)
        shares[place] = 1.0

    with ThreadPoolExecutor(most, "malan-stretch") as pool:
        running = [pool.submit(run, place) for place in range(len(work))]
        try:
            _watch(running, lambda: sum(w * s for (w, _), s in zip(work, shares, strict=True)) / whole, tell)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


class _Stopped(Exception):
    """Another stretch failed, or somebody stopped the work."""


def _watch(running: Sequence[Future[None]], share: Callable[[], float], tell: Tell | None) -> None:
    """Wait for all; tell how far they are; raise what the first one raised."""
    left = set(running)
    while left:
        done, left = wait(left, _LOOK_S, return_when="FIRST_COMPLETED")
        for one in done:
            one.result()
        if tell:
            tell(min(share(), 0.999))
