"""The market in the console: catalogue, a product, contracts and their steps, and terms by a form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from malan.core.errors import MalanError
from malan.services.market import forms as market_forms
from malan.services.market import terms_form
from malan.services.market import view as market_view
from malan.services.market.contract_lookup import export_contract
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.forms import firsts, read_form
from malan.web.gate import caller_of
from malan.web.language import language_of
from malan.web.pages import Pages

router = APIRouter()
Offset = Annotated[int, Query(ge=0, le=100_000)]
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
Action = Literal["accept", "refuse", "sign", "counter"]
Ready = Annotated[str, Query(max_length=40)]


@router.get("/market", include_in_schema=False)
def market_page(request: Request, offset: Offset = 0) -> Response:
    view = market_view.market_page(_ws(request), _lang(request), offset=offset, caller=caller_of(request))
    return _html(request, "market.html", view=view, offset=offset, step=market_view.PAGE)


@router.get("/market.json")
def market_json(request: Request, offset: Offset = 0) -> Response:
    """Products on offer to whoever asks, the newest first."""
    return Pages.json(market_view.market_page(_ws(request), _lang(request), offset=offset, caller=caller_of(request)))


@router.get("/market/{product_id}.json")
def product_json(request: Request, product_id: Id) -> Response:
    """A product with its terms, figures and samples."""
    return Pages.json(market_view.product_page(_ws(request), product_id, _lang(request), caller=caller_of(request)))


@router.get("/market/{product_id}", include_in_schema=False)
def product_page(request: Request, product_id: Id) -> Response:
    return _product(request, product_id)


@router.post("/market/{product_id}/order", include_in_schema=False)
async def order(request: Request, product_id: Id) -> Response:
    """Order it, as offered or with other wishes, and go to the contract."""
    said = firsts(await read_form(request))
    return await run_in_threadpool(_order, request, product_id, said)


@router.get("/contracts", include_in_schema=False)
def contracts_page(request: Request) -> Response:
    view = market_view.contracts_page(_ws(request), _lang(request), caller=caller_of(request))
    return _html(request, "contracts.html", view=view)


@router.get("/contracts.json")
def contracts_json(request: Request) -> Response:
    """The contracts of whoever asks, the newest first."""
    return Pages.json(market_view.contracts_page(_ws(request), _lang(request), caller=caller_of(request)))


@router.get("/contracts/{number}.json")
def contract_json(request: Request, number: Number) -> Response:
    """A contract with its terms, history and document."""
    return Pages.json(market_view.contract_page(_ws(request), number, _lang(request), caller=caller_of(request)))


@router.get("/contracts/{number}", include_in_schema=False)
def contract_page(request: Request, number: Number) -> Response:
    return _contract(request, number)


@router.get("/contracts/{number}/document")
def contract_document(request: Request, number: Number) -> Response:
    """The agreement with the signatures it has, for those who sign outside and for the records."""
    data = export_contract(_ws(request), number, caller=caller_of(request))
    name = f'attachment; filename="malan-contract-{number}.json"'
    return Response(data, media_type="application/json", headers={"content-disposition": name})


@router.post("/contracts/{number}/{action}", include_in_schema=False)
async def act(request: Request, number: Number, action: Action) -> Response:
    """Do a step in a contract and show it as it stands then."""
    said = firsts(await read_form(request))
    return await run_in_threadpool(_act, request, number, action, said)


@router.get("/terms", include_in_schema=False)
def terms_page(request: Request, ready: Ready = "") -> Response:
    form = terms_form.fill_form({}, _lang(request), ready)
    return _html(request, "terms.html", form=form, checked=None, failure=None)


@router.post("/terms", include_in_schema=False)
async def check_terms(request: Request) -> Response:
    """Read the form: the same terms as a file, and what they mean; or what is impossible about them."""
    said = await read_form(request)
    form = terms_form.fill_form(said, _lang(request))
    try:
        checked = terms_form.read_form(said, _lang(request))
    except MalanError as error:
        return _html(request, "terms.html", form=form, checked=None, **_failed(request, error))
    if "download" in said:
        name = f"attachment; filename*=UTF-8''{_quoted(checked.file_name)}"
        return Response(checked.toml, media_type="application/toml", headers={"content-disposition": name})
    return _html(request, "terms.html", form=form, checked=checked, failure=None)


def _product(request: Request, product_id: str, **more: Any) -> Response:
    view = market_view.product_page(_ws(request), product_id, _lang(request), caller=caller_of(request))
    return _html(request, "product.html", view=view, **{"failure": None, "said": {}, **more})


def _contract(request: Request, number: str, **more: Any) -> Response:
    view = market_view.contract_page(_ws(request), number, _lang(request), caller=caller_of(request))
    return _html(request, "contract.html", view=view, **{"failure": None, "said": {}, **more})


def _order(request: Request, product_id: str, said: dict[str, str]) -> Response:
    try:
        number = market_forms.order(_ws(request), product_id, said, caller=caller_of(request))
    except MalanError as error:
        return _product(request, product_id, said=said, **_failed(request, error))
    return RedirectResponse(f"/contracts/{number}", status_code=303)


def _act(request: Request, number: str, action: str, said: dict[str, str]) -> Response:
    try:
        market_forms.act(_ws(request), number, action, said, caller=caller_of(request))
    except MalanError as error:
        return _contract(request, number, said=said, **_failed(request, error))
    return RedirectResponse(f"/contracts/{number}", status_code=303)


def _failed(request: Request, error: MalanError) -> dict[str, Any]:
    return {"failure": Failure.of(error, _lang(request)), "status": status_of(error)}


def _html(request: Request, template: str, **values: Any) -> Response:
    reply: Response = request.app.state.pages.html(request, template, **values)
    return reply


def _ws(request: Request) -> Any:
    return request.app.state.workspace


def _lang(request: Request) -> str:
    return language_of(request.scope)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
