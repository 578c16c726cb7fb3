"""Rights: what one decision costs, what filtering a million clips by rights costs, and whether anything leaks."""

from __future__ import annotations

import os
import random
import statistics
import time
import timeit
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from bench_search import FOLDER, queries
from common import Report, arguments
from synthetic_library import TERMS, build

from malan.core import Terms
from malan.rights.decide import USES, CompiledTerms, Use, compile_terms
from malan.store import ClipQuery, Library

TODAY = date(2026, 11, 22)
MUST_US, MUST_RATIO, PAIRS = 20.0, 2.0, 100_000
PURPOSES, PLACES, PARTIES = ("research", "advertising", "evaluation"), ("CN", "FR", "US"), ("a" * 64, "b" * 64)


def some_terms(dice: random.Random) -> Terms:
    """Terms as owners write them, and some that nobody should understand."""

    def few(values: tuple[str, ...], least: int = 0) -> tuple[str, ...]:
        return tuple(sorted(dice.sample(values, dice.randint(least, len(values)))))

    return Terms(
        dice.choice(PARTIES),
        "drawn",
        few(USES),
        purposes=few(PURPOSES) if dice.random() < 0.4 else (),
        territories=few(PLACES) if dice.random() < 0.3 else (),
        recipients=few(PARTIES) if dice.random() < 0.3 else (),
        starts=_day(dice) if dice.random() < 0.3 else None,
        ends=_day(dice) if dice.random() < 0.5 else None,
        other={"moon": "full"} if dice.random() < 0.05 else {},
    )


def some_use(dice: random.Random) -> Use:
    return Use(
        dice.choice((*USES, "fly")),
        TODAY,
        party_id=dice.choice((None, *PARTIES)),
        purpose=dice.choice((None, *PURPOSES)),
        territory=dice.choice((None, *PLACES)),
    )


def may(terms: Terms, use: Use) -> bool:
    """The rule written down a second time, without a shared line: what a lawyer would check."""
    day = use.on.isoformat()
    return (
        not terms.other
        and use.action in terms.uses
        and (terms.starts is None or terms.starts <= day)
        and (terms.ends is None or day <= terms.ends)
        and (not terms.recipients or use.party_id in terms.recipients)
        and (not terms.purposes or use.purpose in terms.purposes)
        and (not terms.territories or use.territory in terms.territories)
    )


def decision_us(repeats: int) -> tuple[float, float]:
    """Microseconds of a yes and of a no with three reasons."""
    full = Terms(
        "o", "t", ("retrieve", "train"), ("research",), ("CN",), "2026-01-01", "2030-01-01", recipients=(PARTIES[0],)
    )
    compiled = compile_terms(full)
    yes = Use("train", TODAY, PARTIES[0], "research", "CN", "recipe", "sandbox", ("metrics",))
    no = Use("publish", TODAY, PARTIES[1], "advertising", "US")
    assert compiled.decide(yes).allowed
    assert not compiled.decide(no).allowed
    return _us(compiled, yes, repeats), _us(compiled, no, repeats)


def filter_cost(library: Library, count: int) -> tuple[float, float, float]:
    """Milliseconds of a query without and with rights, in turns; the median of their ratios."""
    dice, plain_ms, ruled_ms, ratios = random.Random(5), [], [], []
    for query in queries(count)["text and filters"]:
        compiled = {terms_id: compile_terms(some_terms(dice)) for terms_id in TERMS}
        plain = _ms(library, replace(query, terms_ids=None))
        began = time.perf_counter()
        allowed = tuple(terms_id for terms_id, terms in compiled.items() if terms.decide(some_use(dice)).allowed)
        ruled = (time.perf_counter() - began) * 1000 + _ms(library, replace(query, terms_ids=allowed))
        plain_ms.append(plain)
        ruled_ms.append(ruled)
        ratios.append(ruled / plain)
    return statistics.median(plain_ms), statistics.median(ruled_ms), statistics.median(ratios)


def leaks(library: Library, pairs: int) -> tuple[int, int, int]:
    """Clips returned against their rights; how many pairs of query and terms were tried, how many clips came back."""
    dice, tried, returned, leaked = random.Random(11), 0, 0, 0
    asked = queries(max(1, pairs // len(TERMS) + 1), seed=7)["text and filters"]
    for query in asked:
        terms, use = {terms_id: some_terms(dice) for terms_id in TERMS}, some_use(dice)
        allowed = tuple(one for one, said in terms.items() if compile_terms(said).decide(use).allowed)
        for hit in library.search(replace(query, terms_ids=allowed, limit=200)).hits:
            returned += 1
            leaked += not may(terms[hit.row.terms_id], use)
        tried += len(TERMS)
    return leaked, tried, returned


def _day(dice: random.Random) -> str:
    return (TODAY + timedelta(days=dice.randint(-300, 300))).isoformat()


def _us(compiled: CompiledTerms, use: Use, repeats: int) -> float:
    return min(timeit.repeat(lambda: compiled.decide(use), number=repeats, repeat=5)) / repeats * 1e6


def _ms(library: Library, query: ClipQuery) -> float:
    began = time.perf_counter()
    library.search(query)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    options = arguments(__doc__ or "")
    clips, count, pairs = (20_000, 8, 2_000) if options.quick else (1_000_000, 120, PAIRS)
    report = Report(f"Rights over {clips:,} clips")
    yes_us, no_us = decision_us(200 if options.quick else 20_000)
    report.add(
        "one decision, compiled",
        f"yes {yes_us:.1f} µs, no with all its reasons {no_us:.1f} µs",
        must=f"≤ {MUST_US:.0f} µs",
        met=max(yes_us, no_us) <= MUST_US,
    )
    library, _ = build(Path(FOLDER) / f"library-{clips}-2", clips)
    library.search(ClipQuery("航拍"))
    plain, ruled, ratio = filter_cost(library, count)
    report.add(
        f"search with {len(TERMS)} terms decided anew",
        f"p50 {ruled:.0f} ms, {ratio:.2f} × (median of ratios)",
        limit=f"the same queries unfiltered: p50 {plain:.0f} ms",
        must=f"≤ {MUST_RATIO:.0f} ×",
        met=ratio <= MUST_RATIO,
    )
    small, _ = build(Path(FOLDER) / "library-20000-2", 20_000)
    leaked, tried, returned = leaks(small, pairs)
    report.add(
        f"clips returned against their rights, {tried:,} queries × terms",
        f"{leaked} of {returned:,}",
        limit="a second evaluator, written apart",
        must="0",
        met=leaked == 0 and returned > 0,
    )
    if (load := os.getloadavg()[0]) > 3:
        report.notes.append(f"Other programs ran beside it: load {load:.1f}.")
    report.show()
    if options.json:
        report.save(options.json)


if __name__ == "__main__":
    main()
