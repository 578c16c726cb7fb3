"""Figures that may leave: names agreed on before, three significant digits, nothing else.

A figure is a channel: its digits, its exponent, its sign, whether it is there at all. Each is bounded, and
`metric_bits` says by how much.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from malan.core.canonical import canonical_json
from malan.core.errors import Rejected, UsageError
from malan.inference.tensors import is_name

MOST_METRICS = 32
MOST_BYTES = 8192
DIGITS = 3
DECADES = 6  # what is smaller than the largest allowed by more than this counts as zero
_LONGEST_NUMBER = 32


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that is allowed: its name and its range.

    Raises:
        UsageError: A name that is no plain word, or a range that is none.
    """

    name: str
    least: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        if not is_name(self.name, 40) or "." in self.name:
            raise UsageError("gate.bad_metric", name=str(self.name)[:40])
        if not (math.isfinite(self.least) and math.isfinite(self.most) and self.least < self.most):
            raise UsageError("gate.bad_metric", name=self.name)


def read_metrics(data: bytes, allowed: Sequence[Metric]) -> dict[str, str]:
    """The figures of a run as they may leave: decimal texts of three digits, in the order they were agreed on.

    Raises:
        Rejected: Not one flat JSON object with exactly the agreed names, each once, each a finite number in its range.
    """
    check_allowed(allowed)
    if len(data) > MOST_BYTES:
        raise Rejected("gate.metrics_size", size=len(data), most=MOST_BYTES)
    found = _object(data)
    if found.keys() != {metric.name for metric in allowed}:
        missing = sorted({metric.name for metric in allowed} - found.keys())
        raise Rejected(
            "gate.metric_names", extra=max(0, len(found) - len(allowed) + len(missing)), missing=len(missing)
        )
    return {metric.name: _shown(metric, found[metric.name]) for metric in allowed}


def write_metrics(metrics: Mapping[str, str]) -> bytes:
    """The file that leaves, canonical JSON. Figures stay texts: no reader rounds them anew."""
    return canonical_json(dict(metrics))


def metric_bits(allowed: Sequence[Metric]) -> float:
    """The most that one set of figures can carry: each is one of so many texts."""
    check_allowed(allowed)
    texts = 9 * 10 ** (DIGITS - 1) * (DECADES + 1)
    return sum(math.log2(texts * (2 if metric.least < 0 < metric.most else 1) + 1) for metric in allowed)


def three_digits(value: float, smallest: float = 0.0) -> str:
    """A number with three significant digits; zero when smaller than `smallest`, and never minus zero."""
    return "0" if value == 0 or abs(value) < smallest else f"{value:.{DIGITS}g}"


def _shown(metric: Metric, value: Any) -> str:
    if type(value) not in (int, float) or not math.isfinite(value) or not metric.least <= value <= metric.most:
        raise Rejected("gate.metric_value", name=metric.name, least=f"{metric.least:g}", most=f"{metric.most:g}")
    largest = max(abs(metric.least), abs(metric.most))
    return three_digits(float(value), largest * 10.0**-DECADES)


def check_allowed(allowed: Sequence[Metric]) -> None:
    """Raises:
    UsageError: Too many figures, or one twice.
    """
    if len(allowed) > MOST_METRICS or len({metric.name for metric in allowed}) != len(allowed):
        raise UsageError("gate.bad_metrics", most=MOST_METRICS)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_key_twice,
            parse_int=lambda text: int(_short(text)),
            parse_float=lambda text: float(_short(text)),
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise Rejected("gate.metrics_json") from error
    if not isinstance(found, dict):
        raise Rejected("gate.metrics_json")
    return found


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) != len(pairs):
        raise ValueError("key twice")
    return held


def _short(text: str) -> str:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("number")
    return text


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text[:20])
