"""Fields of H.264 that come in packets of their own: two of them are one frame.

A stream may code a picture as two fields (ITU-T H.264, 3.30 complementary field pair), which containers then hold as
two packets. Only the slice headers tell. Start at `FieldPairs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from malan.media.nal import H264_IDR, H264_PPS, H264_SPS, Framing, framing_of, parameter_sets

_SLICE = 1
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}  # with chroma format in the set
_HEADER_BYTES = 24  # of a slice header that are read; what is asked for lies within


@dataclass(frozen=True)
class Sequence:
    """What a sequence parameter set says about slice headers (7.3.2.1.1)."""

    number_bits: int  # of frame_num
    has_planes: bool  # separate_colour_plane_flag
    is_frames_only: bool


@dataclass(frozen=True)
class Field:
    """One field picture."""

    number: int  # frame_num
    is_bottom: bool
    is_reference: bool


class Bits:
    """Reads the bits of a unit; raises ValueError behind its end."""

    def __init__(self, unit: bytes) -> None:
        payload = unit.replace(b"\0\0\3", b"\0\0")  # 7.3.1: emulation prevention
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the unit ends")
        return self._value >> self._left & (1 << count) - 1

    def number(self) -> int:
        """ue(v) (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """se(v) (9.1.1)."""
        code = self.number()
        return (code + 1) // 2 if code % 2 else -(code // 2)


class FieldPairs:
    """Tells which packets of an H.264 track only complete the frame of the packet before.

    Costs nothing on a track that holds frames alone.

    Args:
        configuration: The codec configuration (extradata) of the track.
    """

    def __init__(self, configuration: bytes) -> None:
        self._framing = framing_of("h264", configuration)
        self._sequences: dict[int, Sequence] = {}
        self._sequence_of: dict[int, int] = {}  # picture parameter set → sequence parameter set
        self._first: Field | None = None  # a field that may still find its other half
        for unit in parameter_sets("h264", configuration):
            self._learn(unit)

    @classmethod
    def of(cls, codec: str, configuration: bytes | None) -> FieldPairs | None:
        """For a track, or None where no packet can be a field."""
        if codec != "h264" or not configuration:
            return None
        try:
            pairs = cls(configuration)
        except (ValueError, IndexError):
            return None
        return pairs if any(not s.is_frames_only for s in pairs._sequences.values()) else None

    def is_second(self, packet: bytes) -> bool:
        """Take the next packet: whether it is the second field of a frame whose first field was the packet before."""
        try:
            field = self._field(packet)
        except (ValueError, IndexError, KeyError):
            field = None
        first, self._first = self._first, field
        if first is None or field is None or (first.number, first.is_bottom) != (field.number, not field.is_bottom):
            return False
        if field.is_reference and not first.is_reference:
            return False  # 3.30: only a reference field begins a pair that is referred to
        self._first = None
        return True

    def _field(self, packet: bytes) -> Field | None:
        """The field a packet holds alone; None for frames, and for both fields of a frame together."""
        found: list[Field | None] = []
        for unit in _units(self._framing, packet):
            kind = unit[0] & 31
            if kind in (_SLICE, H264_IDR):
                found.append(self._slice(unit))
            else:
                self._learn(unit)
        fields = set(found)
        return found[0] if len(fields) == 1 else None

    def _slice(self, unit: bytes) -> Field | None:
        """7.3.3, as far as the parity."""
        bits = Bits(unit[1:_HEADER_BYTES])
        bits.number()
        bits.number()
        sequence = self._sequences[self._sequence_of[bits.number()]]
        if sequence.is_frames_only:
            return None
        if sequence.has_planes:
            bits.take(2)
        number = bits.take(sequence.number_bits)
        return Field(number, bool(bits.take(1)), bool(unit[0] & 0x60)) if bits.take(1) else None

    def _learn(self, unit: bytes) -> None:
        if unit[0] & 31 == H264_SPS:
            number, sequence = _sequence(unit)
            self._sequences[number] = sequence
        elif unit[0] & 31 == H264_PPS:
            bits = Bits(unit[1:])
            self._sequence_of[bits.number()] = bits.number()


def _units(framing: Framing, packet: bytes) -> Iterator[bytes]:
    """The units of a packet that are not empty; of each only what its header may take, parameter sets whole."""
    if framing.length_bytes:
        yield from (unit for unit in framing.units(packet) if unit)
        return
    at = packet.find(b"\0\0\1")
    while 0 <= at < len(packet) - 3:
        after = packet.find(b"\0\0\1", at + 3)
        yield packet[at + 3 : after if after >= 0 else len(packet)]
        at = after


def _sequence(unit: bytes) -> tuple[int, Sequence]:
    """Id and content of a sequence parameter set (7.3.2.1.1)."""
    bits = Bits(unit[4:])
    number, has_planes = bits.number(), False
    if unit[1] in _HIGH_PROFILES:
        has_planes = _skip_high(bits)
    number_bits = bits.number() + 4
    _skip_order(bits)
    for read in (bits.number, lambda: bits.take(1), bits.number, bits.number):
        read()
    return number, Sequence(number_bits, has_planes, bool(bits.take(1)))


def _skip_high(bits: Bits) -> bool:
    """Chroma format, depths and scaling lists; whether the colour planes are coded apart."""
    chroma = bits.number()
    has_planes = chroma == 3 and bool(bits.take(1))  # 4:4:4
    bits.number()
    bits.number()
    bits.take(1)
    if bits.take(1):
        for place in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_scaling(bits, 16 if place < 6 else 64)
    return has_planes


def _skip_scaling(bits: Bits, count: int) -> None:
    """7.3.2.1.1.1."""
    last = 8
    for _ in range(count):
        last = (last + bits.signed()) % 256
        if not last:
            return


def _skip_order(bits: Bits) -> None:
    kind = bits.number()
    if kind == 0:
        bits.number()
    elif kind == 1:
        bits.take(1)
        for _ in range(2):
            bits.signed()
        for _ in range(min(bits.number(), 255)):
            bits.signed()
