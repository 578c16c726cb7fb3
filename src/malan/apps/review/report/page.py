"""The report as one HTML file that stands alone: pictures inside, both languages, no network. Start at `page`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from malan.apps.review.report.overview import ORDER, by_rule, named, points_of, stretches, waiting
from malan.core.catalogue import LANGUAGES, catalogue, entry

_SHORT_LIST = 6  # findings a reader takes in at a glance: no list of them is put before


def page(
    value: Mapping[str, Any], pictures: Mapping[str, bytes], data: bytes, signature: bytes | None, language: str
) -> str:
    """The report as a page.

    Args:
        pictures: By name, as the findings of `value` name them.
        data: The bytes of `review.json`, whose digest the page shows.
        language: The one it opens in; a switch shows the other.
    """
    files = [one["file"] for one in value["episodes"]]
    found: dict[str, list[Mapping[str, Any]]] = {file: [] for file in files}
    for one in value["findings"]:
        if one["state"] == "found":
            found[one["episode"]].append(one)
    is_long = len(files) > 1 or len(found[files[0]]) > _SHORT_LIST
    quoted: set[str] = set()
    return str(
        _template().render(
            report=value,
            episodes=[_episode(one, found[one["file"]], quoted) for one in value["episodes"]],
            open_points=_open_points(value["findings"], files),
            points=points_of(value),
            waiting=waiting(value["findings"]) if is_long else [],
            by_rule=by_rule(value["findings"], files) if len(files) > 1 else [],
            places={file: number + 1 for number, file in enumerate(files)},
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
    environment.globals.update(say=_say, clock=clock, marked=_marked, lacking=lacking, fact_of=fact)
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
    return {lang: entry(code).text(lang, {"name": named(area, rest or name, lang)}) for lang in LANGUAGES}


def fact(name: str, told: Any) -> dict[str, str] | None:
    """A fact as a person reads it; None for what says nothing by itself."""
    _, _, rest = name.partition(".")
    code = f"review.fact.{rest or name}"
    if isinstance(told, bool) or code not in catalogue():
        return None
    shown = f"{told:.0%}" if rest == "" and name == "area" else f"{told:,g}" if isinstance(told, (int, float)) else told
    return {lang: entry(code).text(lang, {"value": shown}) for lang in LANGUAGES}


def _episode(one: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], quoted: set[str]) -> dict[str, Any]:
    """An episode with its findings; a clause is quoted with the first finding of its rule, then only named.

    Args:
        quoted: Rules whose clauses stand in the page already; those of this episode are added.
    """
    own: list[dict[str, Any]] = []
    for f in sorted(findings, key=lambda f: (ORDER[f["severity"]], f["start_s"], f["rule"])):
        is_plain = not (f["words"] or f["picture"] or f["decided"])
        own.append({**f, "is_known": f["rule"] in quoted, "is_line": f["rule"] in quoted and is_plain})
        quoted.add(f["rule"])
    moments = [f for f in own if f["end_s"] - f["start_s"] < one["duration_s"] - 0.01]
    return {**one, "findings": own, "moments": moments, "counts": _counts(own)}


def _counts(findings: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many points of each severity are not settled, and how many wait for a person."""
    active = [f for f in findings if not f["decided"] or f["decided"]["decision"] == "confirm"]
    counts = {name: sum(f["severity"] == name for f in active) for name in ORDER}
    return {**counts, "person": sum(f["decision"] == "person" and not f["decided"] for f in active)}


def _open_points(findings: Sequence[Mapping[str, Any]], files: Sequence[str]) -> list[dict[str, Any]]:
    """Open points, one a rule, with the episodes they are about where it is not all of them."""
    place = {file: number for number, file in enumerate(files)}
    made: dict[str, dict[str, Any]] = {}
    for one in findings:
        if one["state"] != "open" or (one["decided"] or {}).get("decision") in ("reject", "waive"):
            continue
        point = made.setdefault(one["rule"], {**one, "places": [], "missing": []})
        point["places"].append(place[one["episode"]])
        point["missing"] = sorted({*point["missing"], *one["missing"]})
    for point in made.values():
        is_some = 1 < len(point["places"]) < len(files)
        point["where"] = stretches(sorted(point["places"]), files) if is_some else []
    return sorted(made.values(), key=lambda one: (ORDER[one["severity"]], one["rule"]))


def _signer(signature: bytes | None) -> str | None:
    if signature is None:
        return None
    import json

    return str(json.loads(signature)["signatures"][0]["keyid"])
