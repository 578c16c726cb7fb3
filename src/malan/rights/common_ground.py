"""Terms of several owners brought together: what all of them allow, and where one set allows more than another.

`meet` gives the common ground, so that a use is allowed under it exactly when everybody allows it; `looser` says in
which conditions an offer goes beyond what its owners have said. Numbers are never rounded, prices never invented.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from malan.core import Terms
from malan.core.errors import Rejected
from malan.rights.decide import DEFAULT_EGRESS, DEFAULT_LEVEL, DEFAULT_MEMORISATION, DEFAULT_TIERS, LEVELS, MEMORISATION
from malan.rights.terms import default_terms

_LISTS = ("purposes", "territories", "recipients")
_RUN_LISTS = {"tiers": DEFAULT_TIERS, "egress": DEFAULT_EGRESS}


def in_house(terms: Terms) -> bool:
    """Whether these are the terms of footage whose owner said nothing: use at home, nothing for others."""
    silent = replace(default_terms("-"), owner_id=terms.owner_id)
    return replace(terms, uses=silent.uses) == silent and set(terms.uses) <= set(silent.uses)


def meet(several: Sequence[Terms], owner_id: str, name: str) -> Terms:
    """What all of these terms allow, as terms of `owner_id`; the price stays open.

    Raises:
        Rejected: They have nothing in common, or one of them is not understood and so allows nothing.
    """
    common = reduce(_both, several)
    if not common.uses:
        raise Rejected("contract.nothing_common", condition="uses")
    prices = {(one.price_minor, one.currency, one.price_per) for one in several}
    minor, currency, per = prices.pop() if len(prices) == 1 else (0, "CNY", "deal")
    return replace(common, owner_id=owner_id, name=name, price_minor=minor, currency=currency, price_per=per)


def looser(offered: Terms, given: Terms) -> tuple[str, ...]:
    """The conditions in which `offered` allows more than `given`; none when whatever it allows is allowed.

    Prices and share rules are no permissions and are not compared.
    """
    return tuple(dict.fromkeys(_looser(offered, given)))


def _looser(offered: Terms, given: Terms) -> Iterable[str]:
    yield from (f"? {name}" for name in {*offered.other, *given.other})
    if set(offered.uses) - set(given.uses):
        yield "uses"
    for field in _LISTS:
        allowed, asked = set(getattr(given, field)), set(getattr(offered, field))
        if allowed and (not asked or asked - allowed):
            yield field
    if given.starts and (offered.starts or "") < given.starts:
        yield "starts"
    if given.ends and (not offered.ends or offered.ends > given.ends):
        yield "ends"
    for name, most in given.limits.items():
        if offered.limits.get(name, most + 1) > most:
            yield f"limits.{name}"
    yield from _looser_runs(offered, given)
    if set(given.prohibitions) - set(offered.prohibitions):
        yield "prohibitions"
    if given.attribution and given.attribution not in (offered.attribution or ""):
        yield "attribution"


def _looser_runs(offered: Terms, given: Terms) -> Iterable[str]:
    for field, default in _RUN_LISTS.items():
        if set(getattr(offered, field) or default) - set(getattr(given, field) or default):
            yield field
    if _level(offered) < _level(given):
        yield "isolation"
    if _care(offered) < _care(given):
        yield "memorisation"


def _both(one: Terms, two: Terms) -> Terms:
    ends = min(filter(None, (one.ends, two.ends)), default=None)
    starts = max(filter(None, (one.starts, two.starts)), default=None)
    if starts and ends and ends < starts:
        raise Rejected("contract.nothing_common", condition="ends")
    if unknown := sorted({*one.other, *two.other}):
        raise Rejected("contract.nothing_common", condition=unknown[0])
    lists: dict[str, Any] = {field: _shared(field, getattr(one, field), getattr(two, field)) for field in _LISTS}
    runs: dict[str, Any] = {
        field: _shared(field, getattr(one, field) or default, getattr(two, field) or default)
        for field, default in _RUN_LISTS.items()
    }
    limits = {
        name: min(held.limits[name] for held in (one, two) if name in held.limits)
        for name in sorted({*one.limits, *two.limits})
    }
    return replace(
        one,
        uses=tuple(sorted(set(one.uses) & set(two.uses))),
        starts=starts,
        ends=ends,
        limits=limits,
        isolation=LEVELS[max(_level(one), _level(two))],
        memorisation=_more_careful(one, two),
        prohibitions=tuple(sorted({*one.prohibitions, *two.prohibitions})),
        attribution=", ".join(dict.fromkeys(filter(None, (one.attribution, two.attribution)))) or None,
        licence=one.licence if one.licence == two.licence else None,
        share_rule=one.share_rule if one.share_rule == two.share_rule else None,
        **lists,
        **runs,
    )


def _shared(field: str, one: tuple[str, ...], two: tuple[str, ...]) -> tuple[str, ...]:
    """What stands in both lists; an empty list stands for anything."""
    if not one or not two:
        return one or two
    shared = tuple(sorted(set(one) & set(two)))
    if not shared:
        raise Rejected("contract.nothing_common", condition=field)
    return shared


def _level(terms: Terms) -> int:
    level = terms.isolation or DEFAULT_LEVEL
    return LEVELS.index(level) if level in LEVELS else len(LEVELS) - 1


def _care(terms: Terms) -> int:
    said = terms.memorisation or DEFAULT_MEMORISATION
    return MEMORISATION.index(said) if said in MEMORISATION else len(MEMORISATION) - 1


def _more_careful(one: Terms, two: Terms) -> str | None:
    """What the stricter of both asks for; nothing said stays nothing said."""
    if one.memorisation is None and two.memorisation is None:
        return None
    return MEMORISATION[max(_care(one), _care(two))]
