"""From a clip to a file: find the owner's file where it was registered, and cut the clip out of it.

The only way media bytes leave the library. Callers ask for rights first. Start reading at `Cutter.cut`.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from malan.core import Asset, Clip
from malan.core.errors import NotFound
from malan.services.files.labels import carry_text, label_text

if TYPE_CHECKING:
    from malan.datasets import Item
    from malan.media import PacketIndex
    from malan.store import AssetRow
    from malan.workspace import Workspace


class Cutter:
    """Cuts clips of a workspace; remembers the assets it met."""

    def __init__(self, ws: Workspace) -> None:
        self._library = ws.library
        self.asset = lru_cache(maxsize=4096)(self._library.asset)
        self.source = lru_cache(maxsize=4096)(self._source)
        self._label = lru_cache(maxsize=4096)(lambda path: label_text([path]))
        self._index = lru_cache(maxsize=8)(self.read_index)

    def cut_item(self, item: Item, out: Path) -> None:
        """Cut the clip of an item of a snapshot."""
        self.cut(item.clip, out)

    def cut(self, clip: Clip, out: Path) -> None:
        """Write a clip as a file of its own: whole GOPs copied, edges encoded, all sound tracks kept.

        The AIGC label of the owner's file, if it has one, goes along.

        Raises:
            NotFound: The file is not where it was, or is not what it was.
            MediaError: It cannot be cut.
        """
        path = self.source(clip.asset_id)
        label = self._label(path)
        if label is None:
            self._cut(clip, path, out)
            return
        bare = out.with_name(f".malan-{os.getpid()}-{abs(hash(out.name)):x}-bare{out.suffix}")
        try:  # the file never has its name without its label
            self._cut(clip, path, bare)
            carry_text(label, bare)
            bare.replace(out)
        finally:
            bare.unlink(missing_ok=True)

    def _cut(self, clip: Clip, path: Path, out: Path) -> None:
        row: AssetRow = self.asset(clip.asset_id)
        if is_still(row.asset):
            shutil.copyfile(path, out)
            return
        if row.asset.first("video") is None:
            from malan.media.cut_sound import cut_sound

            cut_sound(path, clip.span, out)
            return
        from malan.media.cut import cut

        cut(path, self._index(clip.asset_id), [clip.span], out, track=clip.track)

    def _source(self, asset_id: str) -> Path:
        """The first place where the file still looks as it did when it was read."""
        row: AssetRow = self.asset(asset_id)
        for place in row.locations:
            path = Path(place.path)
            try:
                found = path.stat()
            except OSError:
                continue
            if (found.st_size, found.st_mtime_ns) == (place.size_bytes, place.mtime_ns):
                return path
        where = row.locations[0].path if row.locations else "–"
        raise NotFound(
            "dataset.source_missing", asset=asset_id[:12], path=os.fsencode(where).decode("utf-8", "replace")
        )

    def read_index(self, asset_id: str) -> PacketIndex:
        """The packet index of an asset, as it was made when the asset was added."""
        from malan.media import PacketIndex

        return PacketIndex.from_bytes(self._library.index(asset_id))


def is_still(asset: Asset) -> bool:
    """A picture that does not move; not sound with a picture on its cover."""
    has_picture = any(track.kind == "image" for track in asset.tracks)
    return has_picture and asset.first("video") is None and asset.first("audio") is None


def item_suffix(asset: Asset) -> str:
    """The ending of the file a clip of an asset is cut to."""
    if is_still(asset):
        return {"png": ".png", "webp": ".webp"}.get(asset.tracks[0].codec, ".jpg")
    return ".mp4" if asset.first("video") else ".m4a"
