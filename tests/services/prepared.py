"""Workspaces that many tests begin with are made once a process and copied."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

from malan.workspace import SETTINGS_FILE, Workspace

Told = TypeVar("Told")


def prepared(fill: Callable[..., Told]) -> Callable[..., Told]:
    """A function that fills an empty workspace and tells an id: done once for each way of asking, then copied.

    A workspace that holds something already, or keeps its records in PostgreSQL, is filled as it stands.
    """
    made: dict[str, tuple[Path, Told]] = {}

    @wraps(fill)
    def filled(ws: Workspace, *args: Any, **named: Any) -> Told:
        if ws.settings.database or [one.name for one in ws.root.iterdir()] != [SETTINGS_FILE]:
            return fill(ws, *args, **named)
        key = repr((args, sorted(named.items())))
        if key not in made:
            made[key] = _made(fill, args, named)
        folder, told = made[key]
        shutil.copytree(folder, ws.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(SETTINGS_FILE))
        return told

    return filled


def _made(fill: Callable[..., Told], args: Any, named: Any) -> tuple[Path, Told]:
    folder = Path(mkdtemp(prefix="malan-prepared-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ws = Workspace.create(folder)
    told = fill(ws, *args, **named)
    ws.log.close()
    ws.database.dispose()
    return folder, told
