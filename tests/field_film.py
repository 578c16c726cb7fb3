"""Writes H.264 films whose fields are coded apart (PAFF), which no encoder at hand does: a stream of raw macroblocks.

Every frame carries its number like those of `media_factory`. The samples are stored as they are (I_PCM, ITU-T H.264,
7.3.5), so what is drawn comes back to the last bit. Start at `draw_fields`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from media_factory import write_number
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 64
_FRAME_TICKS = 3600  # 25 a second at 90 kHz


class _Bits:
    def __init__(self) -> None:
        self.text = ""

    def put(self, value: int, count: int) -> _Bits:
        self.text += f"{value:0{count}b}" if count else ""
        return self

    def number(self, *values: int) -> _Bits:
        """ue(v)."""
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def whole(self, fill: str = "0") -> bytes:
        text = self.text + fill * (-len(self.text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")

    def unit(self, head: int) -> bytes:
        """The unit with its trailing bits."""
        self.text += "1"
        return _escaped(bytes([head]) + self.whole())


def sequence_set() -> bytes:
    """Main profile, frame numbers of 4 bits, order counts of 8, one reference, fields allowed."""
    bits = _Bits().put(77, 8).put(0, 8).put(30, 8)
    bits.number(0, 0, 0, 4, 1).put(0, 1)
    return bits.number(WIDTH // 16 - 1, HEIGHT // 32 - 1).put(0b00100, 5).unit(0x67)


def picture_set() -> bytes:
    return _Bits().number(0, 0).put(0, 2).number(0, 0, 0).put(0, 3).number(0, 0, 0).put(0b100, 3).unit(0x68)


def field_unit(luma_HW: NDArray[np.uint8], frame: int, *, is_bottom: bool, group: int) -> bytes:
    """One field as one slice of raw macroblocks; the first field of every `group` frames is an IDR picture."""
    is_idr = frame % group == 0 and not is_bottom
    bits = _Bits().number(0, 7, 0).put(frame % group % 16, 4).put(1, 1).put(int(is_bottom), 1)
    if is_idr:
        bits.number(frame // group % 2)
    bits.put((2 * (frame % group) + is_bottom) % 256, 8).put(0, 2 if is_idr else 1).number(0, 1)
    data = bytearray()
    for row in range(0, luma_HW.shape[0], 16):
        for column in range(0, WIDTH, 16):
            block = luma_HW[row : row + 16, column : column + 16]
            data += bits.number(25).whole() + block.tobytes() + bytes([128]) * 128
            bits = _Bits()
    return _escaped(bytes([0x65 if is_idr else 0x61]) + bytes(data) + b"\x80")


def frame_picture(number: int) -> NDArray[np.uint8]:
    """Grey stripes that move, numbered, in studio range."""
    picture = np.full((HEIGHT, WIDTH, 3), 60 + number % 50, np.uint8)
    picture[:, number % WIDTH] = 200
    write_number(picture, number)
    return (16 + picture[..., 0] * (219 / 255)).astype(np.uint8)


def fields(count: int, group: int) -> Iterator[tuple[int, bytes]]:
    """Frame number and access unit (Annex B) of each field."""
    for number in range(count):
        luma = frame_picture(number)
        for is_bottom in (False, True):
            sets = b"" if is_bottom or number % group else _framed(sequence_set()) + _framed(picture_set())
            field = field_unit(luma[int(is_bottom) :: 2], number, is_bottom=is_bottom, group=group)
            yield number, sets + _framed(field)


def draw_fields(path: Path, count: int = 30, *, group: int = 10) -> Path:
    """Write a film of `count` frames, each two packets, a key frame every `group`."""
    raw = path.with_suffix(".h264")
    units = list(fields(count, group))
    raw.write_bytes(b"".join(data for _, data in units))
    with av.open(str(raw)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, 90_000)
        for place, (number, data) in enumerate(units):
            packet = av.Packet(data)
            packet.pts = packet.dts = place * _FRAME_TICKS // 2
            packet.time_base, packet.stream = Fraction(1, 90_000), stream
            packet.is_keyframe = number % group == 0 and place % 2 == 0
            target.mux(packet)
    raw.unlink()
    return path


def _framed(unit: bytes) -> bytes:
    return b"\0\0\0\1" + unit


def _escaped(unit: bytes) -> bytes:
    """With emulation prevention (7.4.1)."""
    out, zeros = bytearray(), 0
    for byte in unit:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
