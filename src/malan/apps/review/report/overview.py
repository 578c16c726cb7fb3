"""What a reader of a report needs first: what was not examined, what waits for a person, and which rules fail where.

Start at `not_examined`, `waiting`, `by_rule`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from malan.core.catalogue import LANGUAGES, catalogue, entry

AREAS = ("speech", "vision", "hearing", "library", "meta", "other", "rule")  # in the order they are told
ORDER = {"block": 0, "major": 1, "minor": 2, "info": 3}
MOST_WAITING = 400  # rows; a report with more has its findings below
_FIELDS = {"class": "drama_class"}


def not_examined(findings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What nobody looked at or nobody told, with the rules that wait for it: unknown is never clean.

    Found points count too: words on screen may have shown one, and nobody have heard the speech.
    """
    rules: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    for one in findings:
        for missing in one["missing"]:
            area, _, rest = missing.partition(".")
            area = area if area in AREAS else "other"
            rules.setdefault(area, set()).add(one["rule"])
            names.setdefault(area, set()).add(missing if area == "other" else rest)
    return [
        {"what": area, "names": sorted(names[area] - {""}), "rules": sorted(rules[area]),
         **{lang: _sentence(area, sorted(names[area] - {""}), len(rules[area]), lang) for lang in LANGUAGES}}
        for area in AREAS if area in rules
    ]  # fmt: skip


def _sentence(area: str, names: Sequence[str], count: int, lang: str) -> str:
    listed = {"zh": "、", "en": ", "}[lang].join(named(area, name, lang) for name in names)
    return entry(f"review.unseen.{area}").text(lang, {"names": listed, "n": count})


def named(area: str, rest: str, lang: str) -> str:
    """A field of the submission, or what a detector looks for, in words."""
    codes = {"meta": f"app.review.{_FIELDS.get(rest, rest)}", "vision": f"review.sight.{rest}"}
    code = codes.get("vision" if area == "hearing" else area, f"review.missing.{rest}")
    said = re.split(r"，|：|（| \(", entry(code).text(lang).rstrip("。."))[0] if code in catalogue() else rest
    return said[:1].lower() + said[1:] if said[1:2].islower() else said


def is_settled(one: Mapping[str, Any]) -> bool:
    """Whether a person decided that a point is none, or may stay."""
    return bool(one["decided"] and one["decided"]["decision"] in ("reject", "waive"))


def points_of(value: Mapping[str, Any]) -> int:
    """The number the verdict of a report speaks of; a file that cannot be read is a point, an open rule one too."""
    counts, findings = value["counts"], value["findings"]
    if value["verdict"] == "block":
        return int(counts["block"]) + len(value["refused"])
    if value["verdict"] == "person":
        open_rules = {one["rule"] for one in findings if one["state"] == "open" and not is_settled(one)}
        return int(counts["person"]) + len(open_rules)
    return int(counts["major"] + counts["minor"] + counts["info"])


def waiting(findings: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Points a person has still to decide, the gravest first, then as they come."""
    listed = [one for one in findings if one["state"] == "found" and one["decision"] == "person" and not one["decided"]]
    return sorted(listed, key=lambda one: ORDER[one["severity"]])[:MOST_WAITING]


def by_rule(findings: Iterable[Mapping[str, Any]], files: Sequence[str]) -> list[dict[str, Any]]:
    """Rules that found something that is not settled: how often, and in which episodes, the gravest first."""
    place = {file: number for number, file in enumerate(files)}
    made: dict[str, dict[str, Any]] = {}
    for one in findings:
        if one["state"] != "found" or is_settled(one):
            continue
        row = made.setdefault(one["rule"], {**one, "times": 0, "places": set()})
        row["times"] += 1
        row["places"].add(place[one["episode"]])
    rows = [{**row, "where": stretches(sorted(row["places"]), files)} for row in made.values()]
    return sorted(rows, key=lambda row: (ORDER[row["severity"]], -row["times"], row["rule"]))


def stretches(places: Sequence[int], files: Sequence[str]) -> list[tuple[int, str]]:
    """Places as stretches, each with the place it begins at: 第1集 – 第6集, 第9集."""
    stems = [re.sub(r"\.[0-9A-Za-z]{2,4}$", "", file) for file in files]
    files = stems if len(set(stems)) == len(files) else files
    made: list[list[int]] = []
    for place in places:
        if made and place == made[-1][-1] + 1:
            made[-1].append(place)
        else:
            made.append([place])
    return [(one[0], files[one[0]] if len(one) == 1 else f"{files[one[0]]} – {files[one[-1]]}") for one in made]
