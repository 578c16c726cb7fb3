"""What a request asks of an engine at once, told from its fields: refused before it is queued where it never could be.

Start at `check_memory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from malan.apps.builtin import app_named
from malan.apps.running import read_request
from malan.inference.backends import Amount, Kind
from malan.services.engines.opening import check_room
from malan.services.engines.settings import read_engines

if TYPE_CHECKING:
    from malan.workspace import Workspace


def check_memory(ws: Workspace, app: str, request: Mapping[str, Any]) -> None:
    """Whether the engine of a request could ever make it, by its size and by memory.

    Raises:
        UsageError, Rejected: See `services.engines.opening.check_room`.
    """
    amount = _amount(app, request)
    if amount is None:
        return
    book, kind = read_engines(ws), _kind(app)
    model = str(request.get("model") or "")
    rows = book.routed(model) if model in book.names else () if model else book.of_kind(kind)
    if rows and rows[0].kind == kind:
        check_room(ws, rows[0].name, amount)


def _kind(app: str) -> Kind:
    return "music" if app == "music" else "video"


def _amount(app: str, request: Mapping[str, Any]) -> Amount | None:
    """None where no model of this machine is asked for anything large."""
    if request.get("plan_only") or request.get("mode") not in ("diffuse", "infer"):
        return None
    ask: Any = read_request(app_named(app), request)
    if app == "video":
        from malan.apps.video.diffuse import amount_of

        return amount_of(ask)
    if app == "picture":
        from malan.apps.picture.diffuse import amount_of as of_picture

        return of_picture(ask)
    return Amount(seconds=ask.seconds) if app == "music" else None
