"""Numbers, times and the words of findings as people read them, in either language.

A kind of finding without its own wording still shows: its name and what it holds. Start reading at `summary_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from malan.core import Finding
from malan.core.catalogue import catalogue
from malan.rights.shares import shown_money

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def word(code: str, lang: str, /, **values: Any) -> str:
    """A message, or the last part of its code where nobody wrote one: new classes and kinds show under their name."""
    said = catalogue().get(code)
    return said.text(lang, values) if said else code.rsplit(".", 1)[-1].replace("_", " ")


def clock(seconds: float, digits: int = 2) -> str:
    """`0:12.48`, `1:02:03.50`."""
    unit = 10**digits
    whole, part = divmod(round(max(0.0, seconds) * unit), unit)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    tail = f".{part:0{digits}d}" if digits else ""
    return f"{hours}:{minutes:02d}:{rest:02d}{tail}" if hours else f"{minutes}:{rest:02d}{tail}"


def lasting(seconds: float, lang: str) -> str:
    """`2.4 s`, `3:20`: a length."""
    if seconds >= 60:
        return clock(seconds, 0)
    return word("web.seconds", lang, n=f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}")


def size(count_bytes: int) -> str:
    """`3.2 GB`: decimal units, as file managers and disks count."""
    value, units = float(count_bytes), ("B", "kB", "MB", "GB", "TB")
    for unit in units:
        if value < 1000 or unit == units[-1]:
            return f"{value:.0f} {unit}" if unit in ("B", "kB") else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def money(amount_minor: int, currency: str, lang: str) -> str:
    """`28.05 CNY`; in Chinese `28.05 元`: an amount, exact."""
    said = shown_money(amount_minor, currency)
    return f"{said.removesuffix(' CNY')} 元" if lang == "zh" and currency == "CNY" else said


def cost(amount: Mapping[str, Any], lang: str) -> str:
    """An amount finer than the smallest unit, as the gateway counts it: `0.000125 CNY`, in Chinese with 元."""
    said = str(amount["text"])
    return f"{said.removesuffix(' CNY')} 元" if lang == "zh" and amount["currency"] == "CNY" else said


def moment(at: str, lang: str) -> str:
    """`22 Nov 2026, 09:05`, `2026年11月22日 09:05`: a time of a record, in UTC; a day where it has no hour."""
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        return at
    chinese, english = (
        f"{found.year}年{found.month}月{found.day}日",
        f"{found.day} {_MONTHS[found.month - 1]} {found.year}",
    )
    day = chinese if lang == "zh" else english
    if "T" not in at and " " not in at:
        return day
    return f"{day} {found:%H:%M}" if lang == "zh" else f"{day}, {found:%H:%M}"


def kind_name(kind: str, lang: str) -> str:
    return word(f"web.kind.{kind}", lang) if f"web.kind.{kind}" in catalogue() else kind


def summary_of(finding: Finding, lang: str) -> str:
    """One line of what a finding says."""
    if finding.kind in _STRETCHES:
        return lasting(float(finding.clip.span.duration), lang)
    say = _WORDINGS.get(finding.kind)
    return (say(finding.value, lang) if say else "") or _plainly(finding.value, lang)


def _text(value: Mapping[str, Any], _lang: str) -> str:
    return str(value.get("text") or "")


def _named(prefix: str, *keys: str) -> Callable[[Mapping[str, Any], str], str]:
    def say(value: Mapping[str, Any], lang: str) -> str:
        found = next((str(value[key]) for key in keys if isinstance(value.get(key), str)), "")
        return word(f"web.{prefix}.{found}", lang) if found else ""

    return say


def _colours(value: Mapping[str, Any], lang: str) -> str:
    listed = value.get("colours") or value.get("colors") or ()
    named = [(item.get("name") or item.get("hex"), item.get("share")) for item in listed if isinstance(item, Mapping)]
    return " · ".join(
        word(f"web.colour.{name}", lang) + (f" {share:.0%}" if isinstance(share, float) else "")
        for name, share in named
    )


def _loudness(value: Mapping[str, Any], lang: str) -> str:
    parts = [("web.measure.lufs", "integrated_lufs"), ("web.measure.peak", "true_peak_dbtp")]
    parts += [("web.measure.range", "range_lu")]
    said = [
        word(code, lang, n=f"{value[name]:.1f}") for code, name in parts if isinstance(value.get(name), int | float)
    ]
    return " · ".join(said)


def _faces(value: Mapping[str, Any], lang: str) -> str:
    """`people · in 60 % of the pictures · up to 3 at once`."""
    said = word(f"web.faces.{value.get('class')}", lang)
    share, most = value.get("share"), value.get("most")
    if not share or not isinstance(share, int | float):
        return said
    return f"{said} · {word('web.faces.share', lang, share=f'{share:.0%}')} · {word('web.faces.most', lang, n=most)}"


_STRETCHES = frozenset({"speech.segment", "audio.silence"})  # that they are there, and how long, is what they say
_WORDINGS: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "text.caption": _text,
    "text.persistent": _text,
    "speech.transcript": _text,
    "shot.transition": _named("js.transition", "type"),
    "motion.class": _named("motion", "class", "name"),
    "audio.loudness": _loudness,
    "scene.light": _named("light", "class"),
    "provenance.label": _named("label", "label"),
    "provenance.credential": _named("credential", "class"),
    "colour.dominant": _colours,
    "privacy.face": _faces,
}


def _plainly(value: Mapping[str, Any], lang: str) -> str:
    """Short things of a value; arrays and long texts stay with the JSON."""
    parts = []
    for name, inner in value.items():
        label = word(f"web.measure.{name}", lang)
        if isinstance(inner, bool):
            parts.append(f"{label}: {word('web.yes' if inner else 'web.no', lang)}")
        elif isinstance(inner, float):
            parts.append(f"{label}: {inner:.3g}")
        elif isinstance(inner, int | str) and len(str(inner)) <= 60:
            parts.append(f"{label}: {inner}")
    return " · ".join(parts[:6])
