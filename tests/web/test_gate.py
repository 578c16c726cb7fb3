"""No address answers without a party that may: every route there is, for nobody and for each role."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from account_factory import CHEAP, PASSWORD, party
from console_client import TestClient
from console_factory import Shown, make_workspace, register
from fastapi import APIRouter
from media_factory import draw_film

from malan.core import Terms
from malan.rights.terms import party_id
from malan.services.access import ACTIONS, COMMAND_LINE, ROLES
from malan.services.accounts import sessions
from malan.services.accounts.api_keys import make_key
from malan.services.accounts.parties import set_disabled, set_roles
from malan.services.footage.owners import remember_terms
from malan.services.footage.withdrawal import withdraw_asset
from malan.web.app import create_app, routes_of
from malan.web.rules import PUBLIC, RULES
from malan.workspace import Workspace

BASE = "http://127.0.0.1:8600"
ORIGIN = {"origin": BASE}


@dataclass(frozen=True)
class House:
    """A workspace with a party of every role; `mine` is the owner's film, `theirs` another's, and `sold` may be looked
    at by the buyer alone."""

    ws: Workspace
    mine: Shown
    theirs: Shown
    sold: Shown

    def client(self, role: str = "", **said: Any) -> TestClient:
        client = TestClient(create_app(self.ws), base_url=BASE, **said)
        if role:
            token = sessions.sign_in(self.ws, role, PASSWORD, cost=CHEAP).token
            client.cookies.set("malan_session", token)
        return client


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("gate")
    ws, mine, theirs = make_workspace(folder)
    for role in ROLES:
        name = "湖南台" if role == "owner" else f"The {role}"
        party(ws, name, role, login=role)
    film = draw_film(folder / "sold.mp4", (30, 25, 35, 45), size=(320, 180), seed=7)
    sold = register(ws, film, owner="Alps Archive", uses=("retrieve", "export"))
    _put_under(ws, sold, Terms(party_id("Alps Archive"), "sold", ("retrieve",), recipients=(party_id("The buyer"),)))
    yield House(ws, mine, theirs, sold)
    ws.database.dispose()


def _put_under(ws: Workspace, shown: Shown, terms: Terms) -> None:
    from dataclasses import replace

    row = ws.library.asset(shown.asset_id)
    asset = replace(row.asset, terms_id=remember_terms(ws, terms))
    ws.library.put_assets([replace(row, asset=asset, locations=())])


def _routes(ws: Workspace) -> list[str]:
    """`GET /assets/{asset_id}` for every route of the console."""
    found = []
    for route in routes_of(create_app(ws)):
        methods = getattr(route, "methods", None) or {"GET"}
        found += [f"{method} {getattr(route, 'path', '?')}" for method in methods if method != "HEAD"]
    return sorted(found)


def _address(rule: str, shown: Shown) -> tuple[str, str]:
    method, _, path = rule.partition(" ")
    given = {
        "asset_id": shown.asset_id, "clip_id": shown.clips[0].id, "job_id": "abcdef123456", "lang": "en",
        "prefix": "abcdefghij", "product_id": "0" * 64, "number": "0" * 16, "action": "sign", "name": "promo",
            "digest": "0" * 64, "finding": "0" * 20, "word": "approve", "run": "0" * 64, "step": "cancel",
            "model": "0" * 64, "mark": "recall", "party": "0" * 64, "statement": "0" * 64, "index": "0",
            "change": "end",
    }  # fmt: skip
    return method, path.format_map(given).replace("/static", "/static/icon.svg")


# The table


def test_every_route_has_a_rule_and_every_rule_a_route(house: House) -> None:
    assert set(_routes(house.ws)) == set(RULES)


def test_every_rule_is_an_action_of_the_table_or_open_to_all() -> None:
    assert {rule for rule in RULES.values() if rule != PUBLIC} <= set(ACTIONS)


def test_what_is_open_to_all_is_written_down_here_too() -> None:
    assert sorted(address for address, rule in RULES.items() if rule == PUBLIC) == [
        "GET /healthz",
        "GET /readyz",
        "GET /sign-in",
        "GET /sign-in/back",
        "GET /sign-in/provider",
        "GET /static",
        "POST /language/{lang}",
        "POST /sign-in",
        "POST /sign-out",
    ]


def test_a_route_without_a_rule_answers_nobody(house: House) -> None:
    app = create_app(house.ws)
    app.add_api_route("/forgotten", lambda: {"secret": 1})
    more = APIRouter()
    more.add_api_route("/below/forgotten", lambda: {"secret": 1})
    app.include_router(more)
    client = TestClient(app, base_url=BASE)
    assert client.get("/forgotten").status_code == 401
    client.cookies.set("malan_session", sessions.sign_in(house.ws, "operator", PASSWORD, cost=CHEAP).token)
    for path in ("/forgotten", "/below/forgotten"):
        reply = client.get(path)
        assert reply.status_code in (403, 404), path
        assert "secret" not in reply.text


# Nobody, and each role


@pytest.mark.parametrize("rule", sorted(RULES))
def test_nobody_gets_in(house: House, rule: str) -> None:
    method, address = _address(rule, house.mine)
    reply = house.client().request(method, address, headers=ORIGIN, follow_redirects=False)
    if RULES[rule] == PUBLIC:
        assert reply.status_code != 401 or rule in ("POST /sign-in", "GET /sign-in/back")
        return
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "access.sign_in")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert house.mine.asset_id not in reply.text


@pytest.mark.parametrize("role", ROLES)
def test_each_role_comes_as_far_as_its_actions(house: House, role: str) -> None:
    client = house.client(role)
    for rule, action in RULES.items():
        if action == PUBLIC or rule == "GET /jobs/events":
            continue
        method, address = _address(rule, house.mine)
        reply = client.request(method, address, headers=ORIGIN, follow_redirects=False)
        may = action == "own.account" or role in ACTIONS[action]
        code = reply.json()["error"]["code"] if reply.status_code == 403 else ""
        assert (code != "access.denied") == may, (role, rule, reply.status_code, code)
        assert reply.status_code != 401, rule
        if may:
            assert reply.status_code < 500, (rule, reply.text)


def test_a_party_without_a_role_sees_its_account_and_nothing_else(house: House) -> None:
    party(house.ws, "Nobody Yet", login="nobody")
    client = house.client("nobody")
    assert client.get("/account.json").json()["roles"] == []
    for path in ("/", "/assets.json", "/jobs.json", "/log.json", f"/media/{house.mine.asset_id}"):
        assert client.get(path).status_code == 403, path


# What each sees


def _found(client: TestClient) -> set[str]:
    return {card["asset_id"] for card in client.get("/search.json").json()["cards"]}


def test_an_owner_finds_its_own_footage_and_no_other(house: House) -> None:
    client = house.client("owner")
    assert _found(client) == {house.mine.asset_id}
    assert [one["id"] for one in client.get("/assets.json").json()["assets"]] == [house.mine.asset_id]
    assert client.get("/assets.json").json()["total"] == 1
    counted = client.get("/search.json?q=云海").json()
    assert (counted["library_clips"], counted["library_assets"]) == (len(house.mine.clips), 1)


def test_a_buyer_finds_what_terms_allow_it_and_others_do_not_find_what_was_sold(house: House) -> None:
    assert _found(house.client("buyer")) == {house.mine.asset_id, house.theirs.asset_id, house.sold.asset_id}
    for role in ("annotator", "reviewer", "operator"):
        assert _found(house.client(role)) == {house.mine.asset_id, house.theirs.asset_id}


@pytest.mark.parametrize(("role", "hidden"), [("owner", "theirs"), ("owner", "sold"), ("annotator", "sold")])
def test_what_may_not_be_seen_is_as_if_it_were_not_there(house: House, role: str, hidden: str) -> None:
    client, shown, nothing = house.client(role), getattr(house, hidden), "0" * 64
    for path in (
        "/assets/{asset}.json", "/assets/{asset}/frames", "/assets/{asset}/peaks", "/assets/{asset}/proxy.json",
        "/media/{asset}", "/proxies/{asset}.mp4", "/strips/{clip}.jpg", "/thumbs/{clip}.jpg",
        "/search.json?like={clip}",
    ):  # fmt: skip
        real = client.get(path.format(asset=shown.asset_id, clip=shown.clips[0].id))
        made_up = client.get(path.format(asset=nothing, clip=nothing))
        assert (real.status_code, made_up.status_code) == (404, 404), path
        assert real.json()["error"]["code"] == made_up.json()["error"]["code"], path
    for path in ("/clips/list", "/clips/export"):
        for clip_id in (shown.clips[0].id, nothing):
            reply = client.post(path, json={"clip_ids": [clip_id]}, headers=ORIGIN)
            assert (reply.status_code, reply.json()["error"]["code"]) in (
                (404, "store.clip_unknown"),
                (403, "access.denied"),
            )


def test_the_beginning_of_an_id_tells_others_nothing(house: House) -> None:
    assert house.client("operator").get(f"/assets/{house.theirs.asset_id[:12]}.json").status_code == 200
    for role in ("owner", "buyer"):
        assert house.client(role).get(f"/assets/{house.mine.asset_id[:12]}.json").status_code == 404


def test_folders_of_the_machine_are_told_to_operators_only(house: House) -> None:
    folder = str(house.mine.film.path.parent)
    path = f"/assets/{house.mine.asset_id}.json"
    assert folder in house.client("operator").get(path).text
    for role in ("owner", "buyer"):
        assert folder not in house.client(role).get(path).text


def test_the_filters_offer_owners_of_whom_something_may_be_seen(house: House) -> None:
    page = house.client("owner").get("/", headers={"accept": "text/html"}).text
    assert "Alps Archive" not in page


def test_an_owner_looks_at_its_own_footage_also_when_nobody_else_may_and_not_after_it_is_taken_back(
    tmp_path: Path,
) -> None:
    ws, mine, _ = make_workspace(tmp_path)
    found = party(ws, "湖南台", "owner", login="owner")
    own = House(ws, mine, mine, mine)
    _put_under(ws, mine, Terms(found.id, "nothing yet", ()))
    client = own.client("owner")
    assert client.get(f"/media/{mine.asset_id}").status_code == 200
    refused = client.post("/clips/export", json={"clip_ids": [mine.clips[0].id]}, headers=ORIGIN)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "rights.denied")
    withdraw_asset(ws, mine.asset_id, "taken back", caller=COMMAND_LINE)
    assert client.get(f"/media/{mine.asset_id}").status_code == 404
    assert _found(client) == set()
    ws.database.dispose()


def test_nobody_but_an_operator_has_files_written_on_this_machine(house: House) -> None:
    chosen = {"clip_ids": [house.mine.clips[0].id]}
    before = set((house.ws.root).rglob("*"))
    for role in ("owner", "buyer"):
        refused = house.client(role).post("/clips/export", json=chosen, headers=ORIGIN)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "choice.not_here")
    assert not {path for path in set(house.ws.root.rglob("*")) - before if "exports" in path.parts}


# Keys, cookies, single-user mode


def test_a_program_calls_with_a_key_and_a_wrong_key_is_not_helped_by_a_cookie(house: House) -> None:
    key = make_key(house.ws, COMMAND_LINE, "The buyer").text
    client = house.client()
    assert client.get("/search.json", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/jobs.json", headers={"authorization": f"Bearer {key}"}).status_code == 403
    signed_in = house.client("operator")
    for said in ("Bearer mk_x_y", "Bearer", "Basic b3BlcmF0b3I6eA==", f"Basic {key}", f"Bearer {key}x", ""):
        reply = signed_in.get("/search.json", headers={"authorization": said})
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "access.bad_key"), said


def test_a_change_by_cookie_must_say_which_page_it_comes_from(house: House) -> None:
    client, body = house.client("buyer"), {"clip_ids": [house.mine.clips[0].id]}
    assert client.post("/clips/list", json=body).json()["error"]["code"] == "web.origin"
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert client.post("/clips/list", json=body, headers=headers).status_code == 403
    for headers in (ORIGIN, {"sec-fetch-site": "same-origin"}):
        assert client.post("/clips/list", json=body, headers=headers).status_code == 200


def test_what_was_shown_to_one_is_kept_apart_from_the_next(house: House) -> None:
    reply = house.client("buyer").get(f"/thumbs/{house.mine.clips[0].id}.jpg")
    assert "cookie" in reply.headers["vary"]


def test_roles_and_doors_change_at_the_next_request(house: House) -> None:
    party(house.ws, "Late Joiner", "buyer", login="late")
    client = house.client("late")
    assert client.get("/log.json").status_code == 403
    set_roles(house.ws, COMMAND_LINE, "Late Joiner", add=["auditor"], remove=["buyer"])
    assert client.get("/log.json").status_code == 200
    assert client.get("/search.json").status_code == 403
    set_disabled(house.ws, COMMAND_LINE, "Late Joiner", is_disabled=True)
    assert client.get("/log.json").status_code == 401


def test_whoever_is_at_this_machine_is_the_operator_until_the_first_account(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path)
    client = TestClient(create_app(ws), base_url=BASE)
    assert client.get("/account.json").json()["via"] == "single-user"
    assert "Single-user mode" in client.get("/", headers={"accept": "text/html", "accept-language": "en"}).text
    party(ws, "王芳", "operator")  # a party alone ends nothing: nobody could sign in
    assert client.get("/jobs.json").status_code == 200
    party(ws, "李娜", "operator", login="lina")
    assert client.get("/jobs.json").status_code == 401
    set_disabled(ws, COMMAND_LINE, "李娜", is_disabled=True)
    assert client.get("/jobs.json").status_code == 401
    ws.database.dispose()


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"])
def test_who_comes_through_a_proxy_is_not_at_this_machine(tmp_path: Path, header: str) -> None:
    ws = Workspace.create(tmp_path)
    client = TestClient(create_app(ws), base_url=BASE)
    assert client.get("/jobs.json", headers={header: "203.0.113.5"}).status_code == 401
    ws.database.dispose()


def test_a_console_called_by_another_name_lets_nobody_in_without_an_account(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path)
    app = create_app(ws, hosts=("127.0.0.1", "localhost", "archive.example.org"))
    for base in (BASE, "http://archive.example.org"):
        assert TestClient(app, base_url=base).get("/jobs.json").status_code == 401
    ws.database.dispose()


# Faces say on whose behalf


@pytest.mark.parametrize("face", ["web", "cli"])
def test_every_call_of_a_face_says_on_whose_behalf(face: str) -> None:
    silent = [f"{path.name}:{call}" for path in sorted(_faces(face)) for call in _silent_calls(path)]
    assert silent == []


def _faces(face: str) -> list[Path]:
    import malan

    return list((Path(malan.__file__).parent / face).glob("*.py"))


def _silent_calls(path: Path) -> Iterator[str]:
    """Calls of services that would take a caller and are given none."""
    tree = ast.parse(path.read_text("utf-8"))
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("malan.services")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (target := _target(node.func, imported)) is not None:
            takes = inspect.signature(target).parameters.get("caller")
            if takes and takes.kind is takes.KEYWORD_ONLY and "caller" not in {one.arg for one in node.keywords}:
                yield f"{node.lineno} {ast.unparse(node.func)}"


def _target(called: ast.expr, imported: dict[str, tuple[str, str]]) -> Any:
    if isinstance(called, ast.Name) and called.id in imported:
        module, name = imported[called.id]
        found = getattr(importlib.import_module(module), name, None)
        return found if inspect.isfunction(found) else None
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in imported:
        module, name = imported[called.value.id]
        found = getattr(getattr(importlib.import_module(module), name, None), called.attr, None)
        if found is None and (Path(importlib.import_module(module).__file__ or "").parent / f"{name}.py").is_file():
            found = getattr(importlib.import_module(f"{module}.{name}"), called.attr, None)
        return found if inspect.isfunction(found) else None
    return None
