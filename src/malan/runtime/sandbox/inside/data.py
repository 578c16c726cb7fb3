"""The clips a program may use, as numbers 0 to n-1: `len(clips)`, `clips.batches(...)`, `clips.take([3, 5])`.

    for batch in job.data.batches(32, shuffle=True, epoch=2):
        batch["clip_N"], batch["descriptor_ND"], batch["label_N"] …

Every array is fresh: it may be changed, and nothing else changes with it. Names end in what their axes are: N clips or
windows, T frames, H rows, W columns, C colours or classes or channels, D numbers of a descriptor, S samples. The clips
themselves stay with the loader, which answers one request a batch. Start reading at `Clips.batches`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any

Ask = Callable[..., "dict[str, Any] | None"]
"""Sends a request and returns arrays by name; None when there is no more. `malan_inside.ask` is one."""


class Clips:
    """A numbered set of clips behind a loader.

    Args:
        ask: The way to the loader.
        name: Which of its sets: `data`, `held_out`.
        size: How many clips it has.
        deliver: What comes with each clip unless a call says otherwise.
        window: How frames are taken unless a call says otherwise; see `batches`.
        audio: The same for sound.
    """

    def __init__(
        self,
        ask: Ask,
        name: str,
        size: int,
        deliver: Sequence[str],
        window: Mapping[str, Any] | None = None,
        audio: Mapping[str, Any] | None = None,
    ) -> None:
        self._ask, self._name, self._size = ask, name, size
        self.deliver, self.window, self.audio = tuple(deliver), dict(window or {}), dict(audio or {})

    def __len__(self) -> int:
        return self._size

    def batches(
        self, size: int = 32, *, shuffle: bool = False, epoch: int = 0, **more: Any
    ) -> Iterator[dict[str, Any]]:
        """One pass over the clips, batch by batch. The same seed, epoch and arguments give the same batches.

        Args:
            size: Clips (or windows) in a batch; the last one of a pass, or of a bucket, may have fewer.
            shuffle: Another order every epoch; else the same one always.
            epoch: Which pass; counts for the order and for windows taken at random.
            more: `deliver`: which of `descriptor`, `labels`, `captions`, `owner`, `frames`, `audio`.
                `window`: `{frames, every, size_px, fit, pick, stride}`: so many frames, each `every`-th one, short side
                scaled to `size_px`; `fit` is `crop` (square from the middle), `stretch` or `whole`; `pick` is `random`,
                `middle` or `all` (one every `stride` frames).
                `audio`: `{rate_hz, channels, seconds, pick}`.
                `shard`: `(i, n)`, the i-th of n parts. `repeats`: each clip so often. `bucket`: `aspect` or `length`:
                clips of a batch are alike in it, and `fit` need not crop.

        Yields:
            `clip_N` i4, and `descriptor_ND` f4; `label_N` i4 (-1: none) with `labels_NC` u1; `captions_bytes` u1 with
            `captions_offsets` i8 (see `texts`); `owner_N` i4; `frames_NTHWC` u1 with `time_NT` f8 (seconds from the
            start of the clip); `audio_NS` f4 (`audio_NCS` when there are more channels) with `samples_N` i4.
        """
        asked = {"size": size, "shuffle": shuffle, "epoch": epoch, **self._with_defaults(more)}
        for batch in count():
            found = self._ask(do="batch", of=self._name, batch=batch, **asked)
            if found is None:
                return
            yield fresh(found)

    def take(self, clips: Sequence[int], *, epoch: int = 0, **more: Any) -> dict[str, Any]:
        """The named clips, in this order, as one batch. With `pick` = `all` there may be several windows of each."""
        wanted = [int(clip) for clip in clips]
        found = self._ask(do="take", of=self._name, clips=wanted, epoch=epoch, **self._with_defaults(more))
        return fresh(found or {})

    def _with_defaults(self, more: Mapping[str, Any]) -> dict[str, Any]:
        asked = {"deliver": list(self.deliver), "window": self.window, "audio": self.audio, **more}
        asked["deliver"] = list(asked["deliver"])
        return {name: value for name, value in asked.items() if value or name == "deliver"}


def fresh(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays that belong to the caller: what came through shared memory is copied out of it."""
    return {name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}


def texts(batch: Mapping[str, Any]) -> list[bytes]:
    """The captions of a batch, UTF-8; empty where a clip has none."""
    whole = bytes(batch["captions_bytes"])
    ends = [int(end) for end in batch["captions_offsets"]]
    return [whole[start:end] for start, end in pairwise(ends)]
