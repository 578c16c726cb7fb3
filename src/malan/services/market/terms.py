"""Terms for people: ready ones to start from, a file read and explained before it binds anything.

Start at `new_terms` and `check_terms`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malan.core import Decision, Terms
from malan.core.catalogue import say
from malan.core.errors import UsageError
from malan.rights import load_terms
from malan.rights.decide import USES, Constraint, Use, compile_terms, constraints
from malan.rights.odrl import to_odrl
from malan.rights.ready import READY
from malan.rights.terms import read_terms
from malan.services.access import HOUSE, Caller, require
from malan.services.footage.owners import terms_of
from malan.services.uses import today

if TYPE_CHECKING:
    from malan.workspace import Workspace


@dataclass(frozen=True)
class TermsShown:
    """Terms explained: what they demand, who stands behind each demand, and what they would answer today."""

    terms: Terms
    constraints: tuple[Constraint, ...]
    answers: dict[str, Decision]  # by use


def ready_names() -> dict[str, str]:
    """The terms there are to start from, each with its description in the language of the session."""
    return {name: say(f"terms.ready.{name}") for name in READY}


def new_terms(name: str, owner: str = "") -> str:
    """The TOML of ready-made terms, to be changed and kept by their owner.

    Raises:
        UsageError: There are none of this name.
    """
    if name not in READY:
        raise UsageError("terms.no_such", name=name, names=", ".join(READY))
    body = READY[name].body.replace("{owner}", owner or "…")
    return f'# {say(f"terms.ready.{name}")}\nname = "{name}"\n{body}'


def check_terms(path: Path, owner: str) -> TermsShown:
    """Read a file of terms and explain it; nothing is stored.

    Raises:
        UsageError: It says something impossible.
    """
    return explain(load_terms(path, owner))


def stored_terms(ws: Workspace, terms_id: str, *, caller: Caller = HOUSE) -> TermsShown:
    """Terms on record, by their id or a unique beginning of it.

    Raises:
        NotFound: There are none.
    """
    require(caller, "library.see")
    found = [known for known in ws.library.terms_ids() if known.startswith(terms_id)]
    return explain(terms_of(ws, found[0] if len(found) == 1 else terms_id))


def ready_terms(name: str, owner: str) -> Terms:
    """Ready-made terms as an owner's own."""
    return read_terms(tomllib.loads(new_terms(name, owner)), owner, name, name)


def explain(terms: Terms) -> TermsShown:
    """What terms demand and what they would answer today to each use that names no more than itself."""
    compiled = compile_terms(terms)
    answers = {use: compiled.decide(Use(use, today())) for use in USES}
    return TermsShown(terms, tuple(constraints(terms)), answers)


def describe_terms(shown: TermsShown, *, odrl: bool = False) -> dict[str, Any]:
    """Terms as JSON; with `odrl`, the policy itself."""
    if odrl:
        return to_odrl(shown.terms)
    return {
        "terms": shown.terms.id,
        "name": shown.terms.name,
        "understood": not shown.terms.other,
        "constraints": [{"name": one.name, "value": one.value, "mark": one.mark} for one in shown.constraints],
        "today": {
            use: {"allowed": answer.allowed, "reasons": [reason.text() for reason in answer.reasons]}
            for use, answer in shown.answers.items()
        },
    }
