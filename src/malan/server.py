"""The server process: the console and the connector of one workspace, side by side; `malan up` becomes this process.
It sees to training runs too, in a process of their own.

    python -m malan.server WORKSPACE HOST PORT [NAME…] [--no-worker]

The two faces do not know each other; they are introduced here. The connector opens when it is first asked for, or at
once where something waits to be sent, so that the console never waits for it. With `MALAN_DSP_TEST_SEED` set, test mode
of `malan.exchange.test_mode` takes the place of both. Start at `main`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from malan.core.catalogue import say
from malan.core.errors import MalanError
from malan.web.server import serve_console
from malan.workspace import Workspace

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from malan.apps.queue.clock import JobClock
    from malan.services.exchange.negotiation import Exchange
    from malan.services.runs.clock import RunClock

SEED = "MALAN_DSP_TEST_SEED"
NO_WORKER = "--no-worker"
SEAL_EVERY_S = 3600.0  # what is not sealed yet could be rewritten by whoever owns the database
_SWITCH_S = 0.0005  # clocks and workers in threads let the loop that answers go first
_OPEN_AFTER_S = 1.5  # the console's first page goes first
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PATHS = ("/dsp/2025-1", "/.well-known/dspace-version")
_TEST_PATHS = (*_PATHS, "/test")

_log = logging.getLogger("malan.exchange")

Opened = tuple["Exchange", "ASGIApp"]


class SideBySide:
    """An ASGI application made of two: some paths belong to the one, all others to the other.

    Args:
        console: Answers what is not the connector's, and is told of start and stop.
        paths: Where the connector begins.
        open_connector: Makes the connector, once, when it is first needed.
    """

    def __init__(self, console: ASGIApp, paths: tuple[str, ...], open_connector: Callable[[], Opened]) -> None:
        self._console, self._paths, self._open = console, paths, open_connector
        self._lock = threading.Lock()
        self._opened: Opened | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not any(_is_below(scope["path"], path) for path in self._paths):
            await self._console(scope, receive, send)
            return
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        try:
            app = await run_in_threadpool(self.connector)
        except MalanError as error:
            _log.error("exchange: %s", error)
            app = Response("{}", 503, media_type="application/json")
        await app(scope, receive, send)

    def connector(self) -> ASGIApp:
        """The connector, opened and sending."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
                self._opened[0].sender.start()
            return self._opened[1]

    def close(self) -> None:
        """Send no more."""
        with self._lock:
            if self._opened:
                self._opened[0].sender.stop()


def main() -> int:
    """Serve until interrupted; an error is one line, its hint and its exit code."""
    root, host, port, *allowed = [said for said in sys.argv[1:] if said != NO_WORKER]
    has_workers = NO_WORKER not in sys.argv
    sys.setswitchinterval(_SWITCH_S)
    signal.signal(signal.SIGTERM, _interrupt)  # what was begun is ended in its order, as with Ctrl+C
    try:
        with ExitStack() as closing:
            if seed := os.environ.get(SEED):
                _serve_test(closing, Path(seed), Path(root) if root else None, host, int(port), tuple(allowed))
            else:
                _serve(closing, Workspace(Path(root)), host, int(port), tuple(allowed), has_workers=has_workers)
    except MalanError as error:
        sys.stderr.write(f"{say('cli.error')} {error.message()}\n  → {error.hint()}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _serve(
    closing: ExitStack, ws: Workspace, host: str, port: int, allowed: tuple[str, ...], *, has_workers: bool
) -> None:
    def is_single_user() -> bool:
        from malan.services.accounts.parties import has_accounts

        return {host, *allowed} <= set(_LOOPBACK) and not has_accounts(ws)

    def beside(console: ASGIApp, url: str) -> ASGIApp:
        whole = SideBySide(console, _PATHS, partial(_open, ws, url, is_single_user))
        closing.callback(whole.close)
        opening = threading.Timer(_OPEN_AFTER_S, _open_if_used, args=(ws, whole))
        opening.daemon = True
        opening.start()
        closing.callback(_seal_by_the_clock(ws))
        _say_where(url)
        closing.callback(_begin_clock(ws, has_workers=has_workers))
        sys.stdout.write(f"{say('gateway.at', url=url)}\n")
        sys.stdout.flush()
        return whole

    serve_console(ws, port=port, host=host, allowed=allowed, beside=beside)


def _begin_clock(ws: Workspace, *, has_workers: bool) -> Callable[[], None]:
    """See to runs and jobs once the first page has been served; what stops it again."""
    clocks: list[RunClock | JobClock] = []

    def begin() -> None:
        from malan.apps.queue.clock import JobClock
        from malan.services.runs.clock import RunClock

        for clock in (RunClock(ws), JobClock(ws, has_workers=has_workers)):
            clocks.append(clock)
            clock.start()

    def stop() -> None:
        beginning.cancel()
        for clock in clocks:
            clock.stop()

    beginning = threading.Timer(_OPEN_AFTER_S, begin)
    beginning.daemon = True
    beginning.start()
    return stop


def _serve_test(
    closing: ExitStack, seed_path: Path, root: Path | None, host: str, port: int, allowed: tuple[str, ...]
) -> None:
    from malan.exchange import test_mode

    seed = test_mode.load_seed(seed_path)
    ws = closing.enter_context(test_mode.empty_workspace(root))
    sys.stderr.write(f"{say('exchange.test_mode', party=seed.counterparty)}\n")

    def opened(url: str) -> Opened:
        ex = test_mode.open_test_exchange(ws, url, seed)
        return ex, test_mode.create_test_exchange(ex, seed)

    def beside(console: ASGIApp, url: str) -> ASGIApp:
        whole = SideBySide(console, _TEST_PATHS, partial(opened, url))
        closing.callback(whole.close)
        whole.connector()
        _say_where(url)
        return whole

    serve_console(ws, port=port, host=host, allowed=allowed, beside=beside, needs_accounts=False)


def _open(ws: Workspace, url: str, is_single_user: Callable[[], bool]) -> Opened:
    from malan.exchange.app import create_exchange
    from malan.services.exchange.negotiation import open_exchange

    ex = open_exchange(ws, url)
    if any(anywhere in ex.root for anywhere in ("//0.0.0.0", "//[::]")):
        _log.warning("%s", say("exchange.set_address", url=ex.root))
    return ex, create_exchange(ex, is_single_user=is_single_user)


def _open_if_used(ws: Workspace, whole: SideBySide) -> None:
    """Open the connector where it was used before: something may wait to be sent."""
    from malan.services.exchange.negotiation import was_used

    try:
        if was_used(ws):
            whole.connector()
    except MalanError as error:
        _log.warning("exchange: %s", error)


def _seal_by_the_clock(ws: Workspace, every_s: float = SEAL_EVERY_S) -> Callable[[], None]:
    """Seal what was used, again and again, until the function that is given back is called."""
    stopped = threading.Event()

    def seal() -> None:
        from malan.services.settlement.metering import has_unsealed, seal_usage

        while not stopped.wait(every_s):
            try:
                if has_unsealed(ws):
                    seal_usage(ws)
            except MalanError as error:  # busy: the next time
                _log.warning("usage: %s", error)

    threading.Thread(target=seal, name="malan-seal", daemon=True).start()
    return stopped.set


def _say_where(url: str) -> None:
    sys.stdout.write(f"{say('exchange.at', url=url + _PATHS[0])}\n")
    sys.stdout.flush()


def _is_below(path: str, start: str) -> bool:
    return path == start or path.startswith(f"{start}/")


if __name__ == "__main__":
    sys.exit(main())
