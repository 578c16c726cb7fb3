"""The gateway as one ASGI application: `/v1/…` as OpenAI's clients speak it, and `/metrics`.

    Guard (host, origin) ─▶ Gateway ─ /v1/…, /metrics ─▶ a function of the table below
                                    └ all else ────────▶ the console behind its gate

It stands before the console's gate, for its keys are its own and each layer costs every request; who may ask for what
is in `desk`. Start at `Gateway`.
"""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from malan.core.errors import MalanError, NotFound, NotGranted, StoreError, UsageError
from malan.services.access import may
from malan.services.accounts.api_keys import caller_of_key
from malan.web.gateway import chat, jobs, models, pictures, sound
from malan.web.gateway.call import Call, Gone
from malan.web.gateway.desk import Counter
from malan.web.gateway.metrics import Counts
from malan.web.guard import LOOPBACK

if TYPE_CHECKING:
    from malan.workspace import Workspace

PREFIX = "/v1/"
METRICS = "/metrics"
MOST_BYTES = 160 * 2**20  # of any request; each route has its own bound below it
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")

_log = logging.getLogger("malan.gateway")

Answer = Callable[[Counter, Call], Awaitable[None]]

_ID = r"([A-Za-z]+_[0-9a-f]{8,64})"
ROUTES: tuple[tuple[str, str, str, Answer], ...] = (
    ("POST", "/v1/chat/completions", "chat", chat.chat),
    ("POST", "/v1/embeddings", "embeddings", chat.embeddings),
    ("POST", "/v1/audio/speech", "speech", sound.speech),
    ("POST", "/v1/audio/transcriptions", "transcriptions", sound.transcriptions),
    ("POST", "/v1/images/generations", "images", pictures.generations),
    ("GET", "/v1/models", "models", models.list_models),
    ("GET", r"/v1/models/(.+)", "model", models.get_model),
    *(
        (method, f"/v1/({kind})" + path.replace("ID", _ID), f"{kind}.{name}", answer)
        for kind in jobs.KINDS
        for method, path, name, answer in jobs.ROUTES
    ),
)
"""Method, path as a pattern, what metrics call it, who answers."""

_PLAIN = {(method, path): (name, answer) for method, path, name, answer in ROUTES if "(" not in path}
_PATTERNS = [(method, re.compile(path, re.ASCII), name, answer) for method, path, name, answer in ROUTES if "(" in path]


class Gateway:
    """Answers what is the gateway's and hands on the rest.

    Args:
        app: The console.
        workspace: Whose engines, budgets and jobs.
    """

    def __init__(self, app: ASGIApp, workspace: Workspace) -> None:
        self.app, self._ws = app, workspace
        self.counts = Counts()
        self.counter = Counter(workspace, self.counts)
        self._within = RequestBodyLimitMiddleware(self._answer, MOST_BYTES)  # pictures and sounds: more than pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self.app(scope, receive, send)
            finally:
                await self.counter.close()
        elif scope["type"] == "http" and (scope["path"].startswith(PREFIX) or scope["path"] == METRICS):
            await self._within(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        name, answer = self._find(call)
        began = time.perf_counter()
        self.counts.under_way += 1
        try:
            await answer(self.counter, call)
        except Gone:
            call.status = call.status or 499
        except MalanError as error:
            await self._failed(call, error)
        except OSError as error:
            await self._failed(call, self._of_system(error, f"{call.method} {name}"))
        except Exception as error:  # the log has the traceback, the reader a sentence
            _log.exception("%s %s", call.method, name)
            await self._failed(call, MalanError("web.defect", kind=type(error).__name__))
        finally:
            self.counts.under_way -= 1
            self.counts.asked(name, call.status, time.perf_counter() - began)

    def _of_system(self, error: OSError, what: str) -> MalanError:
        """A disk that is full is nobody's defect: one line in the log."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _log.error("%s: %s", what, error)
            return StoreError("gateway.disk_full")
        _log.error("%s", what, exc_info=error)
        return MalanError("web.defect", kind=type(error).__name__)

    async def _failed(self, call: Call, error: MalanError) -> None:
        if not call.status:
            await call.fail(error, param=str(error.values["field"]) if "field" in error.values else None)

    def _find(self, call: Call) -> tuple[str, Answer]:
        if call.path == METRICS:
            return "metrics", self._metrics
        method = "GET" if call.method == "HEAD" else call.method
        found = _PLAIN.get((method, call.path))
        if found:
            return found
        known = any(path == call.path for _, path in _PLAIN)
        for wanted, pattern, name, answer in _PATTERNS:
            match = pattern.fullmatch(call.path)
            if match and wanted == method:
                call.parts = match.groups()
                return name, answer
            known = known or bool(match)
        return "none", _wrong_method if known else _nothing

    async def _metrics(self, counter: Counter, call: Call) -> None:
        """For operators, and for whoever asks on this machine itself."""
        await run_in_threadpool(self._check_operator, call)
        page = await run_in_threadpool(jobs.metrics_page, counter)
        await call.reply(page.encode(), "text/plain; version=0.0.4; charset=utf-8")

    def _check_operator(self, call: Call) -> None:
        client = (call.scope.get("client") or ("",))[0]
        is_here = client in LOOPBACK and not any(name in call.headers for name in _FORWARDED)
        if is_here and "authorization" not in call.headers:
            return
        if not may(caller_of_key(self._ws, call.token), "library.see"):
            raise NotGranted("gateway.not_for_you")


async def _nothing(_counter: Counter, call: Call) -> None:
    raise NotFound("gateway.not_offered", path=call.path[:200])


async def _wrong_method(_counter: Counter, call: Call) -> None:
    error = UsageError("gateway.method", method=call.method[:20], path=call.path[:200])
    from malan.web.gateway.call import error_body

    await call.reply_json(error_body(error, call.lang), 405)
