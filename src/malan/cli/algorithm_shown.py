"""How `malan algorithm` prints what it found: a package, a check, a trial run, a difference, tiers and approvals."""

from __future__ import annotations

from typing import Any

from malan.cli.show import (
    print_fields,
    print_line,
    print_table,
    speak,
)
from malan.core.catalogue import session_language


def print_algorithm(found: dict[str, Any]) -> None:
    """A package as it is on record: what it is, who wrote it, its settings, and who has said what of it."""
    lang = session_language()
    by = found["submitted_by"]["name"] if found["submitted_by"] else "malan"
    print_line(f"{found['title'][lang]}  {found['name']}@{found['version']}  {found['algorithm']}")
    print_line(f"  {found['summary'][lang]}")
    print_fields(
        {
            speak("cli.algorithm.column.by"): [by],
            speak("cli.algorithm.licence"): [found["licence"]],
            speak("cli.algorithm.column.tier"): found["tiers"],
            speak("cli.algorithm.files"): [f"{name} ({size})" for name, size in found["files"].items()],
        }
    )
    columns = [speak(f"cli.algorithm.column.{name}") for name in ("parameter", "title", "default", "range")]
    rows = [(name, one["title"], str(one["default"]), _range(one)) for name, one in _parameters(found)]
    if rows:
        print_table(columns, rows)
    print_approval(found["approval"])
    _print_hints(found["hints"])


def print_check(found: dict[str, Any]) -> None:
    """Whether a folder is a sound package, and what is wrong with it."""
    for one in found["problems"]:
        print_line(f"✗ {one['message']}")
        if one["hint"]:
            print_line(f"  → {one['hint']}")
    if found["sound"]:
        values = {name: found[name] for name in ("reference", "files", "size_bytes", "algorithm")}
        print_line("✓ " + speak("cli.algorithm.sound", **values))
    _print_hints(found["hints"])


def print_smoke(found: dict[str, Any]) -> None:
    """How a trial run went; the log of one that failed."""
    mark, code = ("✓", "passed") if found["passed"] else ("✗", "not_passed")
    values = {name: found[name] for name in ("level", "wall_s", "peak_memory_mb", "output_bytes")}
    print_line(f"{mark} " + speak(f"cli.algorithm.smoke.{code}", **values))
    for one in found["reasons"]:
        print_line(f"  {one['message']}")
    print_fields({name: [value] for name, value in found["figures"].items()})
    for name, count in found["attempts"].items():
        print_line("  " + speak("cli.algorithm.attempt", name=name, count=count))
    if not found["passed"] and found["log"]:
        print_line(speak("cli.algorithm.log"))
        for line in found["log"].splitlines():
            print_line(f"  │ {line.expandtabs(4)}")


def print_difference(found: dict[str, Any]) -> None:
    """What changed between two versions of a package, file by file and line by line."""
    if found["after"] is None:
        print_line(speak("cli.algorithm.nothing_before"))
        return
    print_line(f"{found['before'][:12]} → {found['after'][:12]}")
    for name, what in found["files"].items():
        print_line(f"  {speak('cli.algorithm.change.' + what)}  {name}")
    for key, one in found["settings"].items():
        print_line(f"  {key}: {_shown(one['was'])} → {_shown(one['is'])}")
    for line in found["lines"]:
        print_line(line.expandtabs(4))
    for name in found["left_out"]:
        print_line(speak("cli.algorithm.left_out", name=name))
    _print_hints(found["hints"])


def print_tiers(found: dict[str, Any]) -> None:
    """What each tier promises, and what it does not."""
    lang = session_language()
    for one in found["tiers"]:
        print_line(f"{one['tier']}  {one['title'][lang]}")
        for mark, what in (("✓", "holds"), ("✗", "does_not_hold")):
            for sentence in one[what]:
                print_line(f"  {mark} {sentence[lang]}")
        print_line("")
    if found["worst_case"] is not None:
        print_line(found["worst_case"]["statement"][lang])


def print_approval(found: dict[str, Any]) -> None:
    """Who has to agree, and who said what when."""
    if not found["needs_approval"]:
        print_line(speak("cli.algorithm.needs_none"))
        return
    if not found["owners"]:
        print_line(speak("cli.algorithm.nobody_asked"))
    for one in found["owners"]:
        print_line(f"  {one['name']}  {speak('algorithm.state.' + one['state'])}")
    for one in found["history"]:
        print_line(
            f"    {one['at'][:16]}  {one['owner']}  {speak('algorithm.state.' + one['decision'])}  {one['reason']}"
        )


def _print_hints(hints: list[dict[str, Any]]) -> None:
    if not hints:
        return
    print_line(speak("cli.algorithm.hints", count=len(hints)))
    for one in hints:
        print_line(f"  {one['file']}:{one['line']}  {speak('algorithm.hint.' + one['kind'], name=one['name'])}")


def approval_text(found: dict[str, Any]) -> str:
    """The owners' words in one line of a table."""
    if not found["needs_approval"] or not found["owners"]:
        return "–"
    return ", ".join(f"{one['name']} {speak('algorithm.state.' + one['state'])}" for one in found["owners"])


def _parameters(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(found["parameters"]["properties"].items())


def _range(one: dict[str, Any]) -> str:
    if "enum" in one:
        return ", ".join(one["enum"])
    if "minimum" in one or "maximum" in one:
        return f"{one.get('minimum', '')}…{one.get('maximum', '')}"
    return str(one["type"])


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)
