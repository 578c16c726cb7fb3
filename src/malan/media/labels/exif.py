"""A label in the EXIF user comment (tag 0x9286 of the Exif IFD): read, and blanked where another takes its place.

We never write labels here. A TIFF block is walked with limits; one that is not sound has no label (Exif 2.32, §4.6).
"""

from __future__ import annotations

from collections.abc import Iterator

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_MOST_ENTRIES = 1000


def labels_in(block: bytes) -> Iterator[str]:
    """The user comment, if it looks like a label."""
    for start, end in _comments(block):
        text = block[start:end]
        wide = text.startswith(b"UNICODE\0")
        order = "utf-16-be" if _tiff(block)[1] == "big" else "utf-16-le"
        said = text[8:].decode(order if wide else "utf-8", "replace").strip("\0 ")
        if "AIGC" in said or '"ContentProducer"' in said:
            yield said


def without_labels(block: bytes) -> bytes:
    """The block with a label in the user comment blanked; nothing moves."""
    changed = bytearray(block)
    if any(True for _ in labels_in(block)):
        for start, end in _comments(block):
            changed[start:end] = (b"ASCII\0\0\0" + b" " * max(0, end - start - 8))[: end - start]
    return bytes(changed)


def _tiff(block: bytes) -> tuple[int, str]:
    """Where the TIFF header starts, and its byte order; -1 when there is none."""
    start = 6 if block.startswith(b"Exif\0") else 0
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[start : start + 4])
    return (start, order) if order else (-1, "big")


def _comments(block: bytes) -> Iterator[tuple[int, int]]:
    base, order = _tiff(block)
    if base < 0:
        return

    def number(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], order)  # type: ignore[arg-type]

    for entry in _entries(block, base, number(base + 4, 4), order):
        if number(entry, 2) == _EXIF_IFD:
            for inner in _entries(block, base, number(entry + 8, 4), order):
                count = number(inner + 4, 4)
                start = base + number(inner + 8, 4)
                if number(inner, 2) == _USER_COMMENT and 8 < count <= len(block) - start:
                    yield start, start + count


def _entries(block: bytes, base: int, offset: int, order: str) -> Iterator[int]:
    """Where each entry of a directory starts."""
    start = base + offset
    count = int.from_bytes(block[start : start + 2], order)  # type: ignore[arg-type]
    for number in range(min(count, _MOST_ENTRIES)):
        at = start + 2 + 12 * number
        if at + 12 > len(block):
            return
        yield at
