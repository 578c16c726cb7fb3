"""The last second or so of frames, kept to find the very frame at which a text came or went.

Frames are held, not copied. Start at `Ring`.
"""

from __future__ import annotations

from collections import deque

import av

from malan.curation.captions.luma import Box, Luma, View
from malan.curation.captions.sighting import Pattern, Presence, end_frame, first_frame

SETTLED = 3  # frames in a row that show no change are enough, if their strengths are alike
SETTLED_WITHIN = 0.06

Numbered = tuple[int, av.VideoFrame]


class Ring:
    """The newest frames of a film, with their numbers."""

    def __init__(self, view: View, length: int) -> None:
        self._view = view
        self._frames: deque[Numbered] = deque(maxlen=length)

    def append(self, number: int, frame: av.VideoFrame) -> None:
        self._frames.append((number, frame))

    @property
    def newest(self) -> int:
        return self._frames[-1][0]

    def frame(self, number: int) -> av.VideoFrame | None:
        """A frame by its number, if it is still there."""
        return next((frame for n, frame in self._frames if n == number), None)

    def band(self, box: Box) -> Luma:
        """A part of the newest frame, small."""
        return self._view.small_part(self._frames[-1][1], box)

    def presence(self, pattern: Pattern) -> Presence:
        """How much of a pattern the newest frame holds."""
        return self._presence(pattern, self._frames[-1][1])

    def first_with(self, pattern: Pattern, until: int) -> int:
        """First frame of a pattern that is there in the frame `until`."""
        frames = [(n, f) for n, f in self._frames if n <= until] or [self._frames[-1]]
        seen = self._looked_back(pattern, frames, want=False)
        place = first_frame([p.strength for p in seen], [p.is_there for p in seen])
        return frames[min(len(frames) - len(seen) + place, len(frames) - 1)][0]

    def first_without(self, pattern: Pattern, since: int) -> int:
        """First frame without a pattern, or without a part of it, that was there at `since` and is gone now."""
        frames = [(n, f) for n, f in self._frames if n >= since]
        seen = self._looked_back(pattern, frames, want=True)
        place = end_frame([p.strength for p in seen], [p.is_there for p in seen])
        return frames[min(len(frames) - len(seen) + place, len(frames) - 1)][0]

    def gap(self, pattern: Pattern, since: int) -> tuple[int, int] | None:
        """First frame without a pattern and first frame with it again, after `since`; None where it never went."""
        gone = -1
        for number, frame in self._frames:
            if number <= since:
                continue
            there = self._presence(pattern, frame).is_mostly_there
            if not there and gone < 0:
                gone = number
            elif there and gone >= 0:
                return gone, number
        return None

    def _looked_back(self, pattern: Pattern, frames: list[Numbered], want: bool) -> list[Presence]:
        """How much of a pattern the frames hold, from the last back to a few that are `want` and change no more."""
        seen: list[Presence] = []
        for _, frame in reversed(frames):
            seen.append(self._presence(pattern, frame))
            settled = seen[-SETTLED:]
            if len(settled) == SETTLED and all(p.is_there == want for p in settled):
                strengths = [p.strength for p in settled]
                if max(strengths) - min(strengths) < SETTLED_WITHIN:
                    break
        return seen[::-1]

    def _presence(self, pattern: Pattern, frame: av.VideoFrame) -> Presence:
        return pattern.presence(self._view.small_part(frame, pattern.box))
