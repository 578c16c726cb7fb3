"""Who owns footage and under which terms: names and terms by their ids, in the database of the workspace.

Records only; what terms allow is decided in `rights`. Start reading at `remember_owner`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, select

from malan.core import Terms
from malan.core.errors import NotFound, ProofError
from malan.rights.decide import CompiledTerms, compile_terms
from malan.rights.terms import party_id
from malan.runtime.database import add_new, ensure_tables, reading, writing

if TYPE_CHECKING:
    from malan.workspace import Workspace

_metadata = MetaData()
_parties = Table("parties", _metadata, Column("id", String, primary_key=True), Column("name", String, nullable=False))
_terms = Table(
    "terms",
    _metadata,
    Column("id", String, primary_key=True),
    Column("owner_id", String, nullable=False),
    Column("body", String, nullable=False),  # JSON
)


def remember_owner(ws: Workspace, name: str) -> str:
    """The id of a party by its name; the name as first written is kept."""
    owner_id = party_id(name)
    with writing(_engine(ws)) as connection:
        add_new(connection, _parties, {"id": owner_id, "name": " ".join(name.split())})
    return owner_id


def owner_names(ws: Workspace) -> dict[str, str]:
    """The name of every party, by id."""
    with reading(_engine(ws)) as connection:
        return {row.id: row.name for row in connection.execute(select(_parties))}


def owner_name(ws: Workspace, owner_id: str) -> str:
    """The name of a party; of one nobody named, the beginning of its id."""
    with reading(_engine(ws)) as connection:
        return name_in(connection, owner_id) or owner_id[:12]


def name_in(connection: Connection, party_id: str) -> str:
    """The name of a party within a transaction; empty for one nobody named. The table must be there."""
    return str(connection.scalar(select(_parties.c.name).where(_parties.c.id == party_id)) or "")


def remember_terms(ws: Workspace, terms: Terms) -> str:
    """Keep terms under their id; running it twice changes nothing."""
    body = {name: getattr(terms, name) for name in Terms.__dataclass_fields__}
    row = {"id": terms.id, "owner_id": terms.owner_id, "body": json.dumps(body, default=dict, ensure_ascii=False)}
    with writing(_engine(ws)) as connection:
        add_new(connection, _terms, row)
    return terms.id


def terms_of(ws: Workspace, terms_id: str) -> Terms:
    """Terms by their id.

    Raises:
        NotFound: Nobody registered footage under them here.
        ProofError: Somebody changed them where they are stored.
    """
    with reading(_engine(ws)) as connection:
        body = connection.scalar(select(_terms.c.body).where(_terms.c.id == terms_id))
    if body is None:
        raise NotFound("asset.terms_unknown", id=terms_id[:12])
    return _read_terms(terms_id, body)


def compiled_terms(ws: Workspace, terms_ids: Iterable[str] | None = None) -> dict[str, CompiledTerms]:
    """Terms ready to be asked, by id; those that are not on record, or were changed there, are left out.

    Args:
        ws: Whose records.
        terms_ids: Which; without them, all.
    """
    wanted = None if terms_ids is None else set(terms_ids)
    with reading(_engine(ws)) as connection:
        rows = connection.execute(select(_terms.c.id, _terms.c.body)).all()
    compiled = {}
    for row in rows:
        if wanted is None or row.id in wanted:
            with suppress(ProofError):
                compiled[row.id] = compile_terms(_read_terms(row.id, row.body))
    return compiled


def _read_terms(terms_id: str, body: str) -> Terms:
    """Stored terms, if they are still what their id says; a field of a newer version is kept as not understood."""
    said: dict[str, Any] = json.loads(body)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    known = {key: value for key, value in values.items() if key in Terms.__dataclass_fields__}
    unknown = {key: str(value) for key, value in values.items() if key not in known}
    if unknown:
        return Terms(**{**known, "other": {**known.get("other", {}), **unknown}})
    terms = Terms(**known)
    if terms.id != terms_id:
        raise ProofError("rights.terms_changed", terms=terms_id[:12])
    return terms


def _engine(ws: Workspace) -> Engine:
    ensure_tables(ws.database, _metadata)
    return ws.database
