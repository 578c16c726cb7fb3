"""The property `TC260:AIGC` in an XMP packet: found as an element or as an attribute, taken out, put in.

A packet is edited where it has to be and stays as it is to the byte everywhere else. Document types and entities are
refused, so that no packet can make itself larger than it is. Start at `labels_in` and `with_label`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from malan.media.labels.pieces import Damaged

NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_MOST = 16 << 20
_DEEPEST = 200
_ATTRIBUTE = re.compile(rb"""\s+([^\s=<>/"']+)\s*=\s*("[^"]*"|'[^']*')""")
_LEFT_OVER = re.compile(  # a description that held nothing but a label
    rb"""<(\w+):Description \w+:about="[^"]*" xmlns:TC260="%s"></\1:Description>""" % re.escape(NAMESPACE.encode())
)
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
).encode()


@dataclass
class _Packet:
    """What an edit has to know of a packet: places in bytes."""

    texts: list[str] = field(default_factory=list)
    elements: list[tuple[int, int]] = field(default_factory=list)  # of the property
    tags: list[tuple[int, int]] = field(default_factory=list)  # start tags that carry it as an attribute
    rdf_end: int | None = None  # of the last end tag </rdf:RDF>
    rdf_prefix: str = "rdf"
    about: str = ""


def labels_in(packet: bytes) -> Iterator[str]:
    """The value of every property that is a label, XML escapes undone once.

    Raises:
        Damaged: It is no XML, or more than a packet is.
    """
    yield from _parse(packet).texts


def with_label(packet: bytes | None, text: str) -> bytes:
    """The packet with this one label; a new packet where there was none.

    Raises:
        Damaged: What is there cannot be parsed, so it could not be kept.
    """
    bare = without_labels(packet) if packet and packet.strip(b" \t\r\n\0") else _EMPTY
    found = _parse(bare)
    if found.rdf_end is None:
        raise Damaged("xmp")
    about = escape(found.about, {'"': "&quot;"})
    rdf = found.rdf_prefix
    new = (
        f'<{rdf}:Description {rdf}:about="{about}" xmlns:TC260="{NAMESPACE}">'
        f"<TC260:AIGC>{escape(text)}</TC260:AIGC></{rdf}:Description>"
    )
    return bare[: found.rdf_end] + new.encode() + bare[found.rdf_end :]


def without_labels(packet: bytes) -> bytes:
    """The packet without any label; everything else as it was."""
    found = _parse(packet)
    edits = [(start, end, b"") for start, end in found.elements]
    for start, end in found.tags:
        edits.append((start, end, _without_attribute(packet[start:end])))
    for start, end, new in sorted(edits, reverse=True):
        packet = packet[:start] + new + packet[end:]
    return _LEFT_OVER.sub(b"", packet) if found.elements else packet


def _without_attribute(tag: bytes) -> bytes:
    def keep(match: re.Match[bytes]) -> bytes:
        name = match.group(1).rpartition(b":")[2]
        return b"" if name == b"AIGC" and not match.group(1).startswith(b"xmlns") else match.group()

    return _ATTRIBUTE.sub(keep, tag)


def _parse(packet: bytes) -> _Packet:
    packet = packet.rstrip(b"\0")
    if len(packet) > _MOST:
        raise Damaged("xmp")
    reader = _Reader(packet)
    try:
        reader.parser.Parse(packet, True)
    except (expat.ExpatError, ValueError) as error:
        raise Damaged("xmp") from error
    return reader.found


class _Reader:
    """Follows expat through a packet."""

    def __init__(self, packet: bytes) -> None:
        self._packet, self.found = packet, _Packet()
        self._depth = 0
        self._inside: int | None = None  # depth of the property we are in
        self._started, self._text = 0, ""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.namespace_prefixes = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = self._refuse
        self.parser = parser

    @staticmethod
    def _refuse(*_: object) -> None:
        raise ValueError("a packet has no document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError("nested too deeply")
        space, local, prefix = _parts(name)
        at = self.parser.CurrentByteIndex
        if self._inside is None and local == "AIGC":
            self._inside, self._started, self._text = self._depth, at, ""
            return
        if space == _RDF and local == "Description":
            self.found.about = self.found.about or next(
                (value for key, value in attributes.items() if _parts(key)[:2] == (_RDF, "about")), ""
            )
        carried = [value for key, value in attributes.items() if _parts(key)[1] == "AIGC"]
        if carried and self._inside is None:
            self.found.texts += carried
            self.found.tags.append((at, self._tag_end(at)))
        if space == _RDF and local == "RDF" and prefix:
            self.found.rdf_prefix = prefix

    def _end(self, name: str) -> None:
        at = self.parser.CurrentByteIndex
        if self._inside == self._depth:
            end = self._tag_end(at)
            self.found.elements.append((self._started, end))
            self.found.texts.append(self._text)
            self._inside = None
        elif _parts(name)[:2] == (_RDF, "RDF") and self._packet[at : at + 2] == b"</":
            self.found.rdf_end = at
        self._depth -= 1

    def _characters(self, text: str) -> None:
        if self._inside is not None:
            self._text += text

    def _tag_end(self, start: int) -> int:
        """Behind the `>` that closes the tag which starts there; quoted ones do not."""
        quote = 0
        for at in range(start, len(self._packet)):
            byte = self._packet[at]
            if quote:
                quote = 0 if byte == quote else quote
            elif byte in b"\"'":
                quote = byte
            elif byte == 0x3E:
                return at + 1
        raise ValueError("a tag without its end")


def _parts(name: str) -> tuple[str, str, str]:
    """Namespace, local name and prefix of a name as expat gives it."""
    parts = name.split(" ")
    if len(parts) == 1:
        return "", parts[0], ""
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""
