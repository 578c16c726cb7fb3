"""Terms drawn at random, for laws that hold of all of them. Start at `terms`."""

from __future__ import annotations

from datetime import date

from hypothesis import strategies as st

from malan.core import Terms
from malan.rights.decide import EGRESS, LEVELS, MEMORISATION, TIERS, USES
from malan.rights.terms import LIMITS, PRICED, PROHIBITIONS


def some(values: tuple[str, ...], least: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), min_size=least, unique=True).map(lambda found: tuple(sorted(found)))


days = st.dates(date(2000, 1, 1), date(2100, 1, 1))
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9)
sorted_words = st.lists(words, max_size=3, unique=True).map(lambda found: tuple(sorted(found)))


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    uses = draw(some(USES, 1))
    trains = bool({"train", "generative_train"} & set(uses))
    starts = draw(st.none() | days)
    ends = draw(st.none() | days.map(lambda day: max(day, starts or day)))
    return Terms(
        "f" * 64,
        draw(words),
        uses,
        draw(sorted_words),
        draw(sorted_words),
        starts.isoformat() if starts else None,
        ends.isoformat() if ends else None,
        draw(st.dictionaries(st.sampled_from(LIMITS), st.integers(0, 10**12))),
        draw(st.integers(0, 10**9)),
        "CNY",
        attribution=draw(st.none() | words),
        recipients=draw(sorted_words),
        isolation=draw(st.none() | st.sampled_from(LEVELS)) if trains else None,
        memorisation=draw(st.none() | st.sampled_from(MEMORISATION)) if trains else None,
        tiers=draw(some(TIERS)) if trains else (),
        egress=draw(some(EGRESS)) if trains else (),
        prohibitions=draw(some(PROHIBITIONS)),
        price_per=draw(st.sampled_from(PRICED)),
        licence=draw(st.none() | words),
    )
