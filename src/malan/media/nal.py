"""The little of H.264 and HEVC bitstreams that cutting needs: units, parameter sets, framing.

A stream is framed either with start codes (Annex B of both standards: transport streams) or with a length before each
unit (ISO/IEC 14496-15: mp4, mov, Matroska), which also fixes the shape of its codec configuration. Start at `Framing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

H264_IDR, H264_SPS, H264_PPS = 5, 7, 8
HEVC_VPS, HEVC_SPS, HEVC_PPS = 32, 33, 34
HEVC_IDR = (19, 20)
HEVC_CRA, HEVC_BLA = 21, 18  # BLA_N_LP: no leading pictures follow
_START = b"\0\0\0\1"
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # ITU-T H.264, 7.3.2.1.1


@dataclass(frozen=True)
class Framing:
    """How a stream frames its units: `length_bytes` before each (1, 2 or 4), or start codes when 0."""

    codec: str  # h264, hevc
    length_bytes: int

    def units(self, data: bytes | memoryview) -> Iterator[bytes]:
        """The units of a packet, without their framing."""
        return _by_start_code(bytes(data)) if self.length_bytes == 0 else self._by_length(memoryview(data))

    def _by_length(self, data: memoryview) -> Iterator[bytes]:
        at = 0
        while at + self.length_bytes <= len(data):
            size = int.from_bytes(data[at : at + self.length_bytes], "big")
            at += self.length_bytes
            yield bytes(data[at : at + size])
            at += size

    def packet(self, units: Iterable[bytes]) -> bytes:
        """Units framed as one packet. OverflowError when one is too long for the length field."""
        if self.length_bytes == 0:
            return b"".join(_START + unit for unit in units)
        return b"".join(len(unit).to_bytes(self.length_bytes, "big") + unit for unit in units)

    def kind(self, unit: bytes) -> int:
        """The type of a unit: nal_unit_type of the codec's standard."""
        return unit[0] & 31 if self.codec == "h264" else unit[0] >> 1 & 63

    def is_parameter_set(self, unit: bytes) -> bool:
        kinds = (H264_SPS, H264_PPS) if self.codec == "h264" else (HEVC_VPS, HEVC_SPS, HEVC_PPS)
        return bool(unit) and self.kind(unit) in kinds

    def kinds(self, data: bytes | memoryview) -> set[int]:
        return {self.kind(unit) for unit in self.units(data) if unit}


def framing_of(codec: str, configuration: bytes) -> Framing:
    """The framing that a codec configuration (extradata) announces."""
    if configuration[:1] != b"\1":
        return Framing(codec, 0)
    return Framing(codec, (configuration[4 if codec == "h264" else 21] & 3) + 1)


def parameter_sets(codec: str, configuration: bytes) -> list[bytes]:
    """The parameter sets inside a codec configuration, in order."""
    if configuration[:1] != b"\1":
        framing = Framing(codec, 0)
        return [unit for unit in framing.units(configuration) if framing.is_parameter_set(unit)]
    if codec == "h264":
        return _avc_sets(configuration)[0]
    sets, at = [], 23
    for _ in range(configuration[22]):
        count, at = int.from_bytes(configuration[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            size = int.from_bytes(configuration[at : at + 2], "big")
            sets.append(configuration[at + 2 : at + 2 + size])
            at += 2 + size
    return sets


def with_sets(configuration: bytes, more: list[bytes]) -> bytes:
    """An H.264 configuration that holds further parameter sets (ISO/IEC 14496-15, 5.3.3.1)."""
    if configuration[:1] != b"\1":
        return configuration + b"".join(_START + unit for unit in more)
    sets, rest = _avc_sets(configuration)
    sets = [*sets, *(unit for unit in more if unit not in sets)]
    sps = [s for s in sets if s[0] & 31 == H264_SPS]
    pps = [s for s in sets if s[0] & 31 == H264_PPS]
    return (
        configuration[:5]
        + bytes([0xE0 | len(sps)])
        + b"".join(len(s).to_bytes(2, "big") + s for s in sps)
        + bytes([len(pps)])
        + b"".join(len(s).to_bytes(2, "big") + s for s in pps)
        + rest
    )


def h264_set_ids(sets: Iterable[bytes]) -> set[int]:
    """Ids that H.264 sequence and picture parameter sets use (ITU-T H.264, 7.3.2.1 and 7.3.2.2)."""
    ids: set[int] = set()
    for unit in sets:
        if unit[0] & 31 == H264_SPS:
            ids.add(_exp_golomb(unit[4:], 1)[0])
        elif unit[0] & 31 == H264_PPS:
            ids.update(_exp_golomb(unit[1:], 2))
    return ids


def h264_order_period(sets: Iterable[bytes]) -> int | None:
    """Frames after which the picture order count of a stream begins anew (ITU-T H.264, 8.2.1.1); None where unknown.

    Told by the first sequence parameter set (7.3.2.1.1) where it holds no scaling lists and order is counted in bits.
    """
    sps = next((unit for unit in sets if unit[0] & 31 == H264_SPS and len(unit) > 4), None)
    if sps is None:
        return None
    bits, at = "".join(f"{byte:08b}" for byte in sps[4:24]), 0
    head, at = _numbers(bits, 4 if sps[1] in _HIGH_PROFILES else 1, at)
    if sps[1] in _HIGH_PROFILES:
        if head[1] == 3 or bits[at + 1 : at + 2] != "0":
            return None
        at += 2
    (_, order_type, order_bits), _ = _numbers(bits, 3, at)
    return 1 << order_bits + 3 if order_type == 0 and order_bits <= 12 else None


def as_bla(framing: Framing, data: bytes) -> bytes:
    """A packet whose CRA pictures are BLA: what ITU-T H.265, 3.14 says a splice must make of them.

    The picture's leading pictures have to be gone.
    """
    return framing.packet(
        bytes([unit[0] & 0x81 | HEVC_BLA << 1]) + unit[1:] if unit and framing.kind(unit) == HEVC_CRA else unit
        for unit in framing.units(data)
    )


def _avc_sets(configuration: bytes) -> tuple[list[bytes], bytes]:
    sets, at = [], 5
    for mask in (31, 255):
        count, at = configuration[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(configuration[at : at + 2], "big")
            sets.append(configuration[at + 2 : at + 2 + size])
            at += 2 + size
    return sets, configuration[at:]


def _by_start_code(data: bytes) -> Iterator[bytes]:
    at = data.find(b"\0\0\1")
    while at >= 0:
        following = data.find(b"\0\0\1", at + 3)
        unit = data[at + 3 : following if following >= 0 else len(data)]
        yield unit.rstrip(b"\0") if following >= 0 else unit
        at = following


def _exp_golomb(data: bytes, count: int) -> list[int]:
    """The first unsigned Exp-Golomb numbers of some bytes; short ones, so emulation prevention cannot occur."""
    return _numbers("".join(f"{byte:08b}" for byte in data[:12]), count, 0)[0]


def _numbers(bits: str, count: int, at: int) -> tuple[list[int], int]:
    """So many Exp-Golomb numbers from a place on, and the place behind them."""
    numbers = []
    for _ in range(count):
        zeros = len(bits) - at - len(bits[at:].lstrip("0"))
        numbers.append(int(bits[at + zeros : at + 2 * zeros + 1] or "1", 2) - 1)
        at += 2 * zeros + 1
    return numbers, at
