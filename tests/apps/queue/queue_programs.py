"""What carries jobs out in tests of the queue: the prompt says how. Every start leaves a line in `ran.txt`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from malan.core.errors import UsageError
from malan.runtime.worker import report_progress


def carry_out(root: str, job_id: str, app: str, request: Mapping[str, Any], party_id: str, folder: str) -> Any:
    """Leave a file of some bytes, or misbehave."""
    with (Path(root) / "ran.txt").open("a") as log:
        log.write(f"{job_id}\n")
    how, _, rest = str(request.get("prompt") or "quick").partition(" ")
    if how == "slow":
        for step in range(int((rest or "100").split()[0])):
            report_progress({"percent": step, "current": f"step {step}"})
            time.sleep(0.05)
    if how == "until":
        while not (Path(root) / rest).exists():
            report_progress({"percent": 7, "current": "step 7"})
            time.sleep(0.05)
    if how == "memory":
        hoard = [os.urandom(2**20) for _ in range(int(rest))]
        time.sleep(600)
        hoard.clear()
    if how == "stuck":
        time.sleep(600)
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "fails":
        raise UsageError("gateway.no_picture")
    out = Path(root) / folder
    out.mkdir(parents=True, exist_ok=True)
    path = out / ("music.wav" if app == "music" else "film.mp4")
    path.write_bytes(b"made of words " * 100)
    return {"app": app, "mode": "assemble", "engine": app, "seconds": request.get("seconds", 4),
            "files": [{"what": "16x9", "path": path.name, "size_bytes": path.stat().st_size}], "sources": [],
            "provenance_id": ""}  # fmt: skip
