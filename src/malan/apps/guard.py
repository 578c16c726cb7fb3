"""The rule packs an operator switches on, for what is asked of an app and what its output says, before anybody pays.

    malan.toml: app_packs = "cn-microdrama"   app_refuse = "block"

Rules of those packs that look for words are put to the fields of a request (prompt, title, script, tags) and to titles
and captions of an output; of a text alone nothing else can be known, so every other rule stays open and is passed over.
What is found refuses, with field, words, rule and clause. Nothing is asked of a picture here. Start at `check_words`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from malan.apps.review.judge import verdict_of
from malan.apps.review.language.values import Moment, Value, moments, number, text, truth
from malan.apps.review.language.vocabulary import FACTS
from malan.apps.review.packs import SEVERITIES, Pack, Rule, load_pack
from malan.core.errors import Rejected, UsageError
from malan.services.uses import today

if TYPE_CHECKING:
    from malan.workspace import Workspace

Where = Literal["input", "output"]
MOST_LETTERS = 50_000


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule says about a field."""

    field: str
    words: str
    rule: str
    title: Mapping[str, str]
    severity: str
    clause: str  # 《…》第六条（五）
    quote: str
    pack: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "field": self.field, "words": self.words, "rule": self.rule, "title": dict(self.title),
            "severity": self.severity, "clause": self.clause, "quote": self.quote, "pack": self.pack,
        }  # fmt: skip


@dataclass(frozen=True)
class TextFacts:
    """The facts of some texts, as the language of rules asks for them; what a text cannot tell is unknown."""

    texts: Mapping[str, str]
    release: str
    kind: str = "microdrama"  # what switched-on packs are about, or they would say nothing
    duration_s: float = 1.0
    missing: tuple[str, ...] = field(default=("not a text",))

    def fact(self, name: str) -> Value:
        """The value of a name of the vocabulary."""
        kind, dim = FACTS[name]
        title = self.texts.get("title") or None
        if name == "meta.title":
            return text(title, self.missing)
        if name == "meta.kind":
            return text(self.kind)
        if name in ("texts", "titles"):
            listed = self.texts if name == "texts" else {"title": title or ""}
            return moments((Moment(0.0, 1.0, said, source=at) for at, said in listed.items() if said), self.missing)
        if kind == "moments":
            return moments((), self.missing)
        if kind == "number":
            return number(None, dim, self.missing)
        return truth(None, self.missing) if kind == "truth" else text(None, self.missing)

    def detected(self, sense: str, name: str) -> Value:
        """Nothing is seen or heard in a text."""
        return moments((), (f"{sense}.{name}",))


def packs_of(ws: Workspace | None) -> tuple[Pack, ...]:
    """The packs this workspace switched on.

    Raises:
        NotFound, UsageError: A pack is not there, or is refused.
    """
    names = ws.settings.app_packs if ws else ""
    root = ws.root if ws else Path()
    return tuple(_pack(root, name.strip()) for name in names.split(",") if name.strip())


def judge_words(packs: Iterable[Pack], texts: Mapping[str, str], day: str) -> list[Hit]:
    """What the rules of some packs find in some texts, the gravest first.

    Raises:
        UsageError: A text is longer than `MOST_LETTERS`.
    """
    said = {name: words for name, words in texts.items() if words.strip()}
    if not said:
        return []
    for name, words in said.items():
        if len(words) > MOST_LETTERS:  # never looked at in part: what is cut off could hide anything
            raise UsageError("guard.too_long", field=name, letters=len(words), most=MOST_LETTERS)
    facts = TextFacts(said, day)
    found = [hit for pack in packs for rule in pack.rules if rule.in_force(day) for hit in _hits(rule, pack, facts)]
    unique = {(hit.field, hit.rule, hit.words): hit for hit in found}
    return sorted(unique.values(), key=lambda hit: (SEVERITIES.index(hit.severity), hit.field, hit.rule))


def check_words(ws: Workspace | None, texts: Mapping[str, str], *, where: Where = "input") -> list[Hit]:
    """Hold texts against the operator's packs; what is found below the severity that refuses.

    Args:
        ws: Whose settings; without a workspace nothing is switched on.
        texts: By the name of the field, or the place in the output.
        where: Whether they were asked for, or made.

    Raises:
        Rejected: A rule refuses; field, words, rule and clause are in the message and in `values`.
        UsageError: A text is longer than is looked at, or `app_refuse` is no severity.
    """
    packs = packs_of(ws)
    if not packs or ws is None:
        return []
    least = ws.settings.app_refuse
    if least not in SEVERITIES:
        raise UsageError("guard.bad_severity", value=least[:20], known=", ".join(SEVERITIES))
    hits = judge_words(packs, texts, today().isoformat())
    grave = [hit for hit in hits if SEVERITIES.index(hit.severity) <= SEVERITIES.index(least)]
    if grave:
        first = grave[0]
        raise Rejected(
            f"guard.refused_{where}", field=first.field, words=first.words, rule=first.rule,
            clause=first.clause, quote=first.quote, pack=first.pack, more=len(grave) - 1,
        )  # fmt: skip
    return hits


def texts_of(request: Any) -> dict[str, str]:
    """The words of a request by field: texts and lists of texts, but not names of files, clips, models or choices."""
    found = {}
    for name, one in type(request).model_fields.items():
        extra = one.json_schema_extra if isinstance(one.json_schema_extra, dict) else {}
        said = getattr(request, name)
        if extra.get("file") or extra.get("shared") or extra.get("reference"):
            continue
        if isinstance(said, str):
            found[name] = said
        elif isinstance(said, tuple) and all(isinstance(part, str) for part in said):
            found[name] = "\n".join(said)
    return found


def _hits(rule: Rule, pack: Pack, facts: TextFacts) -> Iterable[Hit]:
    verdict = verdict_of(rule, pack, facts)
    if verdict.state != "found":
        return
    cites = rule.cites_on(facts.release)
    clause = "; ".join(f"《{one.document.title}》{one.label}" for one in cites)
    for moment in verdict.moments:
        at = moment.source if moment.source in facts.texts else "title"
        words = "、".join(dict.fromkeys(moment.text[a:b] for a, b, _ in moment.hits)) or moment.text[:40]
        yield Hit(
            at, words or facts.texts.get(at, "")[:40], rule.id, rule.title, rule.severity, clause,
            cites[0].quote, rule.pack,
        )  # fmt: skip


def _pack(root: Path, name: str) -> Pack:
    """A pack that comes along, or one of the workspace's own by its path there; read again when the file changed."""
    if not name.endswith((".yaml", ".yml")):
        return _built_in(name)
    path = root / name
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return _own(str(path), stamp)


@cache
def _built_in(name: str) -> Pack:
    return load_pack(name)


@lru_cache(maxsize=16)
def _own(path: str, _stamp: int) -> Pack:
    return load_pack(path)
