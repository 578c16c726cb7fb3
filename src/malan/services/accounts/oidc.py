"""Sign-in by another identity provider: OpenID Connect, authorization code with PKCE, one provider a workspace.

    begin_sign_in ─▶ provider ─ code ─▶ finish_sign_in ─ token, keys ─▶ checked ─▶ a login given here ─▶ session

Nobody is admitted by a provider: it only says who is there, and an operator has given that somebody a login before. The
first time, login and the provider's own number for the person are tied together for good, so a name that is given to
somebody else later opens nothing. Settings: `oidc_…` in `malan.toml`. Start at `begin_sign_in`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    select,
)

from malan.core.errors import MalanError, NotFound, ProofError, RetryLater, UsageError
from malan.ledger.post import ask
from malan.runtime.database import add_new, ensure_tables, reading, writing
from malan.services.access import NotSignedIn
from malan.services.accounts.oidc_token import Expected, check_id_token
from malan.services.accounts.parties import plain_login
from malan.services.accounts.sessions import SignedIn, sign_in_as

if TYPE_CHECKING:
    from malan.workspace import Workspace

CLAIMS = ("email", "sub", "preferred_username")
PATIENCE_S = 600.0
_MOST_WAITING = 2_000
_MOST_BYTES = 256 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SCOPES = {"email": "openid email", "preferred_username": "openid profile", "sub": "openid"}

_metadata = MetaData()
_waiting = Table(
    "oidc_waiting",
    _metadata,
    Column("id", String, primary_key=True),  # SHA-256 of the state
    Column("browser", String, nullable=False),  # SHA-256 of the secret in the cookie
    Column("nonce", String, nullable=False),
    Column("verifier", String, nullable=False),
    Column("back", String, nullable=False),  # the address the provider sends the browser to
    Column("next", String, nullable=False),
    Column("ends_s", Float, nullable=False),
)
_identities = Table(
    "oidc_identities",
    _metadata,
    Column("issuer", String, primary_key=True),
    Column("subject", String, primary_key=True),
    Column("login", String, nullable=False),
    Column("made_s", Float, nullable=False),
    UniqueConstraint("issuer", "login"),
)
_log = logging.getLogger("malan.access")


@dataclass(frozen=True)
class Provider:
    """Where a provider is, as it says itself."""

    issuer: str
    authorize: str
    token: str
    keys: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in on its way: where the browser goes, and the secret that ties the answer to this browser."""

    address: str
    browser: str


def is_configured(ws: Workspace) -> bool:
    """Whether one can sign in by another provider here."""
    return bool(ws.settings.oidc_issuer and ws.settings.oidc_client_id)


def begin_sign_in(ws: Workspace, back: str, next_page: str = "/", *, now_s: float | None = None) -> Begun:
    """Lead a browser to the provider.

    Args:
        ws: Where somebody signs in.
        back: The address of ours that the provider sends the browser back to; registered there.
        next_page: The page that was asked for.
        now_s: The time, in seconds since 1970.

    Raises:
        NotFound: No provider is set.
        UsageError: Its address is not https.
        RetryLater, ProofError: It does not answer, or says something else than it must.
    """
    now, provider = time.time() if now_s is None else now_s, read_provider(ws)
    state, browser, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(4))
    row = {"id": _digest(state), "browser": _digest(browser), "nonce": nonce, "verifier": verifier, "back": back}
    with writing(_engine(ws)) as connection:
        connection.execute(delete(_waiting).where(_waiting.c.ends_s < now))
        if (connection.scalar(select(func.count()).select_from(_waiting)) or 0) >= _MOST_WAITING:
            raise RetryLater("oidc.busy")
        connection.execute(_waiting.insert().values(**row, next=next_page, ends_s=now + PATIENCE_S))
    said = {
        "response_type": "code",
        "client_id": ws.settings.oidc_client_id,
        "redirect_uri": back,
        "scope": _SCOPES[_claim(ws)],
        "state": state,
        "nonce": nonce,
        "code_challenge": _challenge(verifier),
        "code_challenge_method": "S256",
    }
    mark = "&" if "?" in provider.authorize else "?"
    return Begun(f"{provider.authorize}{mark}{urlencode(said)}", browser)


def finish_sign_in(
    ws: Workspace, said: Mapping[str, str], browser: str, *, former: str = "", now_s: float | None = None
) -> tuple[SignedIn, str]:
    """Begin a session for whoever the provider says is there; and the page that was asked for.

    Args:
        ws: Where.
        said: What came back in the address: `code`, `state`, perhaps `iss`, or `error`.
        browser: The secret from the cookie.
        former: The session the browser had, which ends.
        now_s: The time, in seconds since 1970.

    Raises:
        NotSignedIn: The answer belongs to no sign-in of this browser, the provider refused, its token is not good, or
            nobody here has the login it names: to the outside all the same.
        RetryLater: The provider does not answer.
    """
    now = time.time() if now_s is None else now_s
    row = _taken(ws, said.get("state", ""), browser, now)
    try:
        provider = read_provider(ws)
        if said.get("iss", provider.issuer) != provider.issuer or not said.get("code"):
            raise ProofError("oidc.bad_token", detail=said.get("error", "iss")[:60])
        token = _redeemed(ws, provider, said["code"], row)
        expected = Expected(provider.issuer, ws.settings.oidc_client_id, row["nonce"])
        claims = check_id_token(token, _keys(provider), expected, now)
        return sign_in_as(ws, _login_of(ws, provider, claims, now), former=former, now_s=now), row["next"]
    except RetryLater:
        raise
    except MalanError as error:
        _log.warning("sign-in by the provider refused: %s", error)
        raise NotSignedIn("oidc.refused") from error


def read_provider(ws: Workspace) -> Provider:
    """What the provider says of itself (OpenID Connect Discovery 1.0), every address checked.

    Raises:
        NotFound, UsageError, RetryLater, ProofError: See `begin_sign_in`.
    """
    if not is_configured(ws):
        raise NotFound("oidc.none")
    issuer = ws.settings.oidc_issuer
    _check_address(issuer, issuer)
    said = _fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if said.get("issuer") != issuer:
        raise ProofError("oidc.bad_provider", detail="issuer")
    found = [str(said.get(name, "")) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
    for address in found:
        _check_address(address, issuer)
    return Provider(issuer, *found)


def _redeemed(ws: Workspace, provider: Provider, code: str, row: Mapping[str, Any]) -> str:
    """The ID token behind a code (RFC 6749, §4.1.3; RFC 7636, §4.5)."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": row["back"]}
    form |= {"code_verifier": row["verifier"], "client_id": ws.settings.oidc_client_id}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if secret := ws.settings.oidc_client_secret:
        pair = f"{quote(ws.settings.oidc_client_id, safe='')}:{quote(secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    said = _fetched(provider.token, urlencode(form).encode(), headers)
    token = said.get("id_token")
    if not isinstance(token, str):
        raise ProofError("oidc.bad_provider", detail="id_token")
    return token


def _keys(provider: Provider) -> list[Any]:
    keys = _fetched(provider.keys).get("keys")
    return keys if isinstance(keys, list) else []


def _login_of(ws: Workspace, provider: Provider, claims: Mapping[str, Any], now: float) -> str:
    """The login whoever is there was given here; the person's number at the provider is tied to it the first time."""
    name, subject = _claim(ws), str(claims["sub"])
    said = claims.get(name)
    if not isinstance(said, str) or (name == "email" and claims.get("email_verified") is not True):
        raise ProofError("oidc.bad_token", detail=name)
    login = plain_login(said)
    with writing(_engine(ws)) as connection:
        tied = _tied(connection, provider.issuer, subject)
        if tied is None and login and _is_login(ws, login):
            row = {"issuer": provider.issuer, "subject": subject, "login": login, "made_s": now}
            tied = login if add_new(connection, _identities, row) else None
    if tied is None:
        raise ProofError("oidc.bad_token", detail="login")
    return tied


def _tied(connection: Connection, issuer: str, subject: str) -> str | None:
    mine = (_identities.c.issuer == issuer, _identities.c.subject == subject)
    return connection.scalar(select(_identities.c.login).where(*mine))


def _is_login(ws: Workspace, login: str) -> bool:
    from malan.services.accounts.tables import accounts, engine_of

    with reading(engine_of(ws)) as connection:
        return connection.scalar(select(accounts.c.login).where(accounts.c.login == login)) is not None


def _taken(ws: Workspace, state: str, browser: str, now: float) -> dict[str, Any]:
    """The sign-in an answer belongs to; taken out, so that it is answered once."""
    with writing(_engine(ws)) as connection:
        mine = _waiting.c.id == _digest(state)
        row = connection.execute(select(_waiting).where(mine).with_for_update()).mappings().one_or_none()
        gone = connection.execute(delete(_waiting).where(mine)).rowcount
    is_ours = row is not None and hmac.compare_digest(row["browser"], _digest(browser)) and now < row["ends_s"]
    if row is None or not is_ours or not gone or not browser:
        raise NotSignedIn("oidc.refused")
    return dict(row)


def _fetched(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    method = "GET" if body is None else "POST"
    reply = ask(method, url, body, headers=headers or {"Accept": "application/json"}, most_bytes=_MOST_BYTES)
    if reply.status >= 500:
        raise RetryLater("oidc.busy")
    try:
        said = json.loads(reply.body) if reply.status == 200 else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ProofError("oidc.bad_provider", detail=f"HTTP {reply.status}")
    return said


def _check_address(address: str, issuer: str) -> None:
    """https, or http on this machine where the issuer is there too.

    Raises:
        UsageError: It is neither.
    """
    try:
        parts, home = urlsplit(address), urlsplit(issuer)
        is_here = parts.hostname in _LOOPBACK and home.hostname in _LOOPBACK
        is_fine = parts.scheme == "https" or (parts.scheme == "http" and is_here)
    except ValueError:
        is_fine = False
    if not is_fine or not parts.hostname or parts.username is not None or parts.fragment or not address.isprintable():
        raise UsageError("oidc.address", address=address[:200])


def _claim(ws: Workspace) -> str:
    name = ws.settings.oidc_claim
    if name not in CLAIMS:
        raise UsageError("oidc.claim", claim=name[:40], known=", ".join(CLAIMS))
    return name


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _engine(ws: Workspace) -> Engine:
    ensure_tables(ws.database, _metadata)
    return ws.database
