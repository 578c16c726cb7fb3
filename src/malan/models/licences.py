"""What a licence of weights lets somebody do, as far as a machine can check: one table, one decision, with reasons.

    licence ─ decide_licence(WeightUse) ─▶ Decision

It fails closed: a licence that is not in the table allows nothing, a place that was not said is none it applies in, a
threshold that nobody confirmed is not met. Start reading at `decide_licence`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from malan.core import Decision, Reason
from malan.core.errors import UsageError

APPLY, SERVE, EXPORT, TRAIN, MERGE, TEACH = ACTIONS = ("apply", "serve", "export", "train", "merge", "teach")
"""Run it on what is here; answer others with it; hand it out; train it further; merge it; train others by its
outputs."""

YES, NO, BELOW, SAME = "yes", "no", "below", "same"
EU = frozenset(
    "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE".split()  # noqa: SIM905
)

_SPELLING = re.compile(r"[0-9A-Za-z][0-9A-Za-z .+_-]{0,79}")
_PLACE = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class Limit:
    """What must hold for commercial use: at most this many of a unit."""

    unit: str
    most: int

    @property
    def name(self) -> str:
        """How a person confirms it: `usd_a_year<=1000000`."""
        return f"{self.unit}<={self.most}"


@dataclass(frozen=True, slots=True)
class Licence:
    """One licence of weights; what the fields mean is at the top of `licences.toml`."""

    id: str
    title: str
    url: str
    commercial: str = YES
    limit: Limit | None = None
    excludes: tuple[str, ...] = ()
    derivatives: bool = True
    redistribution: bool = True
    teaches: str = YES
    share_alike: bool = False
    begins: str = ""
    notice: str = ""
    family: str = ""
    title_zh: str = ""

    def shown(self, lang: str) -> str:
        """Its title in a language; most have one only."""
        return self.title_zh if lang == "zh" and self.title_zh else self.title

    def excludes_place(self, territory: str) -> bool:
        return territory in self.excludes or ("EU" in self.excludes and territory in EU)


@dataclass(frozen=True, slots=True)
class WeightUse:
    """What somebody wants to do with weights, where, and what for.

    Args:
        action: One of `ACTIONS`.
        is_commercial: Whether money is made with it; taken for granted unless said otherwise.
        territory: ISO 3166 code of where it happens; None when nobody said.
        confirmed: Limits that a person confirmed (`Limit.name`).
        name: What the result will be called, where it is handed out.
        family: Of the model that is to learn, for `teach`.

    Raises:
        UsageError: No such action, or no code of a country.
    """

    action: str
    is_commercial: bool = True
    territory: str | None = None
    confirmed: frozenset[str] = frozenset()
    name: str = ""
    family: str = ""

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise UsageError("licence.bad_action", action=self.action[:40], known=", ".join(ACTIONS))
        if self.territory is not None and not _PLACE.fullmatch(self.territory):
            raise UsageError("licence.bad_territory", territory=self.territory[:20])


def decide_licence(licence_id: str, use: WeightUse) -> Decision:
    """Whether a licence allows a use. Every ground for refusal is listed, not only the first."""
    licence = find_licence(licence_id)
    if licence is None:
        return Decision(False, (Reason("licence.unknown", (("licence", licence_id[:80]),)),))
    refusals = tuple(
        reason
        for reason in (_commercial(licence, use), _territory(licence, use), _derivatives(licence, use),
                       _handing_out(licence, use), _naming(licence, use), _teaching(licence, use))
        if reason is not None
    )  # fmt: skip
    return Decision(not refusals, refusals or (_reason("fine", licence, action=use.action),))


def is_as_strict(licence_id: str, other_id: str) -> bool:
    """Whether what stands under one licence may never do what another forbids: so that a result promises no more than
    what it was made from. Licences that are not known are as strict as themselves only."""
    ours, theirs = find_licence(licence_id), find_licence(other_id)
    if ours is None or theirs is None:
        return licence_id.lower() == other_id.lower()
    if ours == theirs:
        return True
    limits = ours.limit is None or theirs.limit is None or ours.limit == theirs.limit
    return (
        (YES, BELOW, NO).index(ours.commercial) >= (YES, BELOW, NO).index(theirs.commercial)
        and limits
        and set(theirs.excludes) <= set(ours.excludes)
        and (theirs.derivatives or not ours.derivatives)
        and (theirs.redistribution or not ours.redistribution)
        and (YES, SAME, NO).index(ours.teaches) >= (YES, SAME, NO).index(theirs.teaches)
        and not theirs.share_alike
        and (not theirs.begins or ours.begins.startswith(theirs.begins))
    )


def find_licence(licence_id: str) -> Licence | None:
    """A licence by its id or an alias, in any case; None for one that is not in the table."""
    return _by_name().get(licence_id.strip().lower())


def check_licence(licence_id: str) -> None:
    """Raises:
    UsageError: Nothing that could be the name of a licence.
    """
    if not _SPELLING.fullmatch(licence_id):
        raise UsageError("licence.bad_name", licence=licence_id[:80])


@cache
def licences() -> Mapping[str, Licence]:
    """The table, by id."""
    text = resources.files("malan.models").joinpath("licences.toml").read_text("utf-8")
    return {name: _read(name, dict(table)) for name, table in tomllib.loads(text).items()}


@cache
def _by_name() -> Mapping[str, Licence]:
    text = resources.files("malan.models").joinpath("licences.toml").read_text("utf-8")
    found = {licence.id.lower(): licence for licence in licences().values()}
    for name, table in tomllib.loads(text).items():
        found |= {alias.lower(): licences()[name] for alias in table.get("aliases", ())}
    return found


def _read(name: str, table: dict[str, object]) -> Licence:
    table.pop("aliases", None)
    limit = table.pop("limit", None)
    excludes = table.pop("excludes", ())
    return Licence(
        name,
        limit=Limit(**limit) if isinstance(limit, dict) else None,
        excludes=tuple(excludes) if isinstance(excludes, list) else (),
        **table,  # type: ignore[arg-type]
    )


def _commercial(licence: Licence, use: WeightUse) -> Reason | None:
    if not use.is_commercial or licence.commercial == YES:
        return None
    if licence.commercial == NO or licence.limit is None:
        return _reason("no_commercial", licence)
    if licence.limit.name in use.confirmed:
        return None
    return _reason("limit", licence, limit=licence.limit.name)


def _territory(licence: Licence, use: WeightUse) -> Reason | None:
    if not licence.excludes:
        return None
    if use.territory is None:
        return _reason("territory_unsaid", licence, excluded=", ".join(licence.excludes))
    if licence.excludes_place(use.territory):
        return _reason("territory", licence, territory=use.territory)
    return None


def _derivatives(licence: Licence, use: WeightUse) -> Reason | None:
    if use.action in (TRAIN, MERGE) and not licence.derivatives:
        return _reason("no_derivatives", licence)
    return None


def _handing_out(licence: Licence, use: WeightUse) -> Reason | None:
    if use.action == EXPORT and not licence.redistribution:
        return _reason("no_redistribution", licence)
    return None


def _naming(licence: Licence, use: WeightUse) -> Reason | None:
    if use.action == EXPORT and licence.begins and not use.name.lower().startswith(licence.begins.lower()):
        return _reason("name", licence, begins=licence.begins, name=use.name)
    return None


def _teaching(licence: Licence, use: WeightUse) -> Reason | None:
    if use.action != TEACH or licence.teaches == YES:
        return None
    if licence.teaches == SAME and use.family and use.family == licence.family:
        return None
    return _reason("no_teaching", licence)


def _reason(code: str, licence: Licence, **values: str) -> Reason:
    named = licence.id if licence.title_zh else licence.title  # the same in every language a reason is read in
    return Reason(f"licence.{code}", (("licence", named), *sorted(values.items())))
