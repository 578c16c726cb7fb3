"""Signing in and out, and the page of one's own account.

Every form carries a token that follows from a cookie of this browser, so that no other page can send it: the session
cookie where there is one, else one made for the sign-in form. Start at `sign_in_page`.
"""

from __future__ import annotations

import secrets
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Request
from starlette.responses import RedirectResponse, Response

from malan.core.errors import MalanError, Rejected
from malan.services.access import NotSignedIn
from malan.services.accounts import api_keys, oidc, sessions
from malan.services.accounts import page as account_view
from malan.services.accounts.sessions import TooManyTries, form_token, is_form_token
from malan.services.views import Failure
from malan.web.failures import status_of
from malan.web.gate import caller_of, cookie_name, first_page, session_of
from malan.web.language import language_of
from malan.web.pages import Pages

router = APIRouter()
_FORM_COOKIE = "malan_form"
_FORM_AGE_S = 3600
_OIDC_COOKIE, _OIDC_AGE_S = "malan_oidc", int(oidc.PATIENCE_S)
_OIDC_ANSWER = ("code", "state", "iss", "error")
Field = Annotated[str, Form(max_length=2000)]


@router.get("/sign-in", include_in_schema=False)
def sign_in_page(request: Request, next: str = "/", ended: str = "") -> Response:
    """The form; whoever is signed in already goes on."""
    try:
        caller = request.app.state.who(request)
    except NotSignedIn:
        caller = None
    if caller is not None:
        return RedirectResponse(_inside(next, first_page(caller)), status_code=303)
    return _form(request, _inside(next), ended=bool(ended))


@router.post("/sign-in", include_in_schema=False)
def sign_in(
    request: Request,
    login: Field = "",
    password: Field = "",
    next: Field = "/",
    token: Field = "",
) -> Response:
    """Begin a session under a new secret and go to the page that was asked for."""
    target = _inside(next)
    try:
        _check_form(token, request.cookies.get(cookie_name(request, _FORM_COOKIE), ""))
        address = request.client.host if request.client else ""
        former = session_of(request)
        done = sessions.sign_in(request.app.state.workspace, login, password, address=address, former=former)
    except (NotSignedIn, TooManyTries, Rejected) as error:
        return _form(request, target, login=login, error=error)
    reply = RedirectResponse(target if target != "/" else first_page(done.caller), status_code=303)
    _set(request, reply, cookie_name(request), done.token, int(sessions.LONGEST_S), "lax")
    reply.delete_cookie(cookie_name(request, _FORM_COOKIE), path="/", secure=_is_encrypted(request))
    return reply


@router.get("/sign-in/provider", include_in_schema=False)
def sign_in_by_provider(request: Request, next: str = "/") -> Response:
    """Lead the browser to the identity provider that is set."""
    target = _inside(next)
    try:
        begun = oidc.begin_sign_in(request.app.state.workspace, _back(request), target)
    except MalanError as error:
        return _form(request, target, error=error)
    reply = RedirectResponse(begun.address, status_code=303, headers={"cache-control": "no-store"})
    _set(request, reply, cookie_name(request, _OIDC_COOKIE), begun.browser, _OIDC_AGE_S, "lax")
    return reply


@router.get("/sign-in/back", include_in_schema=False)
def signed_in_by_provider(request: Request) -> Response:
    """The provider's answer: a session for whoever it says is there, if somebody here gave that a login."""
    said = {name: value[:2000] for name, value in request.query_params.items() if name in _OIDC_ANSWER}
    browser = request.cookies.get(name := cookie_name(request, _OIDC_COOKIE), "")
    try:
        workspace, former = request.app.state.workspace, session_of(request)
        done, target = oidc.finish_sign_in(workspace, said, browser, former=former)
    except MalanError as error:
        reply: Response = _form(request, "/", error=error)
    else:
        place = target if target != "/" else first_page(done.caller)
        reply = RedirectResponse(place, status_code=303, headers={"cache-control": "no-store"})
        _set(request, reply, cookie_name(request), done.token, int(sessions.LONGEST_S), "lax")
    reply.delete_cookie(name, path="/", secure=_is_encrypted(request))
    return reply


def _back(request: Request) -> str:
    """Where the provider sends the browser back to: this console, by the name it was called by (`guard` checked it)."""
    return f"{request.url.scheme}://{request.url.netloc}/sign-in/back"


@router.post("/sign-out", include_in_schema=False)
def sign_out(request: Request, token: Field = "") -> Response:
    """End this session. Without one there is nothing to do."""
    secret = session_of(request)
    if secret:
        _check_form(token, secret)
        sessions.sign_out(request.app.state.workspace, secret)
    return _left(request)


@router.get("/account", include_in_schema=False)
def account_page(request: Request) -> Response:
    return _account(request)


@router.get("/account.json")
def account_json(request: Request) -> Response:
    """Who is here, with which roles and keys."""
    workspace, lang = request.app.state.workspace, language_of(request.scope)
    return Pages.json(account_view.account_page(workspace, lang, caller_of(request)))


@router.post("/account/password", include_in_schema=False)
def change_password(
    request: Request, now: Field = "", new: Field = "", again: Field = "", token: Field = ""
) -> Response:
    """Another password; every session of the login ends, this one too."""
    _check_form(token, session_of(request))
    address = request.client.host if request.client else ""
    try:
        account_view.change_own_password(
            request.app.state.workspace, caller_of(request), now, new, again, address=address
        )
    except MalanError as error:
        return _account(request, error=error)
    return _left(request)


@router.post("/account/sign-out-everywhere", include_in_schema=False)
def sign_out_everywhere(request: Request, token: Field = "") -> Response:
    """End all sessions of the login."""
    _check_form(token, session_of(request))
    caller = caller_of(request)
    sessions.sign_out_everywhere(request.app.state.workspace, caller.login, caller=caller)
    return _left(request)


@router.post("/account/keys", include_in_schema=False)
def make_key(
    request: Request,
    label: Field = "",
    days: Annotated[int, Form(ge=1, le=api_keys.MOST_DAYS)] = api_keys.DAYS,
    token: Field = "",
) -> Response:
    """An API key of one's own party; the reply is the only page that shows it."""
    _check_form(token, session_of(request))
    caller = caller_of(request)
    try:
        made = api_keys.make_key(request.app.state.workspace, caller, caller.party_id or "", days=days, label=label)
    except MalanError as error:
        return _account(request, error=error)
    return _account(request, new_key=made.text)


@router.post("/account/keys/{prefix}/end", include_in_schema=False)
def end_key(
    request: Request, prefix: Annotated[str, Path(pattern=r"^[0-9A-Za-z]{4,20}$")], token: Field = ""
) -> Response:
    """Let a key of one's own party open nothing any more."""
    _check_form(token, session_of(request))
    caller = caller_of(request)
    api_keys.end_key(request.app.state.workspace, caller, prefix, party=caller.party_id or "")
    return RedirectResponse("/account", status_code=303)


def _form(
    request: Request, target: str, *, login: str = "", ended: bool = False, error: MalanError | None = None
) -> Response:
    workspace, pages, lang = request.app.state.workspace, request.app.state.pages, language_of(request.scope)
    name = cookie_name(request, _FORM_COOKIE)
    secret = request.cookies.get(name, "") or secrets.token_urlsafe(32)
    failure = Failure.of(error, lang) if error else None
    reply: Response = pages.html(
        request,
        "signin.html",
        status=_status(error) if error else 200,
        failure=failure,
        login=login[:64],
        next=target,
        ended=ended,
        token=form_token(secret),
        by_provider=f"/sign-in/provider?{urlencode({'next': target})}" if oidc.is_configured(workspace) else "",
    )
    if isinstance(error, TooManyTries):
        reply.headers["retry-after"] = str(error.values["seconds"])
    _set(request, reply, name, secret, _FORM_AGE_S, "strict")
    return reply


def _account(request: Request, *, error: MalanError | None = None, new_key: str = "") -> Response:
    workspace, pages, lang = request.app.state.workspace, request.app.state.pages, language_of(request.scope)
    view = account_view.account_page(workspace, lang, caller_of(request))
    status = _status(error) if error else 200
    failure = Failure.of(error, lang) if error else None
    reply: Response = pages.html(request, "account.html", status=status, view=view, failure=failure, new_key=new_key)
    return reply


def _status(error: MalanError) -> int:
    return 429 if isinstance(error, TooManyTries) else status_of(error)


def _left(request: Request) -> Response:
    reply = RedirectResponse("/sign-in?ended=1", status_code=303)
    reply.delete_cookie(cookie_name(request), path="/", secure=_is_encrypted(request), httponly=True, samesite="lax")
    return reply


def _set(request: Request, reply: Response, name: str, value: str, age_s: int, site: str) -> None:
    reply.set_cookie(
        name,
        value,
        max_age=age_s,
        path="/",
        secure=_is_encrypted(request),
        httponly=True,
        samesite=site,  # type: ignore[arg-type]
    )


def _is_encrypted(request: Request) -> bool:
    return request.url.scheme == "https"


def _check_form(token: str, secret: str) -> None:
    if not is_form_token(token, secret):
        raise Rejected("access.stale_form")


def _inside(target: str, otherwise: str = "/") -> str:
    """An address of this console; anything else leads to its beginning."""
    is_fine = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_fine and target != "/" and "\\" not in target and len(target) < 2000 else otherwise
