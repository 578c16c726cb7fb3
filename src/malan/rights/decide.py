"""One evaluator for every use of footage. A decision carries its reasons, also when the answer is yes."""

from __future__ import annotations

from datetime import date

from malan.core import Decision, Reason, Terms

USES = ("retrieve", "derive", "export", "publish", "train", "generative_train")
"""What can be done with footage: find and look, make something from it, take a copy out, show it to the public,
teach a model to recognise, teach a model to generate."""


def decide(terms: Terms, use: str, *, on: date, purpose: str | None = None, territory: str | None = None) -> Decision:
    """Whether `terms` allow a use on a day.

    Every ground for refusal is listed, not only the first. Terms that hold anything this version does not understand
    deny everything: a condition that cannot be checked cannot be assumed to be met.

    Args:
        terms: What the owner said.
        use: One of `USES`; anything else is denied.
        on: The day of the use.
        purpose: What for; needed where the terms name purposes.
        territory: Where, as an ISO 3166 code; needed where the terms name territories.
    """
    refusals = [
        *_not_understood(terms),
        *_use(terms, use),
        *_period(terms, on),
        *_listed("rights.purpose", purpose, terms.purposes),
        *_listed("rights.territory", territory, terms.territories),
    ]
    if refusals:
        return Decision(False, tuple(refusals))
    return Decision(True, (Reason("rights.allowed", (("terms", terms.name), ("use", use))),))


def _not_understood(terms: Terms) -> list[Reason]:
    return [Reason("rights.not_understood", (("operand", name),)) for name in sorted(terms.other)]


def _use(terms: Terms, use: str) -> list[Reason]:
    if use in terms.uses and use in USES:
        return []
    return [Reason("rights.use", (("use", use), ("terms", terms.name)))]


def _period(terms: Terms, on: date) -> list[Reason]:
    reasons = []
    if terms.starts is not None and on < date.fromisoformat(terms.starts):
        reasons.append(Reason("rights.not_started", (("starts", terms.starts),)))
    if terms.ends is not None and on > date.fromisoformat(terms.ends):
        reasons.append(Reason("rights.expired", (("ends", terms.ends),)))
    return reasons


def _listed(code: str, asked: str | None, allowed: tuple[str, ...]) -> list[Reason]:
    """A list of the terms binds when it names anything; then the asker must say what it is and be on it."""
    if not allowed or asked in allowed:
        return []
    return [Reason(code, (("asked", asked or "–"), ("allowed", ", ".join(allowed))))]
