"""One evaluator for every use of footage. It fails closed and gives its reasons, also when the answer is yes.

    Terms ─ compile_terms ─▶ CompiledTerms ─ decide(Use) ─▶ Decision

Compiling does what does not depend on the use, so that a library of a million clips is filtered by a handful of
look-ups. Terms that hold anything this version does not understand deny everything: a condition that cannot be checked
cannot be assumed to be met. Which constraints are enforced and which are not, `constraints` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from malan.core import Decision, Reason, Terms, tiers

USES = ("retrieve", "derive", "export", "publish", "train", "generative_train")
"""What can be done with footage: find and look, make something from it, take a copy out, show it to the public,
teach a model to recognise, teach a model to generate."""

LEVELS = ("none", "process", "sandbox", "confidential")
"""How well a run is shut in, the weakest first. What each reaches, `docs/design/sandbox.md` says."""

TIERS = tiers.TIERS
"""Who wrote what trains: our recipe, our recipe with differential privacy, the buyer's reviewed code."""

EGRESS = ("metrics", "adapter", "weights", "samples")
"""What may leave a run."""

UNCHECKED, CHECKED, STRICT = MEMORISATION = ("unchecked", "checked", "strict")
"""Whether a model is tried for what it learned by heart: not at all; and then its owner looks; and then it is refused.

Each asks for more than the one before. `strict` also has the owner look where nothing could be measured."""

DEFAULT_TIERS, DEFAULT_EGRESS, DEFAULT_LEVEL = ("recipe", "recipe-dp"), ("metrics", "adapter"), "sandbox"
DEFAULT_MEMORISATION = CHECKED
"""What holds for training where the terms do not say."""

_FOREVER = date.max.toordinal()


@dataclass(frozen=True, slots=True)
class Use:
    """What somebody wants to do, on which day, and what they say about it.

    The last three tell of a run; a use that is no run (looking for what could be trained on) leaves them out.
    """

    action: str
    on: date
    party_id: str | None = None
    purpose: str | None = None
    territory: str | None = None  # ISO 3166 code
    tier: str | None = None
    isolation: str | None = None
    egress: tuple[str, ...] | None = None

    @property
    def is_run(self) -> bool:
        return self.tier is not None or self.isolation is not None or self.egress is not None


class CompiledTerms:
    """Terms made ready to be asked often. Safe to share between threads."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._unknown = tuple(_unknown(terms))
        self._uses = frozenset(terms.uses) & frozenset(USES)
        self._starts = date.fromisoformat(terms.starts).toordinal() if terms.starts else 0
        self._ends = date.fromisoformat(terms.ends).toordinal() if terms.ends else _FOREVER
        self._listed = tuple(
            (code, field, frozenset(allowed), ", ".join(allowed))
            for code, field, allowed in (
                ("rights.recipient", "party_id", terms.recipients),
                ("rights.purpose", "purpose", terms.purposes),
                ("rights.territory", "territory", terms.territories),
            )
            if allowed
        )
        self._tiers = frozenset(terms.tiers or DEFAULT_TIERS)
        self._egress = frozenset(terms.egress or DEFAULT_EGRESS)
        self._level = LEVELS.index(terms.isolation or DEFAULT_LEVEL) if not self._unknown else len(LEVELS)
        self._yes = {use: Decision(True, tuple(_met(terms, use))) for use in self._uses}

    def decide(self, use: Use) -> Decision:
        """Whether these terms allow a use. Every ground for refusal is listed, not only the first."""
        day = use.on.toordinal()
        if (
            not self._unknown
            and use.action in self._uses
            and self._starts <= day <= self._ends
            and not self._listed
            and not use.is_run
        ):
            return self._yes[use.action]
        refusals = tuple(self._refusals(use, day))
        return Decision(False, refusals) if refusals else self._yes[use.action]

    def _refusals(self, use: Use, day: int) -> Iterable[Reason]:
        yield from self._unknown
        if use.action not in self._uses:
            yield Reason("rights.use", (("use", use.action), ("terms", self.terms.name)))
        if day < self._starts:
            yield Reason("rights.not_started", (("starts", str(self.terms.starts)),))
        if day > self._ends:
            yield Reason("rights.expired", (("ends", str(self.terms.ends)),))
        for code, field, allowed, shown in self._listed:
            asked = getattr(use, field)
            if asked not in allowed:
                yield Reason(code, (("asked", asked or "–"), ("allowed", shown)))
        if use.is_run:
            yield from self._run_refusals(use)

    def _run_refusals(self, use: Use) -> Iterable[Reason]:
        """What a run leaves unsaid counts as the worst: no tier, no walls, anything may leave."""
        if use.tier not in self._tiers:
            yield Reason("rights.tier", (("asked", use.tier or "–"), ("allowed", ", ".join(sorted(self._tiers)))))
        reached = LEVELS.index(use.isolation) if use.isolation in LEVELS else 0
        if reached < self._level:
            least = LEVELS[self._level] if self._level < len(LEVELS) else "–"
            yield Reason("rights.isolation", (("asked", use.isolation or "–"), ("least", least)))
        too_much = sorted(set(EGRESS if use.egress is None else use.egress) - self._egress)
        if too_much:
            allowed = ", ".join(sorted(self._egress))
            yield Reason("rights.egress", (("asked", ", ".join(too_much)), ("allowed", allowed)))


def compile_terms(terms: Terms) -> CompiledTerms:
    """Make terms ready to be asked."""
    return CompiledTerms(terms)


def decide(terms: Terms, use: str, *, on: date, purpose: str | None = None, territory: str | None = None) -> Decision:
    """Whether `terms` allow a use on a day; asked once. To ask often, compile the terms.

    Args:
        terms: What the owner said.
        use: One of `USES`; anything else is denied.
        on: The day of the use.
        purpose: What for; needed where the terms name purposes.
        territory: Where, as an ISO 3166 code; needed where the terms name territories.
    """
    return CompiledTerms(terms).decide(Use(use, on, purpose=purpose, territory=territory))


@dataclass(frozen=True, slots=True)
class Constraint:
    """One thing terms demand, and what stands behind it.

    `enforced`: it cannot happen otherwise here. `monitored`: it is written down and seen. `legal`: a promise only.
    """

    name: str
    value: str
    mark: str


def constraints(terms: Terms) -> list[Constraint]:
    """Everything these terms demand, in the order people read terms; both parties see the marks."""
    said = _Said(terms)
    return [Constraint(name, value, mark) for name, value, mark in said.listed if value]


class _Said:
    """The terms as name, value, mark."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    @cached_property
    def listed(self) -> list[tuple[str, str, str]]:
        terms = self._terms
        trains = bool({"train", "generative_train"} & set(terms.uses))
        price = f"{terms.price_minor} {terms.currency} / {terms.price_per}" if terms.price_minor else ""
        return [
            ("uses", ", ".join(terms.uses), "enforced"),
            ("recipients", ", ".join(terms.recipients), "enforced"),
            ("starts", terms.starts or "", "enforced"),
            ("ends", terms.ends or "", "enforced"),
            *((f"limits.{name}", str(most), "enforced") for name, most in sorted(terms.limits.items())),
            ("isolation", (terms.isolation or DEFAULT_LEVEL) if trains else "", "enforced"),
            ("tiers", ", ".join(terms.tiers or DEFAULT_TIERS) if trains else "", "enforced"),
            ("egress", ", ".join(terms.egress or DEFAULT_EGRESS) if trains else "", "enforced"),
            ("memorisation", (terms.memorisation or DEFAULT_MEMORISATION) if trains else "", "enforced"),
            ("price", price, "enforced"),
            ("purposes", ", ".join(terms.purposes), "monitored"),
            ("attribution", terms.attribution or "", "monitored"),
            ("territories", ", ".join(terms.territories), "legal"),
            ("prohibitions", ", ".join(terms.prohibitions), "legal"),
            *((f"? {name}", str(value), "enforced") for name, value in sorted(terms.other.items())),
        ]


def _unknown(terms: Terms) -> Iterable[Reason]:
    """Whatever is said that this version has no meaning for."""
    unknown = [
        *terms.other,
        *(f"isolation {terms.isolation}" for _ in range(1) if terms.isolation not in (None, *LEVELS)),
        *(f"memorisation {one}" for one in (terms.memorisation,) if one not in (None, *MEMORISATION)),
        *(f"tiers {tier}" for tier in terms.tiers if tier not in TIERS),
        *(f"egress {kind}" for kind in terms.egress if kind not in EGRESS),
    ]
    return [Reason("rights.not_understood", (("operand", name),)) for name in sorted(unknown)]


def _met(terms: Terms, use: str) -> Iterable[Reason]:
    """Why a use is allowed: each condition that is met."""
    yield Reason("rights.allowed", (("terms", terms.name), ("use", use)))
    if terms.starts or terms.ends:
        yield Reason("rights.in_period", (("starts", terms.starts or "…"), ("ends", terms.ends or "…")))
    for code, allowed in (
        ("rights.recipient_met", terms.recipients),
        ("rights.purpose_met", terms.purposes),
        ("rights.territory_met", terms.territories),
    ):
        if allowed:
            yield Reason(code, (("allowed", ", ".join(allowed)),))
