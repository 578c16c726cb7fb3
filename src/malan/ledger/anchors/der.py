"""DER, strictly (X.690 §8, §10): the little of ASN.1 that time-stamps need, read with limits and written.

Refused: indefinite and longer than needed lengths, tags of several bytes, integers with leading zeros, anything after
the end. Start at `Reader`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from malan.core.errors import ProofError

BOOLEAN, INTEGER, BITS, OCTETS, NULL, OID, UTC_TIME, TIME = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31
LARGEST_BYTES = 64 * 1024
MOST_ITEMS = 256


@dataclass(frozen=True)
class Value:
    """One value: its tag, its content, and all its bytes as they stood."""

    tag: int
    body: bytes
    whole: bytes


class Reader:
    """Takes values one after the other from the content of a constructed one."""

    def __init__(self, data: bytes) -> None:
        if len(data) > LARGEST_BYTES:
            raise ProofError("anchor.der", at=LARGEST_BYTES)
        self._data = data
        self._at = 0

    @property
    def tag(self) -> int | None:
        """The tag of the next value; None at the end."""
        return self._data[self._at] if self._at < len(self._data) else None

    def take(self, tag: int | None = None) -> Value:
        """The next value, of this tag when given."""
        found, length, start = _header(self._data, self._at)
        end = start + length
        if end > len(self._data) or (tag is not None and found != tag):
            raise ProofError("anchor.der", at=self._at)
        value = Value(found, self._data[start:end], self._data[self._at : end])
        self._at = end
        return value

    def maybe(self, tag: int) -> Value | None:
        """The next value when it has this tag."""
        return self.take() if self.tag == tag else None

    def into(self, tag: int) -> Reader:
        """A reader of the content of the next value."""
        return Reader(self.take(tag).body)

    def integer(self) -> int:
        return integer_of(self.take(INTEGER))

    def oid(self) -> str:
        return oid_of(self.take(OID))

    def end(self) -> None:
        """Refuse anything left over."""
        if self._at != len(self._data):
            raise ProofError("anchor.der", at=self._at)

    def rest(self) -> list[Value]:
        """All values up to the end."""
        values: list[Value] = []
        while self._at < len(self._data):
            if len(values) >= MOST_ITEMS:
                raise ProofError("anchor.der", at=self._at)
            values.append(self.take())
        return values


def only(data: bytes, tag: int) -> Reader:
    """A reader of the content of the one value these bytes are."""
    reader = Reader(data)
    inside = reader.into(tag)
    reader.end()
    return inside


def integer_of(value: Value) -> int:
    body = value.body
    if not body or len(body) > 64 or (len(body) > 1 and (body[0], body[1] >> 7) in ((0x00, 0), (0xFF, 1))):
        raise ProofError("anchor.der", at=0)
    return int.from_bytes(body, "big", signed=True)


def boolean_of(value: Value) -> bool:
    if value.body not in (b"\x00", b"\xff"):
        raise ProofError("anchor.der", at=0)
    return value.body == b"\xff"


def oid_of(value: Value) -> str:
    """Dotted decimal (X.690 §8.19)."""
    body = value.body
    if not body or len(body) > 64 or body[-1] & 0x80:
        raise ProofError("anchor.der", at=0)
    arcs, arc, is_start = [], 0, True
    for byte in body:
        if is_start and byte == 0x80:
            raise ProofError("anchor.der", at=0)
        arc = arc << 7 | byte & 0x7F
        is_start = not byte & 0x80
        if is_start:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def time_of(value: Value) -> datetime:
    """GeneralizedTime as RFC 3161 §2.4.2 restricts it: UTC, and a fraction only where it says something."""
    text = value.body.decode("ascii", "replace")
    whole, dot, fraction = text.removesuffix("Z").partition(".")
    is_spelled = text.endswith("Z") and len(whole) == 14 and whole.isdecimal() and whole.isascii()
    if not is_spelled or (dot and (not fraction.isdecimal() or not fraction.isascii() or fraction.endswith("0"))):
        raise ProofError("anchor.der", at=0)
    year, month, day, hour, minute, second = (int(whole[at : at + 2 + 2 * (at == 0)]) for at in (0, 4, 6, 8, 10, 12))
    try:
        return datetime(year, month, day, hour, minute, second, int(f"{fraction:0<6}"[:6]), UTC)
    except ValueError as error:
        raise ProofError("anchor.der", at=0) from error


def encode(tag: int, *content: bytes) -> bytes:
    """A value of this tag over the contents put together."""
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def encode_integer(number: int) -> bytes:
    return encode(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def encode_oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    return encode(OID, *map(_base128, (40 * first + second, *rest)))


def _base128(arc: int) -> bytes:
    digits = [arc & 0x7F]
    while arc := arc >> 7:
        digits.append(arc & 0x7F | 0x80)
    return bytes(reversed(digits))


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, length and where the content starts."""
    if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
        raise ProofError("anchor.der", at=at)
    tag, length = data[at], data[at + 1]
    if length < 0x80:
        return tag, length, at + 2
    start = at + 2 + (length & 0x7F)
    digits = data[at + 2 : start]
    if length in (0x80, 0xFF) or start > len(data) or len(digits) > 4 or digits[0] == 0:
        raise ProofError("anchor.der", at=at)
    length = int.from_bytes(digits, "big")
    if length < 0x80:
        raise ProofError("anchor.der", at=at)
    return tag, length, start
