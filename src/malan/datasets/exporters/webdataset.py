"""WebDataset: tar shards a loader reads from front to back, a clip being three files of one base name."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from malan.datasets.exporters.base import Exporter, Item, Step, View

SHARD_BYTES = 500_000_000


class WebDataset(Exporter):
    """`train-000000.tar` with `KEY.mp4`, `KEY.json`, `KEY.txt`; shards of about 500 MB, one split each."""

    name = "webdataset"

    def write(self, view: View, out: Path, step: Step) -> None:
        done = 0
        for split in view.splits:
            shard = _Shards(out, split)
            for item in (item for item in view.items if item.split == split):
                with tempfile.TemporaryDirectory(dir=out) as folder:
                    media = Path(folder) / f"{item.name}{item.suffix}"
                    view.cut(item, media)
                    shard.add(item, media)
                done += 1
                step(done, len(view.items), item.title)
            shard.close()

    def resources(self, view: View) -> list[dict[str, Any]]:
        return [
            {
                "@type": "cr:FileSet",
                "@id": f"shards-{split}",
                "name": f"shards-{split}",
                "encodingFormat": "application/x-tar",
                "includes": f"{split}-*.tar",
            }
            for split in view.splits
        ]


class _Shards:
    """The tar file being written, and the next one when it is full."""

    def __init__(self, out: Path, split: str) -> None:
        self._out, self._split, self._number = out, split, 0
        self._tar: tarfile.TarFile | None = None

    def add(self, item: Item, media: Path) -> None:
        if self._tar is None:
            path = self._out / f"{self._split}-{self._number:06d}.tar"
            self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  (closed in `close`)
        _add(self._tar, f"{item.name}{item.suffix}", media.read_bytes())
        _add(self._tar, f"{item.name}.json", json.dumps(item.facts(), ensure_ascii=False).encode())
        _add(self._tar, f"{item.name}.txt", item.caption.encode())
        if self._tar.offset >= SHARD_BYTES:
            self.close()
            self._number += 1

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member without owner, time or rights of this machine: the same content gives the same shard."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))
