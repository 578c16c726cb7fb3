"""The report as one HTML file that stands alone: pictures inside, both languages, no network. Start at `page`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from malan.core.catalogue import LANGUAGES, catalogue, entry

_ORDER = {"block": 0, "major": 1, "minor": 2, "info": 3}


def page(
    value: Mapping[str, Any], pictures: Mapping[str, bytes], data: bytes, signature: bytes | None, language: str
) -> str:
    """The report as a page.

    Args:
        pictures: By name, as the findings of `value` name them.
        data: The bytes of `review.json`, whose digest the page shows.
        language: The one it opens in; a switch shows the other.
    """
    found: dict[str, list[Mapping[str, Any]]] = {one["file"]: [] for one in value["episodes"]}
    for one in value["findings"]:
        if one["state"] == "found":
            found[one["episode"]].append(one)
    return str(
        _template().render(
            report=value,
            episodes=[_episode(one, found[one["file"]]) for one in value["episodes"]],
            open_points=_open_points(value["findings"]),
            pictures={
                name: "data:image/jpeg;base64," + base64.b64encode(one).decode() for name, one in pictures.items()
            },
            digest=hashlib.sha256(data).hexdigest(),
            signature=_signer(signature),
            language=language,
        )
    )


def clock(seconds: float) -> str:
    """A time as reviewers write it: 01:23.40."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    source = resources.files("malan.apps.review").joinpath("report", "report.html").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(say=_say, clock=clock, marked=_marked, lacking=lacking, fact_of=_fact)
    return environment.from_string(source)


def _say(code: str, **values: Any) -> Any:
    """A message in both languages; the page shows one of them."""
    from markupsafe import Markup, escape

    texts = {lang: entry(f"review.page.{code}").text(lang, values) for lang in LANGUAGES}
    return Markup('<span class="zh">{}</span><span class="en">{}</span>').format(
        escape(texts["zh"]), escape(texts["en"])
    )


def _marked(words: str, hits: Sequence[Sequence[Any]]) -> Any:
    """Words with what was found in them marked."""
    from markupsafe import Markup, escape

    made, at = Markup(), 0
    for start, end, _ in sorted(hits, key=lambda hit: (hit[0], hit[1])):
        if start >= at:
            made += escape(words[at:start]) + Markup("<mark>{}</mark>").format(words[start:end])
            at = end
    return made + escape(words[at:])


def lacking(name: str) -> dict[str, str]:
    """What is missing, in both languages."""
    area, _, rest = name.partition(".")
    known = (f"review.missing.{name}", f"review.missing.{area}", "review.missing.other")
    code = next(one for one in known if one in catalogue())
    return {lang: entry(code).text(lang, {"name": _named(area, rest or name, lang)}) for lang in LANGUAGES}


def _fact(name: str, told: Any) -> dict[str, str] | None:
    """A fact as a person reads it; None for what says nothing by itself."""
    _, _, rest = name.partition(".")
    code = f"review.fact.{rest or name}"
    if isinstance(told, bool) or code not in catalogue():
        return None
    shown = f"{told:.0%}" if rest == "" and name == "area" else f"{told:,g}" if isinstance(told, (int, float)) else told
    return {lang: entry(code).text(lang, {"value": shown}) for lang in LANGUAGES}


def _named(area: str, rest: str, lang: str) -> str:
    """A field of the submission, or what a detector looks for, in words."""
    codes = {"meta": f"app.review.{_FIELDS.get(rest, rest)}", "vision": f"review.sight.{rest}"}
    code = codes.get("vision" if area == "hearing" else area, "")
    return entry(code).text(lang).rstrip("。.") if code in catalogue() else rest


_FIELDS = {"class": "drama_class"}


def _episode(one: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = sorted(findings, key=lambda f: (_ORDER[f["severity"]], f["start_s"], f["rule"]))
    moments = [f for f in own if f["end_s"] - f["start_s"] < one["duration_s"] - 0.01]
    return {**one, "findings": own, "moments": moments, "counts": _counts(own)}


def _counts(findings: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many points of each severity are not settled, and how many wait for a person."""
    active = [f for f in findings if not f["decided"] or f["decided"]["decision"] == "confirm"]
    counts = {name: sum(f["severity"] == name for f in active) for name in _ORDER}
    return {**counts, "person": sum(f["decision"] == "person" and not f["decided"] for f in active)}


def _open_points(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Open points, one a rule, with the episodes they are about."""
    made: dict[str, dict[str, Any]] = {}
    for one in findings:
        if one["state"] != "open" or (one["decided"] or {}).get("decision") in ("reject", "waive"):
            continue
        point = made.setdefault(one["rule"], {**one, "episodes": [], "missing": []})
        point["episodes"].append(one["episode"])
        point["missing"] = sorted({*point["missing"], *one["missing"]})
    return sorted(made.values(), key=lambda one: (_ORDER[one["severity"]], one["rule"]))


def _signer(signature: bytes | None) -> str | None:
    if signature is None:
        return None
    import json

    return str(json.loads(signature)["signatures"][0]["keyid"])
