"""What a server does for jobs by itself: a worker for each device that has work, the dead seen to, webhooks sent.

Workers are processes of their own, which go when idle for a while. A device other than the processor has one; the
processor another as long as all are at work, up to `cpu_jobs`, so that a storyboard does not wait for a series to be
reviewed. Start at `JobClock`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from malan.core.errors import MalanError
from malan.services.files.uploads import sweep_uploads
from malan.services.gateway.royalties import book_usage, owe_royalties
from malan.services.jobs.expiry import expire, sweep
from malan.services.jobs.queue import busy_devices, live_workers, recover, waiting_devices
from malan.services.jobs.webhooks import send_due

if TYPE_CHECKING:
    from malan.workspace import Workspace

_LOOK_S = 0.5
_IDLE_S = 120
_BACK_OFF_S = (0.0, 1.0, 5.0, 30.0)
_GRACE_S = 10.0
_OWE_S = 600.0

_log = logging.getLogger("malan.jobs")


@dataclass
class _Worker:
    """The process of a device, and how it fared."""

    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    not_before: float = 0.0

    def is_running(self) -> bool:
        """Whether it is; one that keeps dying may be started less and less often."""
        code = self.process.poll() if self.process else None
        if self.process is not None and code is not None:
            self.process = None
            self.deaths = 0 if code == 0 else self.deaths + 1
            self.not_before = time.monotonic() + _BACK_OFF_S[min(self.deaths, len(_BACK_OFF_S) - 1)]
        return self.process is not None


class JobClock:
    """A thread that looks twice a second.

    Args:
        ws: Whose jobs.
        has_workers: Start workers; without, they are somebody else's to start (`malan gateway work`).
    """

    def __init__(self, ws: Workspace, *, has_workers: bool = True) -> None:
        self._ws, self._has_workers = ws, has_workers
        self._over = threading.Event()
        self._workers: dict[tuple[str, int], _Worker] = {}
        self._owed = 0.0
        self._thread = threading.Thread(target=self._tick, name="malan-job-clock", daemon=True)
        self._sender = threading.Thread(target=self._send, name="malan-webhooks", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._sender.start()

    def stop(self) -> None:
        """Look no more; what is at work is put back, to go on later."""
        self._over.set()
        for thread in (self._thread, self._sender):
            thread.join(_GRACE_S)
        running = [one.process for one in self._workers.values() if one.process and one.process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def look(self) -> None:
        """One turn."""
        recover(self._ws)
        waiting = waiting_devices(self._ws, time.time()) if self._has_workers else []
        if waiting:
            here, busy = Counter(live_workers(self._ws, time.time())), Counter(busy_devices(self._ws))
            for device in waiting:
                self._see_to(device, here[device], busy[device])
        if time.monotonic() - self._owed > _OWE_S:
            self._owed = time.monotonic()
            book_usage(self._ws)
            owe_royalties(self._ws)
            expire(self._ws)
            sweep_uploads(self._ws)

    def _tick(self) -> None:
        with suppress(OSError, MalanError):
            sweep(self._ws)
        while not self._over.wait(_LOOK_S):
            try:
                self.look()
            except MalanError as error:
                _log.warning("jobs: %s", error)

    def _send(self) -> None:
        while not self._over.wait(_LOOK_S):
            try:
                send_due(self._ws)
            except MalanError as error:
                _log.warning("webhooks: %s", error)

    def _see_to(self, device: str, here: int, busy: int) -> None:
        """Start a worker where none is, or where all are at work and there is room for another."""
        places = max(1, self._ws.settings.cpu_jobs) if device == "cpu" else 1
        own = [self._workers.setdefault((device, place), _Worker()) for place in range(places)]
        there = max(here, sum(one.is_running() for one in own))
        if there and (there >= places or busy < there):
            return
        free = next((one for one in own if not one.is_running()), None)
        if free is not None and time.monotonic() >= free.not_before:
            free.process = _start(self._ws, device)


def _start(ws: Workspace, device: str) -> subprocess.Popen[bytes]:
    mine = ["--json", "--device", device, "--idle", str(_IDLE_S), "--with", str(os.getpid())]
    command = [sys.executable, "-m", "malan", "gateway", "work", *mine]
    environment = {**os.environ, "MALAN_WORKSPACE": str(ws.root)}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
