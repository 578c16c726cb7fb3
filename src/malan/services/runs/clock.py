"""What a server does for runs by itself: a worker is there when there is work, the dead are seen to, usage is sealed.

The worker is a process of its own, so that nothing a run does reaches the console; it goes when it has been idle for a
while, and is started again when it is needed or has died. Start reading at `RunClock`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from malan.core.errors import MalanError
from malan.services.runs.rows import me, note_worker
from malan.services.runs.worker import has_work, recover, seal_now

if TYPE_CHECKING:
    from malan.workspace import Workspace

_LOOK_S = 1.0
_SEAL_S = 600.0
_IDLE_S = 30
_BACK_OFF_S = (0.0, 1.0, 5.0, 30.0)
_GRACE_S = 10.0

_log = logging.getLogger("malan.runs")


class RunClock:
    """A thread that looks once a second.

    Args:
        ws: Whose runs.
        seal_s: Seconds between two sealings of usage.
    """

    def __init__(self, ws: Workspace, *, seal_s: float = _SEAL_S) -> None:
        self._ws, self._seal_s = ws, seal_s
        self._over = threading.Event()
        self._worker: subprocess.Popen[bytes] | None = None
        self._deaths, self._not_before = 0, 0.0
        self._sealed = time.monotonic()
        self._thread = threading.Thread(target=self._tick, name="malan-run-clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a run at work is put back, to go on from its checkpoint."""
        self._over.set()
        self._thread.join(timeout=_GRACE_S)
        if self._worker is None or self._worker.poll() is not None:
            return
        self._worker.terminate()
        try:
            self._worker.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()

    def look(self) -> None:
        """One turn."""
        recover(self._ws)
        note_worker(self._ws, me(), time.time())
        self._see_to_worker()
        if time.monotonic() - self._sealed > self._seal_s:
            self._sealed = time.monotonic()
            seal_now(self._ws)

    def _tick(self) -> None:
        while not self._over.wait(_LOOK_S):
            try:
                self.look()
            except MalanError as error:
                _log.warning("runs: %s", error)

    def _see_to_worker(self) -> None:
        """Start a worker when there is work and none is there; one that keeps dying is started less and less often."""
        if self._worker is not None:
            code = self._worker.poll()
            if code is None:
                return
            self._worker = None
            self._deaths = 0 if code == 0 else self._deaths + 1
            pause = _BACK_OFF_S[min(self._deaths, len(_BACK_OFF_S) - 1)]
            self._not_before = time.monotonic() + pause
        if time.monotonic() >= self._not_before and has_work(self._ws):
            mine = ["--json", "--idle", str(_IDLE_S), "--with", str(os.getpid())]
            command = [sys.executable, "-m", "malan", "run", "work", *mine]
            environment = {**os.environ, "MALAN_WORKSPACE": str(self._ws.root)}
            self._worker = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
            )
