"""A job inside its own process, which may die without taking anybody along: `apps.running.run_app`, nothing else.

Start at `carry_out`, which a worker calls by its name.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from malan.runtime.worker import report_progress
from malan.services.accounts.parties import caller_of_job
from malan.workspace import Workspace

_TELL_S = 0.1


@lru_cache(maxsize=1)
def _opened(root: str) -> Workspace:
    """The workspace, kept from job to job of this process."""
    return Workspace(Path(root))


def carry_out(root: str, run: str, app: str, request: Mapping[str, Any], party_id: str, folder: str) -> Any:
    """Run the app of a job; what it left. Run again after a kill, it goes on with what lies in its folder.

    Raises:
        MalanError: What the app says.
    """
    from malan.apps.queue.made import enriched
    from malan.apps.running import run_app

    ws = _opened(root)
    caller = caller_of_job(ws, {"party": party_id})

    told_at = 0.0

    def tell(done: int, total: int, current: str) -> None:
        """At most ten times a second: steps of a small model are quicker than that."""
        nonlocal told_at
        if (now := time.monotonic()) - told_at < _TELL_S and done < total:
            return
        told_at = now
        report_progress({"percent": 100 * done // max(1, total), "current": str(current)})

    _, told = run_app(ws, app, request, ws.root / folder, caller=caller, progress=tell, run_id=run)
    return enriched(ws, told)
