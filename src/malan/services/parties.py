"""Who owns footage and under which terms: names and terms by their ids, in the database of the workspace.

Records only; what terms allow is decided in `rights`. Start reading at `remember_owner`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Engine, MetaData, String, Table, select

from malan.core import Terms
from malan.core.errors import NotFound
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
    return owner_names(ws).get(owner_id, owner_id[:12])


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
    """
    with reading(_engine(ws)) as connection:
        body = connection.scalar(select(_terms.c.body).where(_terms.c.id == terms_id))
    if body is None:
        raise NotFound("asset.terms_unknown", id=terms_id[:12])
    said: dict[str, Any] = json.loads(body)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    return Terms(**values)


def _engine(ws: Workspace) -> Engine:
    ensure_tables(ws.database, _metadata)
    return ws.database
