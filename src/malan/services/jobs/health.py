"""Whether a workspace can be worked on: its database answers. Start at `is_well`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from malan.core.errors import MalanError
from malan.runtime.database import reading

if TYPE_CHECKING:
    from malan.workspace import Workspace


def is_well(ws: Workspace) -> bool:
    """Ask the database the least there is to ask. A workspace that keeps no records yet is well."""
    if not ws.settings.database and not (ws.root / "malan.db").is_file():
        return True
    try:
        with reading(ws.database) as connection:
            return bool(connection.scalar(text("SELECT 1")) == 1)
    except MalanError:
        return False
