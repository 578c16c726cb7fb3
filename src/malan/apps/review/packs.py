"""Rule packs: dated data with their sources, read strictly. What is loaded here can be evaluated without surprises.

A pack is a YAML file: rules, number formats, and the digests of the texts and word lists it stands on. It may extend
other packs: their rules come first, one of the same id replaces the earlier one, `params` of the later pack override.
A rule that does not parse, has no type, or quotes what its clause does not say word for word is refused with its line.
Start at `load_pack`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from malan.apps.review.language import Node, Scope, SyntaxFault, Words, parse, type_of
from malan.apps.review.language.check import calls_of, is_day
from malan.apps.review.strict_yaml import At, Fields, read_yaml
from malan.apps.review.texts import Document, read_document
from malan.apps.review.words import Lexicon, Pattern, check_template, read_lexicon
from malan.core.errors import NotFound, UsageError
from malan.core.ids import digest_record

SEVERITIES = ("block", "major", "minor", "info")
DECISIONS = ("machine", "person")
MOST_RULES = 500
LEAST_QUOTED = 4  # characters: one that stands in every clause proves nothing
_ID = re.compile(r"[A-Z]{2,4}-[0-9A-Z-]{1,12}")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")


@dataclass(frozen=True, slots=True)
class Cite:
    """A clause, quoted; the quotation was found in the stored text, at `label`."""

    document: Document
    clause: str
    quote: str
    label: str


@dataclass(frozen=True)
class Rule:
    """One rule, ready to be evaluated: every expression has been parsed and typed."""

    id: str
    pack: str
    line: int
    title: Mapping[str, str]
    severity: str
    decision: str
    cites: tuple[Cite, ...]
    source: Mapping[str, str]  # the expressions as written
    when: Node | None = None
    find: Node | None = None
    show: Node | None = None
    applies: Node | None = None
    starts: str | None = None
    ends: str | None = None
    fix: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Node] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    def in_force(self, day: str) -> bool:
        """Whether it holds on a day, both ends included, and stands on a text that does."""
        return (self.starts or "") <= day <= (self.ends or "9999-12-31") and bool(self.cites_on(day))

    def cites_on(self, day: str) -> tuple[Cite, ...]:
        """The clauses that are in force on a day: a report never rests on a text of later."""
        return tuple(one for one in self.cites if one.document.about["effective"] <= day)

    @cached_property
    def version(self) -> str:
        """Digest of what decides: expressions, parameters, dates, quotations."""
        cites = [[one.document.digest, one.clause, one.quote] for one in self.cites]
        said = [self.id, dict(self.source), dict(self.settings), self.severity, self.starts, self.ends, cites]
        return digest_record("review.rule", said)[:16]


@dataclass(frozen=True)
class Pack:
    """Rules with everything they need."""

    name: str
    version: str
    title: Mapping[str, str]
    rules: tuple[Rule, ...]
    words: Mapping[tuple[str, str], Words]
    documents: Mapping[str, Document]
    extends: tuple[str, ...] = ()

    def rule(self, rule_id: str) -> Rule:
        """A rule by its id.

        Raises:
            NotFound: There is none in this pack.
        """
        found = next((one for one in self.rules if one.id == rule_id), None)
        if found is None:
            raise NotFound("review.no_rule", rule=rule_id[:40], pack=self.name)
        return found

    @cached_property
    def digest(self) -> str:
        """What the pack decides by: rules, word lists, formats."""
        lists = sorted((*key, getattr(one, "digest", "")) for key, one in self.words.items())
        return digest_record("review.pack", [self.name, [rule.version for rule in self.rules], lists])


class Shelf(Protocol):
    """Where the files of a pack lie."""

    def pack(self, name: str) -> bytes: ...
    def text(self, name: str) -> bytes: ...
    def lexicon(self, name: str) -> bytes: ...


class Folder:
    """The files that come with Malan, and those of a folder beside a pack of one's own, which come first."""

    def __init__(self, own: Path | None = None) -> None:
        self._own = own

    def pack(self, name: str) -> bytes:
        return self._read("rules", f"{name}.yaml", "review.no_pack")

    def text(self, name: str) -> bytes:
        return self._read("texts", f"{name}.md", "review.no_text")

    def lexicon(self, name: str) -> bytes:
        return self._read("lexicons", f"{name}.txt", "review.no_lexicon")

    def _read(self, kind: str, name: str, code: str) -> bytes:
        if not _NAME.fullmatch(name.rpartition(".")[0]):
            raise NotFound(code, name=name[:60], known=", ".join(pack_names()))
        for place in (self._own / name, self._own / kind / name) if self._own else ():
            if place.is_file():
                return place.read_bytes()
        found = resources.files("malan.apps.review").joinpath(kind, name)
        if not found.is_file():
            raise NotFound(code, name=name.rpartition(".")[0], known=", ".join(pack_names()))
        return found.read_bytes()


def pack_names() -> list[str]:
    """The packs that come with Malan."""
    found = resources.files("malan.apps.review").joinpath("rules").iterdir()
    return sorted(one.name.removesuffix(".yaml") for one in found if one.name.endswith(".yaml"))


def load_pack(name_or_path: str, home: Path | None = None) -> Pack:
    """A pack by its name, or by the path of a YAML file.

    Args:
        home: A folder with packs of the house, which come before those of Malan.

    Raises:
        NotFound: There is no such pack, text or list.
        UsageError: The pack is refused; file, line and reason are named.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
        if not path.is_file():
            raise NotFound("review.no_pack", name=name_or_path[:200], known=", ".join(pack_names()))
        return read_pack(path.read_bytes(), path.name, Folder(path.parent))
    shelf = Folder(home)
    return read_pack(shelf.pack(name_or_path), f"{name_or_path}.yaml", shelf)


def read_pack(data: bytes, file: str, shelf: Shelf, seen: tuple[str, ...] = ()) -> Pack:
    """A pack from its bytes, with the packs it extends."""
    top = read_yaml(data, file)
    name = top.text("pack")
    if name in seen:
        raise top.refuse("review.pack.circle", top.line, names=" → ".join((*seen, name)))
    known = ("pack", "version", "title", "extends", "texts", "lexicons", "patterns", "params", "rules")
    top.only(*known)
    parents = [
        read_pack(_fetched(top, shelf.pack, "pack", one, top.line_in("extends", place)), f"{one}.yaml", shelf,
                  (*seen, name))
        for place, one in enumerate(top.texts("extends", optional=True))
    ]  # fmt: skip
    documents = {key: one for parent in parents for key, one in parent.documents.items()}
    words = {key: one for parent in parents for key, one in parent.words.items()}
    documents.update(_documents(top, shelf))
    words.update(_lexicons(top, shelf))
    words.update(_patterns(top))
    rules = {rule.id: rule for parent in parents for rule in parent.rules}
    rules.update(_overridden(top, rules))
    rules.update({rule.id: rule for rule in _rules(top, name, documents, words)})
    return Pack(
        name, top.text("version"), top.both("title"), tuple(rules.values()), words, documents,
        tuple(parent.name for parent in parents),
    )  # fmt: skip


def _fetched(top: Fields, fetch: Callable[[str], bytes], what: str, name: str, line: int) -> bytes:
    """A file a pack names; that there is none is told with the line that names it."""
    try:
        return fetch(name)
    except NotFound:
        known = ", ".join(pack_names())
        raise top.refuse("review.pack.absent", line, what=what, name=name[:60], known=known) from None


def _documents(top: Fields, shelf: Shelf) -> dict[str, Document]:
    found = {}
    for name, wanted in top.items("texts"):
        document = read_document(_fetched(top, shelf.text, "text", name, wanted.line), f"{name}.md")
        if document.digest != str(wanted.value) or document.id != name:
            raise top.refuse("review.pack.digest", wanted.line, name=name, found=document.digest)
        found[name] = document
    return found


def _lexicons(top: Fields, shelf: Shelf) -> dict[tuple[str, str], Words]:
    found: dict[tuple[str, str], Words] = {}
    for name, wanted in top.items("lexicons"):
        lexicon: Lexicon = read_lexicon(name, _fetched(top, shelf.lexicon, "lexicon", name, wanted.line))
        if lexicon.digest != str(wanted.value):
            raise top.refuse("review.pack.digest", wanted.line, name=name, found=lexicon.digest)
        found["lexicon", name] = lexicon
    return found


def _patterns(top: Fields) -> dict[tuple[str, str], Words]:
    found: dict[tuple[str, str], Words] = {}
    for name, listed in top.items("patterns"):
        templates = listed.value if isinstance(listed.value, list) else [listed.value]
        for template in templates:
            if not isinstance(template, str) or len(template) > 200 or not check_template(template):
                raise top.refuse("review.pack.pattern", listed.line, name=name)
        found["pattern", name] = Pattern(name, templates)
    return found


def _overridden(top: Fields, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Rules of the extended packs with parameters of this one."""
    changed = {}
    for rule_id, given in top.items("params"):
        rule = rules.get(rule_id)
        fields = Fields(given.value, given.line, top.file) if isinstance(given.value, dict) else None
        if rule is None or fields is None:
            raise top.refuse("review.pack.override", given.line, rule=rule_id)
        params, settings = dict(rule.params), dict(rule.settings)
        for name, said in fields.items():
            if name not in params or type_of(_node(fields, name, said), Scope()) != type_of(params[name], Scope()):
                raise top.refuse("review.pack.override", said.line, rule=f"{rule_id}.{name}")
            params[name], settings[name] = _node(fields, name, said), str(said.value)
        changed[rule_id] = replace(rule, params=params, settings=settings)
    return changed


def _rules(
    top: Fields, pack: str, documents: Mapping[str, Document], words: Mapping[tuple[str, str], Words]
) -> Iterator[Rule]:
    listed = top.listed("rules", optional=top.has("extends"))  # a pack may only change limits
    if len(listed) > MOST_RULES:
        raise top.refuse("review.pack.many", top.line, most=MOST_RULES)
    seen: set[str] = set()
    for fields in listed:
        rule = _rule(fields, pack, documents, words)
        if rule.id in seen:
            raise fields.refuse("review.rule.twice", fields.line, rule=rule.id)
        seen.add(rule.id)
        yield rule


_EXPRESSIONS = {"applies": "truth", "when": "truth", "find": "moments", "show": "moments"}


def _rule(fields: Fields, pack: str, documents: Mapping[str, Document], words: Mapping[tuple[str, str], Words]) -> Rule:
    fields.only("id", "title", "severity", "decision", "from", "until", "params", "cites", "fix", *_EXPRESSIONS)
    rule_id = fields.text("id")
    if not _ID.fullmatch(rule_id):
        raise fields.refuse("review.rule.id", fields.line_of("id"), rule=rule_id[:40])
    params, settings = _params(fields)
    scope = Scope(params, {n for k, n in words if k == "lexicon"}, {n for k, n in words if k == "pattern"})
    source = {name: fields.text(name) for name in _EXPRESSIONS if fields.has(name)}
    nodes = {name: _expression(fields, name, rule_id, scope) for name in source}
    starts, ends = _day(fields, "from", rule_id), _day(fields, "until", rule_id)
    if starts and ends and ends < starts:
        raise fields.refuse("review.rule.never", fields.line_of("until"), rule=rule_id, starts=starts, ends=ends)
    if not nodes.keys() & {"when", "find"}:
        raise fields.refuse("review.rule.empty", fields.line, rule=rule_id)
    guess = next((name for name, node in nodes.items() if "alike" in calls_of(node)), None)
    if guess and fields.text("decision") == "machine":
        raise fields.refuse("review.rule.guess", fields.line_of(guess), rule=rule_id)
    return Rule(
        rule_id, pack, fields.line, fields.both("title"),
        _one_of(fields, "severity", SEVERITIES, rule_id), _one_of(fields, "decision", DECISIONS, rule_id),
        tuple(_cite(one, rule_id, documents) for one in fields.listed("cites")), source,
        starts=starts, ends=ends,
        fix=fields.both("fix") if fields.has("fix") else {}, params=params, settings=settings, **nodes,
    )  # fmt: skip


def _params(fields: Fields) -> tuple[dict[str, Node], dict[str, str]]:
    listed = dict(fields.items("params"))
    nodes = {name: _node(fields, name, said) for name, said in listed.items()}
    return nodes, {name: str(said.value) for name, said in listed.items()}


def _node(fields: Fields, name: str, said: At) -> Node:
    """A parameter: a number with its unit, or a text in quotation marks."""
    try:
        node = parse(str(said.value))
        inner = node.parts[0] if node.op == "minus" else node
        if inner.op not in ("number", "text"):
            raise SyntaxFault("literal", node.at, name)
    except SyntaxFault as fault:
        raise _refused(fields, fault, said.line, name) from None
    return node


def _expression(fields: Fields, name: str, rule_id: str, scope: Scope) -> Node:
    line = fields.line_of(name)
    try:
        node = parse(fields.text(name))
        kind, _ = type_of(node, scope)
        if kind != _EXPRESSIONS[name]:
            raise SyntaxFault("type", 0, f"{name}: {kind}")
    except SyntaxFault as fault:
        raise _refused(fields, fault, line, f"{rule_id}.{name}") from None
    return node


def _refused(fields: Fields, fault: SyntaxFault, line: int, where: str) -> UsageError:
    detail = f" ({fault.detail})" if fault.detail else ""
    return fields.refuse("review.rule.expression", line, rule=where, at=fault.at + 1, why=fault.why, detail=detail)


def _cite(fields: Fields, rule_id: str, documents: Mapping[str, Document]) -> Cite:
    fields.only("text", "clause", "quote")
    name, clause, quote = fields.text("text"), fields.text("clause"), fields.text("quote")
    document = documents.get(name)
    if document is None:
        raise fields.refuse("review.rule.no_text", fields.line, rule=rule_id, text=name)
    if len(quote) < LEAST_QUOTED:
        raise fields.refuse("review.rule.short_quote", fields.line_of("quote"), rule=rule_id, quote=quote)
    label = document.place_of(clause, quote)
    if label is None:
        raise fields.refuse(
            "review.rule.misquote", fields.line_of("quote"), rule=rule_id, text=document.title, clause=clause,
            quote=quote[:80],
        )  # fmt: skip
    return Cite(document, clause, quote, label)


def _one_of(fields: Fields, name: str, known: Sequence[str], rule_id: str) -> str:
    said = fields.text(name)
    if said not in known:
        raise fields.refuse(
            "review.rule.value", fields.line_of(name), rule=rule_id, field=name, value=said[:40], known=", ".join(known)
        )
    return said


def _day(fields: Fields, name: str, rule_id: str) -> str | None:
    if not fields.has(name):
        return None
    said: Any = fields.text(name)
    if not is_day(said):
        raise fields.refuse("review.rule.day", fields.line_of(name), rule=rule_id, field=name, value=said[:40])
    return str(said)
