"""The apps there are. A new one is a folder here and a line in `APPS`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from malan.apps.frame import App
from malan.core.errors import NotFound

APPS: Mapping[str, str] = {
    "picture": "malan.apps.picture",
    "promo": "malan.apps.promo",
    "review": "malan.apps.review",
    "music": "malan.apps.music",
    "video": "malan.apps.video",
}
"""Name → the module whose `APP` it is; a module is imported when it is asked for."""


def app_named(name: str) -> App[Any]:
    """An app by its name.

    Raises:
        NotFound: There is none.
    """
    if name not in APPS:
        raise NotFound("app.none", name=name[:40], known=", ".join(APPS))
    found: App[Any] = importlib.import_module(APPS[name]).APP
    return found


def all_apps() -> list[App[Any]]:
    """Every app, in the order of the table."""
    return [app_named(name) for name in APPS]
