"""What people read of a model: a description as JSON, a card in Markdown in two languages, two models side by side.

Everything is generated from the record, the ledger and what the gate measured; nothing is written by hand. Start
reading at `describe_model` and `card_markdown`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from malan.core.catalogue import LANGUAGES, catalogue, entry
from malan.core.errors import Rejected
from malan.inference.lowrank import distance, frobenius
from malan.inference.tensors import parse_tensors
from malan.models.licences import ACTIONS, TEACH, find_licence
from malan.models.safetensors import Adapter, read_adapter
from malan.services.access import HOUSE, Caller
from malan.services.footage.owners import owner_names
from malan.services.models.registry import ADAPTER, family_tree, get_model, list_models, release_events, weights_bytes
from malan.services.models.rights import decide_model_use
from malan.services.models.rows import ModelRow, decisions_of, rows_by_id

if TYPE_CHECKING:
    from malan.workspace import Workspace


def list_descriptions(ws: Workspace, *, caller: Caller = HOUSE) -> list[dict[str, Any]]:
    """All models a caller may see, as plain JSON, the newest first."""
    names = owner_names(ws)
    return [_described(model, names) for model in list_models(ws, caller=caller)]


def show_model(ws: Workspace, text: str, *, caller: Caller = HOUSE) -> dict[str, Any]:
    """One model as plain JSON, with what may be done with it and why (in both languages).

    Raises:
        NotFound: There is none.
        NotGranted: It is not the caller's to see.
    """
    model = get_model(ws, text, caller=caller)
    uses = {}
    for action in (action for action in ACTIONS if action != TEACH):
        decision = decide_model_use(ws, model, action, caller=caller)
        said = [{"code": one.code, **{lang: one.text(lang) for lang in LANGUAGES}} for one in decision.reasons]
        uses[action] = {"allowed": decision.allowed, "reasons": said}
    return describe_model(ws, model) | {"uses": uses}


def model_card(ws: Workspace, text: str, lang: str, *, caller: Caller = HOUSE) -> str:
    """The card of a model in Markdown, for somebody who may see it."""
    return card_markdown(ws, get_model(ws, text, caller=caller), lang)


def describe_model(ws: Workspace, model: ModelRow) -> dict[str, Any]:
    """A model as plain JSON, with what was decided about it and where the ledger states it."""
    names = owner_names(ws)
    decisions = [
        {"action": one.action, "use": one.use, "by": names.get(one.party_id, one.party_id[:12]) or "–",
         "reason": one.reason, "at": one.at}
        for one in decisions_of(ws, model.id)
    ]  # fmt: skip
    return _described(model, names) | {"decisions": decisions, "events": release_events(ws, model.id)}


def _described(model: ModelRow, names: Mapping[str, str]) -> dict[str, Any]:
    licence = find_licence(model.licence)
    return {
        "model": model.id,
        "name": model.title,
        "kind": model.kind,
        "form": model.form,
        "state": model.state,
        "family": model.family,
        "base": model.base_id,
        "parts": [{"model": part, "weight": weight} for part, weight in model.parts],
        "licence": {
            "id": model.licence,
            "title": {lang: licence.shown(lang) for lang in LANGUAGES} if licence else {},
            "commercial": licence.commercial if licence else "no",
            "limit": licence.limit.name if licence and licence.limit else None,
            "excludes": list(licence.excludes) if licence else [],
            "teaches": licence.teaches if licence else "no",
            "notice": licence.notice if licence else "",
        },
        "run": dict(model.run),
        "snapshot": model.snapshot_id,
        "shares": [
            {"owner": party, "name": names.get(party, party[:12]), "share": share}
            for party, share in sorted(model.shares.items(), key=lambda one: (-one[1], one[0]))
        ],
        "evaluation": dict(model.evaluation),
        "figures": figures_of(model.evaluation),
        "card": dict(model.card),
        "place": model.place.get("folder"),
        "size_bytes": model.size_bytes,
        "made": model.made,
    }


def card_markdown(ws: Workspace, model: ModelRow, lang: str) -> str:
    """The card for people, with the front matter that hubs read; `lang` is `zh` or `en`."""
    card = _Card(ws, model, lang)
    return "\n".join([*card.front(), "", f"# {_cell(model.title)}", "", *card.body(), ""])


def compare_models(ws: Workspace, first: str, second: str, *, caller: Caller = HOUSE) -> dict[str, Any]:
    """Two models side by side: what was measured, under which licence, whose, and how far apart their weights are."""
    one, other = (get_model(ws, text, caller=caller) for text in (first, second))
    figures = (figures_of(one.evaluation), figures_of(other.evaluation))
    names = owner_names(ws)
    return {
        "models": [describe_model(ws, model) for model in (one, other)],
        "metrics": {name: [figures[0].get(name), figures[1].get(name)] for name in sorted({*figures[0], *figures[1]})},
        "shares": {
            names.get(party, party[:12]): [one.shares.get(party, Fraction(0)), other.shares.get(party, Fraction(0))]
            for party in sorted({*one.shares, *other.shares})
        },
        "same_base": one.base_id == other.base_id and one.family == other.family,
        "same_split": one.snapshot_id is not None and one.snapshot_id == other.snapshot_id,
        "distance": _apart(ws, one, other),
    }


def figures_of(evaluation: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Everything that was measured, flat: `base.accuracy` → text."""
    found: dict[str, str] = {}
    for name, value in evaluation.items():
        if isinstance(value, Mapping):
            found |= figures_of(value, f"{prefix}{name}.")
        elif not isinstance(value, list | tuple):
            found[f"{prefix}{name}"] = str(value)
    return found


def figure_name(name: str, lang: str | None = None) -> str:
    """What a figure is called: `effect.gain` → its name where it has one, else as it is."""
    code = f"models.figure.{name}"
    return entry(code).text(lang) if code in catalogue() else name


class _Card:
    """The lines of a card in one language."""

    def __init__(self, ws: Workspace, model: ModelRow, lang: str) -> None:
        self._ws, self._model, self._lang = ws, model, lang
        self._names = owner_names(ws)
        self._licence = find_licence(model.licence)

    def front(self) -> list[str]:
        """YAML that the hubs read: licence, base, tags."""
        import json

        base = rows_by_id(self._ws, list(self._model.parents))
        lines = ["---", *self._licence_lines()]
        if base:
            titles = [json.dumps(row.card.get("source") or row.title, ensure_ascii=False) for row in base.values()]
            lines.append(f"base_model: [{', '.join(titles)}]")
        tags = [tag for tag in ("malan", self._model.kind, self._model.form, self._model.family) if tag]
        return [*lines, f"tags: {json.dumps(tags)}", "---"]

    def _licence_lines(self) -> list[str]:
        """`apache-2.0`, or `other` with a name and a link, as hubs spell licences."""
        import json

        if self._licence is None or self._licence.id.startswith("LicenseRef-"):
            named = ["license: other", f"license_name: {json.dumps(self._model.licence)}"]
            is_public = self._licence is not None and self._licence.url.startswith("https://")
            return [*named, f"license_link: {json.dumps(self._licence.url)}"] if self._licence and is_public else named
        return [f"license: {self._licence.id.lower()}"]

    def body(self) -> list[str]:
        model, licence = self._model, self._licence
        facts = [
            (self._say("digest"), f"`sha256:{model.id}`"),
            (self._say("kind"), self._say(f"kind.{model.kind}")),
            (self._say("family"), model.family or "–"),
            (self._say("licence"), self._linked()),
            (self._say("algorithm"), self._algorithm()),
            (self._say("run"), f"`{model.run['id']}`" if model.run.get("id") else "–"),
            (self._say("snapshot"), f"`{model.snapshot_id}`" if model.snapshot_id else "–"),
            (self._say("size"), f"{model.size_bytes:,}"),
            (self._say("made"), model.made),
        ]
        lines = self._table([self._say("what"), self._say("value")], facts)
        if licence and licence.notice:
            lines += ["", f"> {licence.notice}"]
        lines += self._conditions() + self._measured() + self._lineage() + self._owners()
        return [*lines, "", self._say("generated")]

    def _linked(self) -> str:
        if self._licence is None:
            return self._model.licence
        shown = self._licence.shown(self._lang)
        return f"[{shown}]({self._licence.url})" if self._licence.url.startswith("https://") else shown

    def _algorithm(self) -> str:
        run = self._model.run
        return _cell(f"{run.get('algorithm', '–')} {run.get('version', '')}".strip())

    def _conditions(self) -> list[str]:
        licence = self._licence
        if licence is None:
            return []
        said = [self._say(f"commercial.{licence.commercial}", limit=licence.limit.name if licence.limit else "")]
        if licence.excludes:
            said.append(self._say("excludes", places=", ".join(licence.excludes)))
        said.append(self._say(f"teaches.{licence.teaches}"))
        return ["", f"## {self._say('conditions')}", "", *(f"- {one}" for one in said)]

    def _measured(self) -> list[str]:
        lines = ["", f"## {self._say('evaluation')}", ""]
        figures = figures_of(self._model.evaluation)
        if not figures:
            return [*lines, self._say("not_measured")]
        rows = [(figure_name(name, self._lang), value) for name, value in sorted(figures.items())]
        return [*lines, *self._table([self._say("what"), self._say("value")], rows)]

    def _lineage(self) -> list[str]:
        lines = ["", f"## {self._say('lineage')}", ""]
        weights = dict(self._model.parts)
        for one in family_tree(self._ws, self._model):
            weight = f" × {weights[one.id]}" if one.id in weights else ""
            kind = self._say(f"kind.{one.kind}")
            lines.append(f"- {_cell(one.title)}{weight}: {kind}, {one.licence}, `{one.id[:16]}`")
        return lines

    def _owners(self) -> list[str]:
        lines = ["", f"## {self._say('owners')}", ""]
        if not self._model.shares:
            return [*lines, self._say("no_owners")]
        rows = sorted(self._model.shares.items(), key=lambda one: (-one[1], one[0]))
        cells = [(self._names.get(party, party[:12]), str(share), f"{float(share):.2%}") for party, share in rows]
        return [*lines, *self._table([self._say("owner"), self._say("share"), "%"], cells)]

    def _table(self, columns: list[str], rows: list[Any]) -> list[str]:
        lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        return [*lines, *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)]

    def _say(self, code: str, **values: Any) -> str:
        return entry(f"models.card.{code}").text(self._lang, values)


def _cell(text: Any) -> str:
    """A text that stays in its cell and its line, and draws nothing else."""
    shown = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return shown.replace("|", "\\|").replace("<", "&lt;")


def _apart(ws: Workspace, one: ModelRow, other: ModelRow) -> float | None:
    """The distance of two models' weights by the size of the first; None where they cannot be compared."""
    if one.place or other.place or one.form != other.form:
        return None
    try:
        if one.form == ADAPTER:
            return _adapters_apart(*(read_adapter(weights_bytes(ws, model)) for model in (one, other)))
        return _tensors_apart(ws, one, other)
    except Rejected:
        return None


def _adapters_apart(one: Adapter, other: Adapter) -> float | None:
    """By their products, over all modules."""
    if one.inputs != other.inputs:
        return None
    squares = whole = 0.0
    for module, pair in one.pairs.items():
        theirs = other.pairs[module]
        if pair.up.shape[0] != theirs.up.shape[0]:
            return None
        squares += distance(pair.up * pair.scale, pair.down, theirs.up * theirs.scale, theirs.down) ** 2
        whole += frobenius(pair.up * pair.scale, pair.down) ** 2
    return float(np.sqrt(squares / whole)) if whole else None


def _tensors_apart(ws: Workspace, one: ModelRow, other: ModelRow) -> float | None:
    ours, theirs = (parse_tensors(weights_bytes(ws, model)).tensors for model in (one, other))
    if {n: t.shape for n, t in ours.items()} != {n: t.shape for n, t in theirs.items()}:
        return None
    squares = sum(float(np.sum((tensor.values() - theirs[name].values()) ** 2.0)) for name, tensor in ours.items())
    whole = sum(float(np.sum(tensor.values() ** 2.0)) for tensor in ours.values())
    return float(np.sqrt(squares / whole)) if whole else None
