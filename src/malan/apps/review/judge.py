"""Rules over facts: what each rule of a pack says about an episode, as of a day. Start at `judge`.

A rule whose condition is unknown is not passed over: it stays open, with what is missing, and a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from malan.apps.review.language import Facts, Moment, Scene, Verdict, evaluate
from malan.apps.review.language.values import NONE
from malan.apps.review.packs import Pack, Rule

MOST_MOMENTS = 200  # of one rule in one episode
_NEAR_S = 0.05

Detail = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A rule and how it ended."""

    rule: Rule
    verdict: Verdict


def judge(pack: Pack, facts: Facts, day: str) -> list[Judged]:
    """Every rule of a pack that is in force on a day, in the order of the pack."""
    return [Judged(rule, verdict_of(rule, pack, facts)) for rule in pack.rules if rule.in_force(day)]


def verdict_of(rule: Rule, pack: Pack, facts: Facts) -> Verdict:
    """How one rule ends over the facts of an episode."""
    scene = Scene(facts, rule.params, pack.words)
    if rule.applies is not None:
        applies = evaluate(rule.applies, scene)
        if applies.data is not True:
            return Verdict("not_applicable") if applies.data is False else Verdict("unknown", missing=applies.missing)
    when = evaluate(rule.when, scene) if rule.when is not None else None
    if when is not None and when.data is not True:
        return Verdict("clear") if when.data is False else Verdict("unknown", missing=when.missing)
    if rule.find is None:
        shown = evaluate(rule.show, scene).data if rule.show is not None else ()
        return Verdict("found", (_whole(facts, tuple(shown)),), facts=_told(rule, scene))
    found = evaluate(rule.find, scene)
    if found.data:
        return Verdict("found", tuple(_distinct(found.data))[:MOST_MOMENTS], found.missing)
    return Verdict("unknown", missing=found.missing) if found.missing else Verdict("clear")


def is_about_submission(rule: Rule) -> bool:
    """Whether a rule asks only what was told of the work: then it is said once, not of every episode."""
    names = {name for node in (rule.applies, rule.when) for name in _names(node)}
    return (
        rule.find is None
        and all(name.startswith("meta.") and name != "meta.digest" for name in names)
        and bool(names - {"meta.kind"})
    )


def _whole(facts: Facts, shown: Sequence[Moment]) -> Moment:
    """The moment of a rule about the episode: where what it is about is seen, else the episode itself."""
    if shown:
        words = "\n".join(dict.fromkeys(line for m in shown[:3] for line in m.text.split("\n") if line))
        first = shown[0]
        return replace(first, text=words, hits=first.hits if words == first.text else ())
    return Moment(0.0, facts.duration_s, source="episode")


def _told(rule: Rule, scene: Scene) -> tuple[tuple[str, object], ...]:
    """The plain facts the condition of a rule names, for the report."""
    names = sorted(_names(rule.when)) if rule.when is not None else []
    values = ((name, scene.facts.fact(name)) for name in names)
    return tuple((name, value.data) for name, value in values if value.kind != "moments" and value.data is not None)


def _names(node: object) -> Iterator[str]:
    from malan.apps.review.language import Node
    from malan.apps.review.language.vocabulary import FACTS

    if isinstance(node, Node):
        if node.op == "name" and str(node.data) in FACTS:
            yield str(node.data)
        for part in node.parts:
            yield from _names(part)


def _merged(found: Sequence[Moment]) -> Iterable[Moment]:
    """The same words at the same time once, with all that was found in them."""
    made: dict[object, Moment] = {}
    for one in found:
        key = (one.source, one.start_s, one.end_s, one.text, one.box)
        other = made.get(key)
        hits = one.hits if other is None else tuple(dict.fromkeys((*other.hits, *one.hits)))
        made[key] = replace(one, hits=hits, detail=one.detail if other is None else _joined(other.detail, one.detail))
    return made.values()


def _joined(some: Detail, more: Detail) -> Detail:
    """What was measured of both; texts of one name behind each other."""
    told = dict(some)
    for name, value in more:
        is_more = isinstance(value, str) and name in told and value not in str(told[name])
        told[name] = f"{told[name]}、{value}" if is_more else value
    return tuple(told.items())


def _distinct(found: Sequence[Moment]) -> Iterator[Moment]:
    """Moments without those that say no more than another one at the same time."""
    kept: list[Moment] = []
    for one in _merged(found):
        words = tuple(word for _, _, word in one.hits)
        is_known = any(
            one.source == other.source and abs(one.start_s - other.start_s) <= _NEAR_S
            and (words and set(words) <= {word for _, _, word in other.hits})
            for other in kept
        )  # fmt: skip
        if not is_known:
            kept.append(one)
            yield one


__all__ = ["NONE", "Judged", "is_about_submission", "judge", "verdict_of"]
