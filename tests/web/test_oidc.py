"""Sign-in by another identity provider opens a session for one who has a login here, and for nobody else."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from account_factory import party
from console_client import TestClient
from identity_provider import CLIENT, SECRET, Provider, b64, identity_provider, public_keys, token

from malan.core.errors import ProofError, UsageError
from malan.services.access import COMMAND_LINE
from malan.services.accounts import oidc
from malan.services.accounts.oidc_token import Expected, check_id_token
from malan.services.accounts.parties import end_login, set_disabled
from malan.web.app import create_app
from malan.workspace import Workspace

BASE, LOGIN = "http://127.0.0.1:8600", "wang@station.example"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with identity_provider() as running:
        yield running


@pytest.fixture
def ws(tmp_path: Path, provider: Provider) -> Iterator[Workspace]:
    yield from opened(tmp_path, provider)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Provider]]:
    """A workspace and a provider that many sign-ins go to, none of which may come in."""
    with identity_provider() as running:
        for made in opened(tmp_path_factory.mktemp("oidc"), running):
            yield made, running


def opened(folder: Path, provider: Provider) -> Iterator[Workspace]:
    """A workspace with a login, whose settings name the provider."""
    (folder / "ws").mkdir()
    said = {"oidc_issuer": provider.url, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET}
    (folder / "ws" / "malan.toml").write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items())
    )
    made = Workspace.create(folder / "ws")
    party(made, "王芳", "operator", login=LOGIN)
    yield made
    made.database.dispose()


def browser(ws: Workspace) -> TestClient:
    return TestClient(create_app(ws), base_url=BASE, follow_redirects=False)


def leave(client: TestClient, next_page: str = "/jobs") -> str:
    """The address at the provider that the browser is led to."""
    reply = client.get(f"/sign-in/provider?next={next_page}")
    assert reply.status_code == 303, reply.text
    return str(reply.headers["location"])


def came_back(client: TestClient, address: str) -> Any:
    return client.get(address.removeprefix(BASE), headers={"accept": "text/html", "sec-fetch-site": "cross-site"})


def is_signed_in(client: TestClient) -> bool:
    return client.get("/account.json").status_code == 200


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256", "ES256"])
def test_who_has_a_login_here_comes_in_by_the_provider(ws: Workspace, provider: Provider, algorithm: str) -> None:
    provider.algorithm = algorithm
    client = browser(ws)
    assert "/sign-in/provider" in client.get("/sign-in", headers={"accept": "text/html"}).text
    address = leave(client)
    said = {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}
    assert (said["response_type"], said["code_challenge_method"]) == ("code", "S256")
    assert SECRET not in address
    reply = came_back(client, provider.authorize(address))
    assert (reply.status_code, reply.headers["location"]) == (303, "/jobs")
    assert client.get("/account.json").json()["login"] == LOGIN
    assert provider.asked[0]["code_verifier"] not in address


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "another nonce": ("nonce", {"claims": {"nonce": "x"}}),
    "no nonce": ("nonce", {"claims": {"nonce": None}}),
    "for another": ("aud", {"claims": {"aud": "somebody"}}),
    "for several": ("aud", {"claims": {"aud": [CLIENT, "b"]}}),
    "party to another": ("azp", {"claims": {"azp": "somebody"}}),
    "from another": ("iss", {"claims": {"iss": "https://evil.example"}}),
    "over": ("exp", {"claims": {"exp": 1}}),
    "without an end": ("exp", {"claims": {"exp": None}}),
    "dated ahead": ("exp", {"claims": {"iat": int(time.time()) + 3600}}),
    "an end that is a text": ("exp", {"claims": {"exp": "9999999999"}}),
    "without a number": ("sub", {"claims": {"sub": None}}),
    "an address nobody verified": ("email", {"person": {"sub": "u", "email": LOGIN}}),
    "verified in words": ("email", {"person": {"sub": "u", "email": LOGIN, "email_verified": "true"}}),
    "nobody of here": ("login", {"person": {"sub": "u", "email": "eve@evil.example", "email_verified": True}}),
    "another spelling of a key": ("signature", {"header": {"kid": "other"}}),
    "what must be understood": ("alg", {"header": {"crit": ["x"]}}),
    "not signed": ("alg", {"spoil": lambda text: ".".join([b64(b'{"alg":"none"}'), text.split(".")[1], ""])}),
    "signed by a shared secret": (
        "alg",
        {"spoil": lambda text: ".".join([b64(b'{"alg":"HS256"}'), *text.split(".")[1:]])},
    ),
    "changed": (
        "signature",
        {"spoil": lambda text: ".".join([text.split(".")[0], _other(text.split(".")[1]), text.split(".")[2]])},
    ),
    "cut": ("signature", {"spoil": lambda text: text[:-8]}),
    "no token": ("form", {"spoil": lambda _text: ""}),
    "endless": ("form", {"spoil": lambda text: text + "A" * 100_000}),
    "keys elsewhere, unencrypted": ("192.0.2.1", {"discovery": {"jwks_uri": "http://192.0.2.1/keys"}}),
    "another issuer in discovery": ("issuer", {"discovery": {"issuer": "https://evil.example"}}),
}


def _other(part: str) -> str:
    said = json.loads(base64.urlsafe_b64decode(part + "=="))
    return b64(json.dumps({**said, "email": LOGIN, "sub": "u-2"}).encode())


@pytest.mark.parametrize("name", WRONG)
def test_whatever_is_wrong_about_the_answer_opens_nothing(
    standing: tuple[Workspace, Provider], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    ws, provider = standing
    client = browser(ws)
    address = leave(client)
    why, changes = WRONG[name]
    for field, value in changes.items():
        monkeypatch.setattr(provider, field, value)
    reply = came_back(client, provider.authorize(address))
    assert reply.status_code == 401
    assert f" {why}" in caplog.text or f"/{why}" in caplog.text
    assert LOGIN not in reply.text
    assert not is_signed_in(client)


def test_an_answer_is_good_once_for_one_browser_and_not_for_long(
    ws: Workspace, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = browser(ws), browser(ws)
    back = provider.authorize(leave(mine))
    leave(other)
    assert came_back(other, back).status_code == 401  # somebody else's answer, as in a forged link
    assert came_back(mine, back).status_code == 401  # and it is used up by that
    back = provider.authorize(leave(mine))
    assert came_back(mine, back.replace("state=", "state=x")).status_code == 401
    assert came_back(mine, provider.authorize(leave(mine))).status_code == 303
    late = browser(ws)
    back = provider.authorize(leave(late))
    now = time.time()
    monkeypatch.setattr("malan.services.accounts.oidc.time.time", lambda: now + 700)
    assert came_back(late, back).status_code == 401
    for said in ("", "?error=access_denied", "?code=x&state=y", f"?code={'x' * 3000}&state=y"):
        assert came_back(browser(ws), f"{BASE}/sign-in/back{said}").status_code == 401


def test_an_answer_that_names_another_issuer_is_refused_unasked(ws: Workspace, provider: Provider) -> None:
    client = browser(ws)
    back = provider.authorize(leave(client)).replace("127.0.0.1%3A", "127.0.0.2%3A")
    assert came_back(client, back).status_code == 401
    assert provider.asked == []


def test_a_name_that_is_given_to_somebody_else_later_opens_nothing(ws: Workspace, provider: Provider) -> None:
    first = browser(ws)
    assert came_back(first, provider.authorize(leave(first))).status_code == 303
    provider.person = {**provider.person, "sub": "u-9"}
    second = browser(ws)
    assert came_back(second, provider.authorize(leave(second))).status_code == 401
    provider.person = {"sub": "u-1", "email": "new@station.example", "email_verified": True}
    third = browser(ws)
    assert came_back(third, provider.authorize(leave(third))).status_code == 303  # the same person, renamed there


@pytest.mark.parametrize("shut", ["ended", "disabled"])
def test_who_was_shut_out_here_stays_out(ws: Workspace, provider: Provider, shut: str) -> None:
    if shut == "ended":
        end_login(ws, COMMAND_LINE, LOGIN)
    else:
        set_disabled(ws, COMMAND_LINE, "王芳", is_disabled=True)
    client = browser(ws)
    assert came_back(client, provider.authorize(leave(client))).status_code == 401


def test_nobody_is_led_away_from_the_console_afterwards(ws: Workspace, provider: Provider) -> None:
    client = browser(ws)
    back = provider.authorize(leave(client, "https://evil.example/"))
    assert came_back(client, back).headers["location"] == "/"


def test_a_provider_that_is_not_there_or_not_https_is_said(ws: Workspace, tmp_path: Path) -> None:
    for issuer in ("http://id.example.org", "ftp://127.0.0.1", "https://u@id.example.org", "id.example.org"):
        ws.settings = replace(ws.settings, oidc_issuer=issuer)
        with pytest.raises(UsageError):
            oidc.begin_sign_in(ws, f"{BASE}/sign-in/back")
    ws.settings = replace(ws.settings, oidc_issuer="")
    client = browser(ws)
    assert "/sign-in/provider" not in client.get("/sign-in", headers={"accept": "text/html"}).text
    assert client.get("/sign-in/provider").status_code == 404


def test_neither_database_nor_settings_show_what_opens_a_session(ws: Workspace, provider: Provider) -> None:
    client = browser(ws)
    address = leave(client)
    state, held = parse_qs(urlsplit(address).query)["state"][0], client.cookies["malan_oidc"]
    kept = b"".join(path.read_bytes() for path in ws.root.glob("malan.db*"))
    assert state.encode() not in kept
    assert held.encode() not in kept
    assert SECRET not in repr(ws.settings)


def test_a_weak_or_odd_key_is_no_key() -> None:
    expected = Expected("i", "c", "n")
    claims = {"iss": "i", "aud": "c", "nonce": "n", "exp": 2e9, "iat": 1.99e9, "sub": "s"}
    good = token(claims, "RS256")
    (rsa, _, _) = public_keys()
    assert check_id_token(good, [rsa], expected, 1.99e9)["sub"] == "s"
    for wrong in (
        {"e": "Aw"},
        {"n": rsa["n"][:100]},
        {"kty": "oct", "k": "x"},
        {"use": "enc"},
        {"alg": "PS256"},
        {"n": 3},
    ):
        with pytest.raises(ProofError):
            check_id_token(good, [{**rsa, **wrong}], expected, 1.99e9)
    for keys in ([], ["x"], [None], [{}] * 500):
        with pytest.raises(ProofError):
            check_id_token(good, keys, expected, 1.99e9)
