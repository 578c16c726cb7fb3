"""Vorbis comments as flac, Ogg Vorbis, Opus and others keep them, and the label `AIGC=` among them.

Little-endian lengths and UTF-8 (Vorbis I, §5). Start at `values` and `with_label`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from malan.media.labels.pieces import Damaged

_MOST_COMMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Comments:
    """Vendor, the comments as bytes, and what follows them (a framing bit, padding)."""

    vendor: bytes
    entries: tuple[bytes, ...]
    rest: bytes

    def to_bytes(self) -> bytes:
        listed = b"".join(len(entry).to_bytes(4, "little") + entry for entry in self.entries)
        head = len(self.vendor).to_bytes(4, "little") + self.vendor
        return head + len(self.entries).to_bytes(4, "little") + listed + self.rest


def read_comments(data: bytes) -> Comments:
    """Take a block of comments apart.

    Raises:
        Damaged: It ends before it should.
    """
    at = 0

    def take() -> bytes:
        nonlocal at
        size = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + size > len(data):
            raise Damaged("comments")
        at += 4 + size
        return data[at - size : at]

    vendor = take()
    count = int.from_bytes(data[at : at + 4], "little")
    if at + 4 > len(data) or count > _MOST_COMMENTS:
        raise Damaged("comments")
    at += 4
    entries = tuple(take() for _ in range(count))
    return Comments(vendor, entries, data[at:])


def values(comments: Comments) -> Iterator[str]:
    """The text of every label."""
    for entry in comments.entries:
        name, _, value = entry.partition(b"=")
        if b"AIGC" in name.upper():
            yield value.decode("utf-8", "replace")


def with_label(comments: Comments, text: str) -> Comments:
    """The comments with this one label."""
    bare = without_labels(comments)
    return Comments(bare.vendor, (*bare.entries, b"AIGC=" + text.encode()), bare.rest)


def without_labels(comments: Comments) -> Comments:
    """The comments without any label."""
    kept = tuple(entry for entry in comments.entries if b"AIGC" not in entry.partition(b"=")[0].upper())
    return Comments(comments.vendor, kept, comments.rest)
