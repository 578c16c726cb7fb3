"""Whether a file carries the implicit label as GB 45438-2025 asks: one of four verdicts, with reasons.

    compliant      exactly one label, in its place, nothing against it
    noncompliant   there is something, and the reasons say what is wrong with it
    not_found      the whole file was looked through and there is none
    inconclusive   the file is damaged or too large in parts to be looked through

Only reads, and a few kilobytes of most files. Start at `verify`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from malan.core.errors import MediaError
from malan.media.labels.carriers import Carrier, carrier_of
from malan.media.labels.payload import Label, Parsed, Reason, parse
from malan.media.labels.pieces import Damaged, Found, Source, TooMuch
from malan.media.open import open_plain
from malan.media.sniff import shown

COMPLIANT, NONCOMPLIANT, NOT_FOUND, INCONCLUSIVE = "compliant", "noncompliant", "not_found", "inconclusive"
_MOST_FOUND = 64
_GLANCE_READS, _GLANCE_BYTES = 400, 8 << 20
# What a parser trips over in bytes that are not what they should be.
_STUMBLES = (IndexError, KeyError, ValueError, OverflowError, RecursionError, struct.error)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in a file. `label` is what the first label says, as far as it can be read."""

    verdict: str
    label: Mapping[str, Any] | None
    reasons: tuple[Reason, ...]
    where: tuple[str, ...]
    carrier: str

    @property
    def is_compliant(self) -> bool:
        return self.verdict == COMPLIANT


@dataclass(frozen=True, slots=True)
class Seen:
    """All label texts of a file, and what kept us from seeing more."""

    carrier: str
    found: tuple[Found, ...]
    damage: Damaged | None


def verify(path: str | Path) -> Verdict:
    """Judge the label of a file.

    Raises:
        NotFound: There is no such file.
        MediaError: `label.no_carrier` for a kind of file that cannot carry a label; otherwise why it cannot be read.
    """
    return judge(look_through(path))


def glance(path: str | Path) -> Seen | None:
    """The label texts near the beginning of a file, and where its index names them; None for what carries none.

    At most a few hundred small reads: for thousands of files in a row. Never raises for what is in the file.
    """
    fd = open_plain(path)
    try:
        source = Source(fd, most_reads=_GLANCE_READS, most_bytes=_GLANCE_BYTES)
        carrier = safely(lambda: carrier_of(source))
        return None if carrier is None else look(source, carrier)
    except (Damaged, OSError):
        return None
    finally:
        os.close(fd)


def look_through(path: str | Path) -> Seen:
    """Every label text of a file, without a verdict.

    Raises:
        MediaError: `label.no_carrier` for a kind of file that cannot carry a label; otherwise why it cannot be read.
    """
    with opened_source(path) as (source, carrier):
        return look(source, carrier)


@contextmanager
def opened_source(path: str | Path) -> Iterator[tuple[Source, Carrier]]:
    """A file opened for reading labels, and what kind of carrier it is.

    Raises:
        MediaError: It is no carrier, or cannot be read.
    """
    fd = open_plain(path)
    try:
        source = Source(fd)
        carrier = safely(lambda: carrier_of(source))
        if carrier is None:
            raise MediaError("label.no_carrier", path=shown(path))
        yield source, carrier
    except OSError as error:
        raise MediaError("media.unreadable", path=shown(path), detail=error.strerror or str(error)) from error
    finally:
        os.close(fd)


def look(source: Source, carrier: Carrier) -> Seen:
    """Every label text of a file, as far as it can be read."""
    found: list[Found] = []
    texts = carrier.find(source)
    try:
        while len(found) < _MOST_FOUND and (text := safely(lambda: next(texts, None))) is not None:
            found.append(text)
    except Damaged as damage:
        return Seen(carrier.name, tuple(found), damage)
    return Seen(carrier.name, tuple(found), None)


def safely(call: Callable[[], _Result]) -> _Result:
    """Run a parser; whatever it trips over is damage of the file."""
    try:
        return call()
    except _STUMBLES as error:
        raise Damaged(f"{type(error).__name__}") from error


def judge(seen: Seen) -> Verdict:
    """The verdict on what was seen."""
    reasons: list[Reason] = []
    parsed = [parse(found.text) for found in seen.found]
    if len(parsed) > 1:
        reasons.append(Reason("label.several", {"count": len(parsed)}))
    for found, one in zip(seen.found, parsed, strict=True):
        reasons += _of_place(found)
        reasons += one.reasons
    if seen.damage is not None:
        code = "label.too_deep" if isinstance(seen.damage, TooMuch) else "label.file_damaged"
        reasons.append(Reason(code, {"place": shown(seen.damage.place)}))
    reasons = list({(reason.code, str(reason.values)): reason for reason in reasons}.values())
    where = tuple(found.place for found in seen.found)
    return Verdict(_verdict(seen, reasons), _said(parsed), tuple(reasons), where, seen.carrier)


def label_of(verdict: Verdict) -> Label | None:
    """The label of a compliant file."""
    return Label.from_fields(verdict.label) if verdict.is_compliant and verdict.label else None


def _verdict(seen: Seen, reasons: list[Reason]) -> str:
    if any(reason.is_fatal and reason.code not in ("label.too_deep", "label.file_damaged") for reason in reasons):
        return NONCOMPLIANT
    if seen.damage is not None:
        return INCONCLUSIVE
    return COMPLIANT if seen.found else NOT_FOUND


def _of_place(found: Found) -> Iterator[Reason]:
    if found.place.endswith("IEND+"):
        yield Reason("label.outside", {"place": found.place})
    elif not found.is_usual:
        yield Reason("label.odd_place", {"place": shown(found.place)}, is_fatal=False)


def _said(parsed: list[Parsed]) -> Mapping[str, Any] | None:
    return next((dict(one.said) for one in parsed if one.said is not None), None)
