"""Puts a second label into a labelled file, as careless tools do: bytes are moved by hand, sizes corrected."""

from __future__ import annotations

import zlib

from malan.media.labels import ogg, vorbis
from malan.media.labels.pieces import Put

_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"


def doubled(carrier: str, data: bytes) -> bytes:
    """The file with its label twice."""
    return _DOUBLE[carrier](data)


def _bmff(data: bytes) -> bytes:
    """The `meta` of `udta` once more behind itself; the `moov` stands last, so nothing else moves."""
    key = data.rindex(b"mdtaAIGC")
    meta = data.rindex(b"meta", 0, key) - 4
    size = int.from_bytes(data[meta : meta + 4], "big")
    new = data[: meta + size] + data[meta : meta + size] + data[meta + size :]
    for parent in (data.rindex(b"udta", 0, meta) - 4, data.rindex(b"moov", 0, meta) - 4):
        grown = int.from_bytes(data[parent : parent + 4], "big") + size
        new = new[:parent] + grown.to_bytes(4, "big") + new[parent + 4 :]
    return new


def _matroska(data: bytes) -> bytes:
    """The Tags that stand last once more; the Segment has a size of eight bytes."""
    tags = data.rindex(b"\x12\x54\xc3\x67")
    segment = data.index(b"\x18\x53\x80\x67") + 4
    new = data + data[tags:]
    return new[:segment] + (1 << 56 | len(new) - segment - 8).to_bytes(8, "big") + new[segment + 8 :]


def _riff(data: bytes, extra: bytes) -> bytes:
    return data[:4] + (len(data) + len(extra) - 8).to_bytes(4, "little") + data[8:] + extra


def _chunk(data: bytes) -> bytes:
    at = data.index(b"AIGC")
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    return data[at : at + 8 + size + size % 2]


def _wav(data: bytes) -> bytes:
    return _riff(data, _chunk(data))


def _avi(data: bytes) -> bytes:
    value = _chunk(data)
    return _riff(data, b"LIST" + (len(value) + 4).to_bytes(4, "little") + b"INFO" + value)


def _webp(data: bytes) -> bytes:
    at = data.index(b"XMP ")
    return _riff(data, data[at : at + 8 + int.from_bytes(data[at + 4 : at + 8], "little") + 1 & ~1])


def _flv(data: bytes) -> bytes:
    at = data.index(b"\0\4AIGC\2")
    value = data[at : at + 9 + int.from_bytes(data[at + 7 : at + 9], "big")]
    size = int.from_bytes(data[14:17], "big") + len(value)
    body = 24 + int.from_bytes(data[14:17], "big")
    new = data[:14] + size.to_bytes(3, "big") + data[17:at] + value + data[at:body]
    return new + (size + 11).to_bytes(4, "big") + data[body + 4 :]


def _mp3(data: bytes) -> bytes:
    at = data.index(b"TXXX", data.index(b"\0AIGC\0") - 12)
    size = 10 + (data[at + 6] << 7 | data[at + 7])
    return data[: at + size] + data[at : at + size] + data[at + 2 * size :]  # in the padding


def _flac(data: bytes) -> bytes:
    at, kind = 4, 0
    while (kind := data[at] & 0x7F) != 4:
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    size = int.from_bytes(data[at + 1 : at + 4], "big")
    new = _two(data[at + 4 : at + 4 + size])
    assert kind == 4
    return data[: at + 1] + len(new).to_bytes(3, "big") + new + data[at + 4 + size :]


def _two(block: bytes) -> bytes:
    comments = vorbis.read_comments(block)
    label = next(entry for entry in comments.entries if entry.startswith(b"AIGC="))
    return vorbis.Comments(comments.vendor, (*comments.entries, label), comments.rest).to_bytes()


def _ogg(data: bytes) -> bytes:
    """The comment page of an Opus file cut anew."""
    start = data.index(b"OggS", 4)
    lacing = data[start + 27 : start + 27 + data[start + 26]]
    body = start + 27 + len(lacing)
    new = b"OpusTags" + _two(data[body + 8 : body + sum(lacing)])
    segments = b"\xff" * (len(new) // 255) + bytes([len(new) % 255])
    page = ogg._signed(data[start : start + 22], segments, new)
    return data[:start] + Put(page).data + new + data[body + sum(lacing) :]


def _png(data: bytes) -> bytes:
    at = data.index(b"iTXt") - 4
    size = 12 + int.from_bytes(data[at : at + 4], "big")
    assert zlib.crc32(data[at + 4 : at + size - 4]).to_bytes(4, "big") == data[at + size - 4 : at + size]
    return data[: at + size] + data[at : at + size] + data[at + size :]


def _jpeg(data: bytes) -> bytes:
    at = data.index(_PREFIX) - 4
    size = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[: at + size] + data[at : at + size] + data[at + size :]


_DOUBLE = {
    "mp4": _bmff,
    "mov": _bmff,
    "m4a": _bmff,
    "mkv": _matroska,
    "webm": _matroska,
    "avi": _avi,
    "flv": _flv,
    "wav": _wav,
    "mp3": _mp3,
    "flac": _flac,
    "ogg": _ogg,
    "png": _png,
    "jpeg": _jpeg,
    "webp": _webp,
}
