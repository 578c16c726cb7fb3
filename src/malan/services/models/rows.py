"""Models as rows: a record with its lineage and shares, read, written and found by name. Decides nothing.

Start reading at `ModelRow`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, Table, select

from malan.core import Model
from malan.core.errors import NotFound, Rejected, UsageError
from malan.rights.shares import fraction_text
from malan.runtime.database import add_new, reading
from malan.services.models.tables import DECISIONS, MODELS, PARTS, RUNS, SHARES, registry

if TYPE_CHECKING:
    from malan.workspace import Workspace

BASE, SUB, MERGED = "base", "sub", "merged"
RELEASED, RETIRED = "released", "retired"
_AT_ONCE = 500
_LEAST_PREFIX, _MOST_NAME, _MOST_VERSION = 6, 80, 40


@dataclass(frozen=True)
class Named:
    """How a model is called: `name@version`. A version that is not given is the next whole number.

    Raises:
        UsageError: A name nobody could type, or that would be taken for a digest.
    """

    name: str
    version: str = ""

    def __post_init__(self) -> None:
        for text, most, more in ((self.name, _MOST_NAME, " ._-"), (self.version or "1", _MOST_VERSION, "._-+")):
            fits = 0 < len(text) <= most and text == text.strip() and all(c.isalnum() or c in more for c in text)
            if not fits or text[0] in "-.":
                raise UsageError("models.bad_name", name=text[:80])
        if looks_like_digest(self.name):
            raise UsageError("models.bad_name", name=self.name[:80])

    @classmethod
    def read(cls, text: str) -> Named:
        """`夜景@2`, `夜景`."""
        name, _, version = text.partition("@")
        return cls(name, version)


@dataclass(frozen=True)
class ModelRow:
    """A model of the registry and its line back.

    `run` holds what those who ran it said: id, grant, package, parameters, facts. `parts` are (model, weight) of what
    it was merged from. `shares` add to exactly one, or there are none: a base has no owners here.
    """

    id: str
    name: str
    version: str
    kind: str
    form: str
    base_id: str | None
    licence: str
    family: str
    party_id: str | None
    run: Mapping[str, Any]
    snapshot_id: str | None
    evaluation: Mapping[str, Any]
    card: Mapping[str, Any]
    place: Mapping[str, Any]
    size_bytes: int
    state: str
    made: str
    shares: Mapping[str, Fraction] = field(default_factory=dict)
    parts: Sequence[tuple[str, Fraction]] = ()
    run_ids: Sequence[str] = ()
    party_ids: frozenset[str] = frozenset()  # all for whom runs gave these weights

    @property
    def title(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def parents(self) -> tuple[str, ...]:
        """The models it was made from directly."""
        return tuple(part for part, _ in self.parts) or ((self.base_id,) if self.base_id else ())

    @property
    def record(self) -> Model:
        """The record that crosses package borders."""
        run_id = self.run.get("id")
        return Model(self.id, self.title, self.base_id, run_id, self.snapshot_id, self.licence, self.evaluation)


@dataclass(frozen=True)
class Decided:
    """What a person decided about a model: approved it for a use, retired it, confirmed a condition of its licence."""

    action: str
    use: str
    party_id: str
    reason: str
    at: str


def find_model(ws: Workspace, text: str) -> ModelRow:
    """A model by `name@version`, by its name (the newest that is not retired), or by a beginning of its digest.

    Raises:
        NotFound: There is none, or several begin so.
    """
    wanted = text.strip()
    with reading(registry(ws)) as connection:
        rows = _named(connection, wanted) or _beginning(connection, wanted)
        if not rows:
            raise NotFound("models.unknown", model=wanted[:80])
        if len({row.id for row in rows}) > 1:
            raise NotFound("models.ambiguous", model=wanted[:80])
        return read_row(connection, rows[0])


def list_rows(ws: Workspace) -> list[ModelRow]:
    """All models, the newest first."""
    with reading(registry(ws)) as connection:
        return _read_rows(connection, connection.execute(select(MODELS).order_by(MODELS.c.made.desc(), MODELS.c.name)))


def rows_by_id(ws: Workspace, ids: Sequence[str]) -> dict[str, ModelRow]:
    """Those of some models that are here."""
    with reading(registry(ws)) as connection:
        rows = connection.execute(select(MODELS).where(MODELS.c.id.in_(ids)))
        return {row.id: row for row in _read_rows(connection, rows)}


def read_row(connection: Connection, row: Row[Any]) -> ModelRow:
    """A row with its shares, parts and runs."""
    return _read_rows(connection, [row])[0]


def _read_rows(connection: Connection, rows: Iterable[Row[Any]]) -> list[ModelRow]:
    """Rows with all that belongs to them, in three queries however many there are; to bases nothing does."""
    listed = list(rows)
    ids = [row.id for row in listed if row.kind != BASE]
    shares, parts, runs = (
        _by_model(connection, table, ids, table.c[name])
        for table, name in ((SHARES, "party_id"), (PARTS, "part_id"), (RUNS, "run_id"))
    )
    return [_built(row, shares[row.id], parts[row.id], runs[row.id]) for row in listed]


def _built(row: Row[Any], shares: Sequence[Row[Any]], parts: Sequence[Row[Any]], runs: Sequence[Row[Any]]) -> ModelRow:
    said: dict[str, Any] = dict(row._mapping)
    said |= {name: json.loads(said[name]) for name in ("run", "evaluation", "card", "place")}
    return ModelRow(
        **said,
        shares={one.party_id: Fraction(one.share) for one in shares},
        parts=tuple((one.part_id, Fraction(one.weight)) for one in parts),
        run_ids=tuple(one.run_id for one in runs),
        party_ids=frozenset(filter(None, [row.party_id, *(one.party_id for one in runs)])),
    )


def _by_model(connection: Connection, table: Table, ids: Sequence[str], order: Any) -> dict[str, list[Row[Any]]]:
    found: dict[str, list[Row[Any]]] = defaultdict(list)
    for at in range(0, len(ids), _AT_ONCE):
        where = table.c.model_id.in_(ids[at : at + _AT_ONCE])
        for row in connection.execute(select(table).where(where).order_by(order)):
            found[row.model_id].append(row)
    return found


def keep_row(connection: Connection, model: ModelRow) -> ModelRow:
    """Write a model down, in the caller's transaction; one whose weights are known already stays as it stands.

    Raises:
        Rejected: The name and version are another model's.
    """
    known = connection.execute(select(MODELS).where(MODELS.c.id == model.id)).one_or_none()
    if known is None:
        taken = select(MODELS.c.id).where(MODELS.c.name == model.name, MODELS.c.version == model.version)
        if connection.scalar(taken):
            raise Rejected("models.name_taken", model=model.title)
        connection.execute(MODELS.insert().values(**_plain(model)))
        shares = [{"model_id": model.id, "party_id": p, "share": fraction_text(s)} for p, s in model.shares.items()]
        parts = [{"model_id": model.id, "part_id": p, "weight": str(w)} for p, w in model.parts]
        add_new(connection, SHARES, shares)
        add_new(connection, PARTS, parts)
    if run_id := model.run.get("id"):
        row = {"model_id": model.id, "run_id": run_id, "snapshot_id": model.snapshot_id, "party_id": model.party_id}
        add_new(connection, RUNS, row)
    return read_row(connection, connection.execute(select(MODELS).where(MODELS.c.id == model.id)).one())


def next_version(connection: Connection, name: str) -> str:
    """The whole number after the largest that a model of this name has."""
    taken = connection.scalars(select(MODELS.c.version).where(MODELS.c.name == name))
    return str(max((int(one) for one in taken if one.isdecimal()), default=0) + 1)


def decisions_of(ws: Workspace, model_id: str) -> list[Decided]:
    """What was decided about a model, the oldest first."""
    return decisions_of_all(ws, [model_id])[model_id]


def decisions_of_all(ws: Workspace, model_ids: Sequence[str]) -> dict[str, list[Decided]]:
    """What was decided about each of some models."""
    with reading(registry(ws)) as connection:
        found = _by_model(connection, DECISIONS, model_ids, DECISIONS.c.seq)
    return {
        model_id: [Decided(row.action, row.use, row.party_id, row.reason, row.at) for row in found[model_id]]
        for model_id in model_ids
    }


def _named(connection: Connection, text: str) -> list[Row[Any]]:
    name, _, version = text.partition("@")
    query = select(MODELS).where(MODELS.c.name == name)
    if version:
        return list(connection.execute(query.where(MODELS.c.version == version)).all())
    rows = list(connection.execute(query.order_by(MODELS.c.made.desc(), MODELS.c.version.desc())).all())
    return ([row for row in rows if row.state == RELEASED] or rows)[:1]


def _beginning(connection: Connection, text: str) -> list[Row[Any]]:
    if not looks_like_digest(text):
        return []
    query = select(MODELS).where(MODELS.c.id.startswith(text.lower(), autoescape=True)).limit(2)
    return list(connection.execute(query).all())


def looks_like_digest(text: str) -> bool:
    """Whether a person who types this means a digest, or the beginning of one."""
    return _LEAST_PREFIX <= len(text) <= 64 and all(c in "0123456789abcdef" for c in text.lower())


def _plain(model: ModelRow) -> dict[str, Any]:
    columns = {column.name: getattr(model, column.name) for column in MODELS.columns}
    return columns | {
        name: json.dumps(columns[name], ensure_ascii=False, sort_keys=True)
        for name in ("run", "evaluation", "card", "place")
    }
