"""An owner's own clips as a dataset in this process: `len(data)`, `data[3]`, `for item in data`.

Trusted: nothing is shut in and nothing is counted, so it is for whoever owns the footage. It is what
`torch.utils.data.DataLoader` takes, in workers too, without importing torch. Start reading at `ClipDataset`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from malan.core import Clip
from malan.core.errors import MediaError
from malan.runtime.sandbox.inside.data import Clips, texts
from malan.training.loader.holdings import Holdings
from malan.training.loader.loader import Loader
from malan.training.loader.requests import Allowed

_WITHOUT_N = {
    "clip_N": "clip",
    "descriptor_ND": "descriptor_D",
    "label_N": "label",
    "labels_NC": "labels_C",
    "owner_N": "owner",
    "frames_NTHWC": "frames_THWC",
    "time_NT": "time_T",
    "audio_NS": "audio_S",
    "audio_NCS": "audio_CS",
    "samples_N": "samples",
}


class ClipDataset:
    """Numbered clips with what is known of them; the same seed and epoch give the same windows.

    Args:
        holdings: What there is.
        deliver: What comes with each clip: `descriptor`, `labels`, `captions`, `owner`, `frames`, `audio`.
        window: Which frames; see `Clips.batches`.
        audio: Which sound; see there.
        seed: What shuffling and random windows follow from, together with the epoch.
        threads: Decoders side by side; one is best below a DataLoader with workers.

    Raises:
        Rejected: A kind is not there.
    """

    def __init__(
        self,
        holdings: Holdings,
        deliver: Sequence[str],
        *,
        window: Mapping[str, Any] | None = None,
        audio: Mapping[str, Any] | None = None,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        holdings.check(deliver)
        self._holdings, self._allowed = holdings, Allowed(frozenset(deliver), requests=2**62)
        self._deliver, self._window, self._audio = tuple(deliver), window, audio
        self._seed, self._threads = seed, threads
        self._loader: Loader | None = None
        self._process = 0
        self.epoch = 0

    @property
    def classes(self) -> list[str]:
        """The names in the order of their numbers."""
        return self._holdings.all_classes

    def clip(self, number: int) -> Clip:
        """Which clip a number stands for."""
        return self._holdings.clips[number]

    def __len__(self) -> int:
        return len(self._holdings.clips)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One clip: arrays without the axis of clips, whole numbers, and its caption as text.

        Raises:
            IndexError: There is no such number.
            MediaError: Its file is gone or cannot be decoded.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        batch = self._clips().take([number % len(self)], epoch=self.epoch)
        if not len(batch["clip_N"]):
            raise MediaError("loader.unreadable", clip=self.clip(number).id[:12])
        firsts = {_WITHOUT_N[name]: array[0] for name, array in batch.items() if name in _WITHOUT_N}
        found = {name: int(value) if value.ndim == 0 else value for name, value in firsts.items()}
        if "captions_bytes" in batch:
            found["caption"] = texts(batch)[0].decode("utf-8", "replace")
        return found

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def batches(self, size: int = 32, *, shuffle: bool = False, **more: Any) -> Iterator[dict[str, Any]]:
        """One pass in batches, the next ones decoded ahead; arguments and arrays as of `Clips.batches`."""
        return self._clips().batches(size, shuffle=shuffle, epoch=more.pop("epoch", self.epoch), **more)

    def close(self) -> None:
        """Close what is open; it opens again by itself."""
        if self._loader is not None and self._process == os.getpid():
            self._loader.close()
        self._loader = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loader": None}

    def _clips(self) -> Clips:
        """A loader of this process: threads and open files do not survive a fork."""
        if self._loader is None or self._process != os.getpid():
            self._loader = Loader(self._holdings, self._allowed, seed=self._seed, threads=self._threads)
            self._process = os.getpid()
        return Clips(self._ask, "data", len(self), self._deliver, self._window, self._audio)

    def _ask(self, **request: Any) -> dict[str, Any] | None:
        assert self._loader is not None  # noqa: S101  # made by the caller
        return self._loader.serve(request)
