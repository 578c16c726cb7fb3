"""How `malan model` prints a model, what a check found, and whose a model is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from malan.cli.show import (
    print_fields,
    print_line,
    print_table,
    speak,
)
from malan.core.catalogue import session_language

if TYPE_CHECKING:
    from malan.services.models.upkeep import Checked


def print_check(found: Checked) -> None:
    """What was looked at in the files of a model, and what it may be used for."""
    print_line(f"{found.title}  {found.digest[:16]}")
    for one in found.findings:
        print_line(f"{'✓' if one.is_well else '✗'} {speak(f'models.check.{one.what}')}: {one.said}")
    _print_uses(found.uses)
    if found.engines:
        print_line(speak("cli.model.engines", engines=", ".join(found.engines)))


def print_model(found: dict[str, Any]) -> None:
    """A model as it is on record: kind, licence, origin, owners, figures and uses."""
    from malan.services.models.cards import figure_name

    lang = session_language()
    print_line(f"{found['name']}  {found['model']}")
    fields = {
        speak("models.card.kind"): [speak(f"models.card.kind.{found['kind']}")],
        speak("cli.column.state"): [speak(f"models.state.{found['state']}")],
        speak("models.card.licence"): [found["licence"]["title"].get(lang, found["licence"]["id"])],
        speak("models.card.family"): [found["family"] or "–"],
        speak("models.card.run"): [found["run"].get("id") or "–"],
        speak("models.card.snapshot"): [found["snapshot"] or "–"],
        speak("models.card.owners"): [f"{o['name']}  {o['share']}" for o in found["shares"]] or ["–"],
    }
    print_fields(fields)
    if found["figures"]:
        rows = [(figure_name(name), value) for name, value in sorted(found["figures"].items())]
        print_table([speak("models.card.evaluation"), speak("models.card.value")], rows)
    _print_uses(found["uses"])


def owners_text(shares: list[dict[str, Any]]) -> str:
    """Owners with their shares, six at most."""
    return ", ".join(f"{one['name']} {float(one['share']):.0%}" for one in shares[:6]) or "–"


def _print_uses(uses: Mapping[str, Any]) -> None:
    lang = session_language()
    for use, answer in uses.items():
        said = " ".join(one[lang] for one in answer["reasons"])
        print_line(f"{'✓' if answer['allowed'] else '✗'} {speak(f'models.use.{use}')} ({use}): {said}")
