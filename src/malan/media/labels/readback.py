"""Labels as somebody else's parser sees them: libavformat for sound and film, Pillow for pictures.

libavformat shows no chunk of its own in wav, and in avi none behind the pictures: those are read by a second reader
that was written apart from the writer and shares no line with it. Start at `foreign_texts`.
"""

from __future__ import annotations

import mmap
import struct
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from malan.core.errors import MediaError
from malan.media.labels.carriers import Carrier
from malan.media.sniff import shown

_PROPERTY = "{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC"
_HEADER = struct.Struct("<4sI")


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a foreign parser read, and which one it was."""

    texts: list[str]
    reader: str


def foreign_texts(path: str | Path, carrier: Carrier) -> Foreign:
    """The label texts of a file, read by a parser that is not ours.

    Raises:
        MediaError: It cannot be opened by that parser.
    """
    if carrier.is_picture:
        return Foreign(list(_by_pillow(path)), "Pillow")
    if carrier.name == "wav":
        return Foreign(list(_by_second_reader(path)), "second reader")
    texts = list(_by_libav(path))
    if carrier.name == "avi" and not texts:
        return Foreign(list(_by_second_reader(path)), "second reader")
    return Foreign(texts, "libavformat")


def _by_libav(path: str | Path) -> Iterator[str]:
    from malan.media.open import open_media

    with open_media(path) as container:
        tags: list[Mapping[str, str]] = [container.metadata, *(stream.metadata for stream in container.streams)]
        for metadata in tags:
            yield from (value for name, value in metadata.items() if name.upper() == "AIGC")


def _by_pillow(path: str | Path) -> Iterator[str]:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as picture:
                if picture.format == "PNG":
                    picture.load()  # text may stand behind the pixels
                packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise MediaError("media.damaged", path=shown(path)) from error
    data = packet.encode() if isinstance(packet, str) else packet
    if data.strip(b"\0 "):
        root = ET.fromstring(data.strip(b"\0 \r\n\t"))  # noqa: S314  # packets with entities are refused before
        for element in root.iter():
            if element.tag == _PROPERTY:
                yield "".join(element.itertext())
            if _PROPERTY in element.attrib:
                yield element.attrib[_PROPERTY]


def _by_second_reader(path: str | Path) -> Iterator[str]:
    """Every chunk `AIGC` of a RIFF file, whatever list it lies in."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        open_lists = [(0, len(view))]
        data_size = _data_size(view)
        while open_lists:
            at, end = open_lists.pop()
            while at + _HEADER.size <= end:
                name, size = _HEADER.unpack_from(view, at)
                body = at + _HEADER.size
                if name == b"data" and size == 0xFFFFFFFF:
                    size = data_size
                if name in (b"RIFF", b"RF64", b"BW64", b"LIST"):
                    if name != b"LIST" or view[body : body + 4] in (b"INFO", b"hdrl"):
                        whole = len(view) if name in (b"RF64", b"BW64") else body + size
                        open_lists.append((body + 4, min(whole, end)))
                elif name == b"AIGC":
                    yield view[body : body + size].rstrip(b"\0").decode("utf-8", "replace")
                at = len(view) if name in (b"RF64", b"BW64") else body + size + (size & 1)


def _data_size(view: mmap.mmap) -> int:
    """The length of the sound in an RF64 file, from its `ds64`, which stands first."""
    return struct.unpack_from("<Q", view, 28)[0] if view[12:16] == b"ds64" else 0
