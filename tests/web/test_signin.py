"""Signing in and out, one's own account: as forms send it, and as a person does it in real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from account_factory import CHEAP, PASSWORD, party
from browser import chromium
from console_client import TestClient
from console_factory import make_workspace, serving

from malan.services.access import NotSignedIn
from malan.services.accounts import page as account_view
from malan.services.accounts import passwords, sessions
from malan.services.accounts.api_keys import caller_of_key, list_keys
from malan.services.accounts.sessions import caller_of_session
from malan.web.app import create_app
from malan.web.built import FOLDER
from malan.workspace import Workspace

BASE = "http://127.0.0.1:8600"
PAGE = {"accept": "text/html", "accept-language": "en", "origin": BASE}


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords cost nothing here; what they cost otherwise is tested where they are made."""
    monkeypatch.setattr(sessions.sign_in, "__kwdefaults__", {**sessions.sign_in.__kwdefaults__, "cost": CHEAP})
    change = account_view.change_own_password
    monkeypatch.setattr(change, "__kwdefaults__", {**(change.__kwdefaults__ or {}), "cost": CHEAP})
    assert passwords.COST != CHEAP


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path)
    party(made, "王芳", "operator", login="wangfang")
    yield made
    made.database.dispose()


@pytest.fixture
def client(ws: Workspace) -> TestClient:
    return TestClient(create_app(ws), base_url=BASE, headers=PAGE, follow_redirects=False)


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


def sign_in(client: TestClient, login: str = "wangfang", password: str = PASSWORD, **said: str) -> Any:
    token = token_of(client.get("/sign-in").text)
    return client.post("/sign-in", data={"login": login, "password": password, "token": token, **said})


# The form


def test_a_page_asked_for_leads_to_the_form_and_from_there_to_the_page(client: TestClient) -> None:
    reply = client.get("/jobs?x=1&y=马")
    assert reply.status_code == 303
    assert reply.headers["location"] == "/sign-in?next=/jobs%3Fx%3D1%26y%3D%25E9%25A9%25AC"
    form = client.get(reply.headers["location"])
    asked = re.search(r'name="next" value="([^"]*)"', form.text)
    assert asked is not None
    done = sign_in(client, next=asked[1].replace("&amp;", "&"))
    assert (done.status_code, done.headers["location"]) == (303, "/jobs?x=1&y=%E9%A9%AC")


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "/\nx", "javascript:alert(1)"]
)
def test_signing_in_leads_nowhere_else(client: TestClient, target: str) -> None:
    assert sign_in(client, next=target).headers["location"] == "/"


def test_the_cookie_is_kept_from_scripts_and_other_sites(client: TestClient) -> None:
    cookie = next(c for c in sign_in(client).headers.get_list("set-cookie") if c.startswith("malan_session="))
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert "Secure" not in cookie


def test_over_tls_the_cookie_never_travels_in_clear_and_no_neighbour_can_set_it(ws: Workspace) -> None:
    client = TestClient(create_app(ws), base_url="https://127.0.0.1:8600", headers=PAGE, follow_redirects=False)
    client.headers["origin"] = "https://127.0.0.1:8600"
    reply = sign_in(client)
    cookie = next(c for c in reply.headers.get_list("set-cookie") if "malan_session=" in c)
    assert cookie.startswith("__Host-malan_session=")
    assert "Secure" in cookie.split("; ")
    assert reply.headers["strict-transport-security"]
    assert client.get("/account.json").json()["login"] == "wangfang"


def test_wrong_is_wrong_whatever_was_wrong(client: TestClient) -> None:
    pages = [sign_in(client, login, password) for login, password in (("wangfang", "x"), ("nobody", PASSWORD))]
    assert [page.status_code for page in pages] == [401, 401]
    shown = [re.sub(r'nonce[-="\w]+|value="[^"]*"', "", page.text) for page in pages]
    assert shown[0] == shown[1]
    assert "malan_session" not in str([page.headers for page in pages])


def test_guessing_is_put_off_with_the_time_to_wait(client: TestClient) -> None:
    for _ in range(5):
        assert sign_in(client, password="wrong").status_code == 401
    late = sign_in(client)
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) >= 1


def test_a_form_that_is_not_of_this_browser_signs_nobody_in(client: TestClient, ws: Workspace) -> None:
    other = TestClient(create_app(ws), base_url=BASE, headers=PAGE)
    for token in ("", "0" * 64, token_of(other.get("/sign-in").text)):
        client.get("/sign-in")
        reply = client.post("/sign-in", data={"login": "wangfang", "password": PASSWORD, "token": token})
        assert reply.status_code == 409
        assert "earlier visit" in reply.text


def test_a_page_of_another_site_signs_nobody_in(client: TestClient) -> None:
    token = token_of(client.get("/sign-in").text)
    data = {"login": "wangfang", "password": PASSWORD, "token": token}
    assert client.post("/sign-in", data=data, headers={"origin": "http://evil.example"}).status_code == 403


def test_a_session_somebody_planted_is_not_the_one_that_begins(client: TestClient, ws: Workspace) -> None:
    client.cookies.set("malan_session", "planted")
    sign_in(client)
    assert client.cookies.get("malan_session", domain="127.0.0.1") != "planted"
    assert caller_of_session(ws, "planted") is None


def test_words_typed_into_the_form_stay_text(client: TestClient) -> None:
    page = sign_in(client, login='"><script>alert(1)</script>').text
    assert "<script>alert" not in page


def test_a_field_too_long_is_refused_before_it_is_hashed(client: TestClient) -> None:
    assert sign_in(client, password="x" * 3000).status_code == 400
    assert sign_in(client, login="x" * 3000).status_code == 400


def test_a_piece_of_a_page_sends_the_browser_to_the_form(client: TestClient) -> None:
    reply = client.get("/search/results", headers={"hx-request": "true", "accept": "*/*"})
    assert (reply.status_code, reply.headers["hx-redirect"]) == (401, "/sign-in")


# Out again


def test_signing_out_ends_the_session_on_the_server(client: TestClient, ws: Workspace) -> None:
    sign_in(client)
    secret = client.cookies["malan_session"]
    assert client.post("/sign-out", data={"token": "0" * 64}).status_code == 409
    assert caller_of_session(ws, secret) is not None
    reply = client.post("/sign-out", data={"token": token_of(client.get("/account").text)})
    assert (reply.status_code, reply.headers["location"]) == (303, "/sign-in?ended=1")
    assert caller_of_session(ws, secret) is None
    assert client.post("/sign-out").status_code == 303  # again does no harm


def test_a_visit_by_link_signs_nobody_out(client: TestClient, ws: Workspace) -> None:
    sign_in(client)
    assert client.get("/sign-out").status_code in (404, 405)
    assert caller_of_session(ws, client.cookies["malan_session"]) is not None


def test_signing_out_everywhere_ends_the_other_browser_too(client: TestClient, ws: Workspace) -> None:
    other = TestClient(create_app(ws), base_url=BASE, headers=PAGE, follow_redirects=False)
    sign_in(client), sign_in(other)
    assert "In 2 browsers" in client.get("/account").text
    client.post("/account/sign-out-everywhere", data={"token": token_of(client.get("/account").text)})
    assert other.get("/account.json", headers={"accept": "application/json"}).status_code == 401


def test_the_password_is_changed_by_who_knows_it(client: TestClient, ws: Workspace) -> None:
    sign_in(client)
    new = {"new": "another quiet night", "again": "another quiet night"}
    token = token_of(client.get("/account").text)
    assert client.post("/account/password", data={"now": "wrong", **new, "token": token}).status_code == 401
    assert client.post("/account/password", data={"now": PASSWORD, **new, "token": "x"}).status_code == 409
    weak = {"now": PASSWORD, "new": "short", "again": "short", "token": token}
    assert "12 to 256 characters" in client.post("/account/password", data=weak).text
    done = client.post("/account/password", data={"now": PASSWORD, **new, "token": token})
    assert (done.status_code, done.headers["location"]) == (303, "/sign-in?ended=1")
    with pytest.raises(NotSignedIn):
        sessions.sign_in(ws, "wangfang", PASSWORD)
    assert sign_in(client, password="another quiet night").status_code == 303


def test_a_key_is_made_shown_once_and_ended(client: TestClient, ws: Workspace) -> None:
    sign_in(client)
    token = token_of(client.get("/account").text)
    page = client.post("/account/keys", data={"label": "nightly <b>", "days": "7", "token": token}).text
    key = re.search(r"mk_\w{10}_[\w-]{43}", page)
    assert key is not None
    assert caller_of_key(ws, key[0]).name == "王芳"
    again = client.get("/account").text
    assert key[0] not in again
    assert "<b>" not in again.split("key-list", 1)[1]
    [kept] = list_keys(ws, caller_of_key(ws, key[0]), "王芳")
    client.post(f"/account/keys/{kept.prefix}/end", data={"token": token})
    with pytest.raises(NotSignedIn):
        caller_of_key(ws, key[0])


def test_a_key_does_not_make_keys_or_change_the_password(client: TestClient, ws: Workspace) -> None:
    sign_in(client)
    token = token_of(client.get("/account").text)
    page = client.post("/account/keys", data={"label": "x", "token": token}).text
    key = re.search(r"mk_\w{10}_[\w-]{43}", page)
    assert key is not None
    program = TestClient(create_app(ws), base_url=BASE, headers={"authorization": f"Bearer {key[0]}"})
    for path in ("/account/keys", "/account/password", "/account/sign-out-everywhere"):
        assert program.post(path, data={"token": token}).status_code == 409, path


# In the browser


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """A console with a film of an owner who may sign in, and a browser."""
    ws, _, _ = make_workspace(tmp_path_factory.mktemp("signin"))
    party(ws, "湖南台", "owner", login="hntv")
    with serving(ws) as url, chromium() as browser:
        yield url, browser
    ws.database.dispose()


@pytest.mark.skipif(not (FOLDER / "manifest.json").is_file(), reason="the console is not built (make frontend)")
@pytest.mark.parametrize(
    ("locale", "words"), [("zh-CN", ("登录马栏", "已登录")), ("en", ("Sign in to Malan", "Signed"))]
)
def test_a_person_signs_in_sees_what_is_theirs_and_signs_out(
    console: tuple[str, Any], locale: str, words: tuple[str, str]
) -> None:
    url, browser = console
    context = browser.new_context(locale=locale, viewport={"width": 1280, "height": 860})
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: said.type in ("error", "warning") and problems.append(said.text))
    page.goto(f"{url}/assets")
    assert page.locator("h1").inner_text() == words[0]
    assert page.evaluate("document.activeElement.id") == "login"
    page.keyboard.type("hntv")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/assets")
    assert page.locator(".shelf li").count() == 1
    assert words[1] in page.locator(".foot").inner_text()
    links = [one.get_attribute("href") for one in page.locator(".nav a").all()]
    assert not {"/jobs", "/log"} & set(links)
    page.locator(".shelf a").click()
    page.wait_for_function("() => document.querySelector('malan-player video')?.readyState >= 2")
    assert page.evaluate("document.cookie").find("malan_session") == -1
    page.locator("[action='/sign-out'] button").click()
    page.wait_for_url(f"{url}/sign-in?ended=1")
    page.go_back()
    page.wait_for_url(re.compile("next="))  # what was shown is not shown again
    assert problems == []
    context.close()
