"""One classifier as a small service on this machine: typed JSON in, typed JSON out. `malan model serve` becomes it.

    python -m malan.web.model_server WORKSPACE PORT MODEL COMMERCIAL TERRITORY

    GET /            what the model is, under which licence, whose, and what it wants to be asked
    POST /classify   {"features": [[…]]} → {"labels": [[{"label", "probability"}]], "probabilities": [[…]]}

Listens on the loopback only; other pages are kept out by the console's own guard. Start at `create_model_app`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from malan import __version__
from malan.core.catalogue import say
from malan.core.errors import MalanError, NotFound, UsageError
from malan.services.access import COMMAND_LINE
from malan.services.models.rights import Asked
from malan.services.models.service import MOST_ROWS, ModelService, open_service
from malan.web.failures import failure_response
from malan.web.guard import LOOPBACK, Guard
from malan.web.language import language_of
from malan.web.server import listen, run
from malan.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_BODY_BYTES = 32 * 2**20

Number = Annotated[float, Field(allow_inf_nan=False)]


class Question(BaseModel):
    """Rows of features, each as wide as `input.width` says."""

    model_config = ConfigDict(extra="forbid", strict=True)
    features: list[list[Number]] = Field(min_length=1, max_length=MOST_ROWS)


class Label(BaseModel):
    """One class that applies to a row."""

    label: str
    probability: float


class Answer(BaseModel):
    """For each row the classes that apply, the likeliest first, and the probability of every class."""

    model: str
    name: str
    classes: list[str]
    labels: list[list[Label]]
    probabilities: list[list[float]]


def create_model_app(service: ModelService, *, hosts: Sequence[str] = LOOPBACK) -> FastAPI:
    """The service of one model."""
    app = FastAPI(title=service.model.title, version=__version__, docs_url=None, redoc_url=None,
                  max_body_size=MOST_BODY_BYTES)  # fmt: skip

    @app.get("/")
    def show() -> Any:
        return service.describe()

    @app.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/classify")
    def classify(question: Question) -> Answer:
        return Answer.model_validate(service.classify(question.features))

    for kind, told in ((MalanError, _failed), (RequestValidationError, _misused), (HTTPException, _refused)):
        app.add_exception_handler(kind, told)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(Guard, hosts=hosts)
    return app


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, MalanError)  # noqa: S101
    return failure_response(error, language_of(request.scope))


async def _misused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])[:120]
    wrong = UsageError("web.bad_request", detail=f"{place}: {first['msg']}"[:300])
    return failure_response(wrong, language_of(request.scope))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    lang, status = language_of(request.scope), error.status_code
    if status == 413:
        return failure_response(UsageError("web.too_long", limit=MOST_BODY_BYTES), lang, status=status)
    if status == 404:
        return failure_response(NotFound("web.no_page", path=request.url.path[:200]), lang)
    return failure_response(UsageError("web.bad_request", detail=str(error.detail)[:200]), lang, status=status)


async def _broken(request: Request, error: Exception) -> Response:
    """A defect of ours: a sentence, and nothing of what was inside."""
    wrong = MalanError("web.defect", kind=type(error).__name__)
    return failure_response(wrong, language_of(request.scope), status=500)


def main() -> int:
    """Answer until interrupted; an error is one line, its hint and its exit code."""
    root, port, model, commercial, territory = sys.argv[1:]
    try:
        asked = Asked("serve", commercial == "yes", territory or None)
        service = open_service(Workspace(Path(root)), model, asked, caller=COMMAND_LINE)
        listening = listen(LOOPBACK[0], int(port))
        url = f"http://{LOOPBACK[0]}:{listening.getsockname()[1]}"
        sys.stdout.write(say("models.serving", model=service.model.title, url=url) + "\n")
        sys.stdout.flush()
        run(create_model_app(service), listening)
    except MalanError as error:
        sys.stderr.write(f"{say('cli.error')} {error.message()}\n  → {error.hint()}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
