"""Jobs taken up beside whoever asked: by the console, which must answer at once.

One job runs at a time in a workspace; one that comes while another runs waits in the queue. When this program ends,
its running job stops and can be taken up again. Start reading at `go_on_beside`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from malan.core.errors import MalanError, RetryLater
from malan.runtime.jobs import QUEUED

if TYPE_CHECKING:
    from malan.workspace import Workspace

_ASK_AGAIN_S = 1.0


def go_on_beside(ws: Workspace, job_id: str) -> None:
    """Go on with a queued job in a thread of its own; how it ends is told by its row."""
    threading.Thread(target=_go_on, args=(ws, job_id), name=f"malan-job-{job_id[:8]}", daemon=True).start()


def _go_on(ws: Workspace, job_id: str) -> None:
    from malan.services.jobs.control import retry_job

    while True:
        try:
            if ws.jobs.get(job_id).state != QUEUED:
                return
            retry_job(ws, job_id)
        except RetryLater:
            time.sleep(_ASK_AGAIN_S)
        except MalanError:
            return  # its row says why
