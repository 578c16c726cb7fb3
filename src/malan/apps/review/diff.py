"""Two cuts of the same episodes: which points are put right, which are new, which are still there.

Points are known again by their mark, so a shot that moved is no new finding. Start at `compare_reports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST = 500


def compare_reports(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the findings of an earlier report."""
    before, after = (_found(one) for one in (earlier, later))
    return {
        "as_of": earlier["as_of"],
        "pack_changed": earlier["pack"]["digest"] != later["pack"]["digest"],
        "media_changed": sorted(_changed(earlier, later)),
        "gone": [_short(before[mark]) for mark in before if mark not in after][:_MOST],
        "new": [_short(after[mark]) for mark in after if mark not in before][:_MOST],
        "kept": [
            {**_short(after[mark]), "moved_s": round(after[mark]["start_s"] - before[mark]["start_s"], 3)}
            for mark in after
            if mark in before
        ][:_MOST],
    }


def _found(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {one["mark"]: one for one in report["findings"] if one["state"] == "found"}


def _changed(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> list[str]:
    before = {_key(one): one["digest"] for one in earlier["episodes"]}
    return [one["file"] for one in later["episodes"] if before.get(_key(one), one["digest"]) != one["digest"]]


def _key(one: Mapping[str, Any]) -> str:
    return str(one.get("key") or one["file"])


def _short(one: Mapping[str, Any]) -> dict[str, Any]:
    names = ("mark", "rule", "title", "severity", "episode", "start_s", "end_s", "words")
    return {name: one[name] for name in names}
