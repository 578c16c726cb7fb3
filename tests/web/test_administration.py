"""What an operator does on pages: parties, keys, budgets, engines, trust, retiring, settling; and who may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import run_programs as programs
from account_factory import PASSWORD, party
from console_client import TestClient
from console_person import BASE, ORIGIN, PAGE, Person
from market_place import BUYER_NAME, RIVAL, STATION, STUDIO
from model_factory import release_adapter
from run_place import BUYER, grant_on

from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import find_party, list_parties
from malan.services.accounts.sessions import sign_in
from malan.services.gateway.keys import Allowance, list_gateway_keys, make_gateway_key, policy_of
from malan.services.models.registry import get_model
from malan.services.runs.algorithms import find_algorithm, submit_algorithm
from malan.services.runs.approvals import trusted_publishers
from malan.web.app import create_app
from malan.workspace import Workspace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, str]]:
    """A grant on footage of two owners; both, the buyer, a rival, an auditor and an operator have accounts."""
    ws = Workspace.create(tmp_path_factory.mktemp("administration") / "ws")
    grant = grant_on(ws, STATION, STUDIO, price="250:CNY/run")
    people = ((STATION, "owner"), (STUDIO, "owner"), (BUYER_NAME, "buyer"), (RIVAL, "buyer"), ("审计所", "auditor"))
    for (name, role), login in zip(people, ("station", "studio", "buyer", "rival", "audit"), strict=True):
        party(ws, name, role, login=login)
    party(ws, "Park", "operator", login="park")
    yield ws, grant
    ws.database.dispose()


def made_password(page: str) -> str:
    return re.findall(r"<code>([a-z0-9-]{29})</code>", page)[0]


# Parties


def test_an_operator_admits_a_party_and_sees_its_password_once(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    park = Person(ws, "park", "zh")
    page = park.post("/parties", 200, name="<b>周导演</b>", kind="person", role="reviewer", login="zhou")
    assert "<b>周导演" not in page
    assert "&lt;b&gt;周导演" in page
    found = find_party(ws, "zhou")
    assert found.roles == ("reviewer",)
    assert sign_in(ws, "zhou", made_password(page)).caller.party_id == found.id
    again = park.get(f"/parties/{found.id}")
    assert "made-key" not in again
    assert "zhou" in park.get("/parties")


def test_an_operator_gives_roles_and_shuts_a_party_out(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    made, park = party(ws, "临时工", "annotator", login="temp"), Person(ws, "park")
    path = f"/parties/{made.id}"
    park.post(f"{path}/roles", role="reviewer", purpose="training")
    assert (find_party(ws, made.id).roles, find_party(ws, made.id).purpose) == (("reviewer",), "training")
    park.post(f"{path}/disable")
    assert find_party(ws, made.id).is_disabled
    park.post(f"{path}/enable")
    assert not find_party(ws, made.id).is_disabled
    key = re.findall(r"<code>(mk_[\w-]+)</code>", park.post(f"{path}/key", 200, label="a tool", days="5"))[0]
    assert TestClient(create_app(ws), base_url=BASE).get("/account.json", headers={"authorization": f"Bearer {key}"})
    park.post(f"{path}/end-key", prefix=key.split("_")[1])
    assert "ended" in park.get(path)


def test_a_page_about_one_party_changes_no_login_of_another(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    station, park = find_party(ws, STATION), Person(ws, "park")
    assert "no login of" in park.post(f"/parties/{station.id}/password", 400, login="studio")
    assert sign_in(ws, "studio", PASSWORD)
    park.post(f"/parties/{station.id}/nonsense", 400)


@pytest.mark.parametrize("step", ["disable", "roles", "end-login"])
def test_the_last_operator_cannot_lock_everybody_out(place: tuple[Workspace, str], step: str) -> None:
    ws, _ = place
    park = Person(ws, "park")
    path = f"/parties/{find_party(ws, 'park').id}"
    assert "last operator" in park.post(f"{path}/{step}", 409, login="park")
    assert find_party(ws, "park").roles == ("operator",)


def test_the_first_login_must_be_somebodys_who_can_go_on(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    client = TestClient(create_app(ws), base_url=BASE, follow_redirects=False)
    said = {"name": "王芳", "kind": "person", "login": "wang", "role": "owner"}
    refused = client.post("/parties", data=said, headers={**ORIGIN, **PAGE})
    assert refused.status_code == 409
    assert list_parties(ws) == []
    page = client.post("/parties", data={**said, "role": "operator"}, headers={**ORIGIN, **PAGE})
    assert sign_in(ws, "wang", made_password(page.text))
    assert page.headers["cache-control"] == "no-store"
    assert client.get("/parties", headers=PAGE).headers["location"] == "/sign-in?next=/parties"
    ws.database.dispose()


def test_an_auditor_looks_and_changes_nothing_and_others_do_not_look(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    audit, station = Person(ws, "audit"), Person(ws, "station")
    listed = audit.get("/parties")
    assert STATION in listed
    assert 'action="/parties' not in listed
    page = audit.get(f"/parties/{find_party(ws, STATION).id}")
    assert "<form" not in page[page.index("<main") : page.index("</main>")]
    audit.post("/parties", 403, name="Mallory", role="operator", login="mallory")
    audit.post(f"/parties/{find_party(ws, STATION).id}/disable", 403)
    station.get("/parties", 403)
    assert 'href="/parties"' not in station.get("/account")


@pytest.mark.parametrize("path", ["/parties", "/programs", "/statements"])
def test_no_form_is_taken_without_the_token_of_its_page(place: tuple[Workspace, str], path: str) -> None:
    ws, _ = place
    Person(ws, "park").post(path, 409, token="forged", name="Mallory", party=STATION, app="x", period="2026-01")
    assert "Mallory" not in [one.name for one in list_parties(ws)]


# Programs and engines


def test_a_key_with_a_budget_is_made_changed_and_ended(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    park = Person(ws, "park", "zh")
    page = park.post("/programs", 200, party=STATION, app="字幕服务", budget="12.50", rate="60", models="qwen，gpt-4o")
    key = re.findall(r"<code>(mk_[\w-]+)</code>", page)[0]
    policy = policy_of(ws, key)
    assert (policy.app, policy.models) == ("字幕服务", {"qwen", "gpt-4o"})
    found = list_gateway_keys(ws, COMMAND_LINE)[0]
    assert (found["budget_minor"], found["most_a_minute"]) == (1250, 60)
    assert key not in park.get("/programs")
    park.post(f"/programs/{found['prefix']}/budget", budget="99")
    assert list_gateway_keys(ws, COMMAND_LINE)[0]["budget_minor"] == 9900
    own = Person(ws, "station", "zh").get("/programs")
    assert "字幕服务" in own
    assert "/budget" not in own, "only an operator changes what a key may spend"
    assert "字幕服务" not in Person(ws, "studio").get("/programs")
    Person(ws, "station").post(f"/programs/{found['prefix']}/budget", 403, budget="9999")
    park.post(f"/programs/{found['prefix']}/end")
    assert list_gateway_keys(ws, COMMAND_LINE)[0]["ended"]


def test_a_new_budget_is_read_in_the_currency_of_its_key(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    key = make_gateway_key(ws, COMMAND_LINE, STATION, Allowance("字幕服务", budget_minor=5, currency="JPY")).key
    Person(ws, "park").post(f"/programs/mk_{key.prefix}/budget", budget="300")
    assert list_gateway_keys(ws, COMMAND_LINE)[0]["budget_minor"] == 300
    Person(ws, "park").post(f"/programs/mk_{key.prefix}/budget", 400, budget="300.50")


@pytest.mark.parametrize("said", [{"budget": "1e9"}, {"budget": "-1"}, {"budget": "0.001"}, {"days": "x"}, {"app": ""}])
def test_what_makes_no_sense_comes_back_with_what_was_typed(place: tuple[Workspace, str], said: dict[str, str]) -> None:
    ws, _ = place
    before = len(list_gateway_keys(ws, COMMAND_LINE))
    page = Person(ws, "park").post("/programs", 400, **{"party": STATION, "app": "a tool", "rate": "7", **said})
    assert 'role="alert"' in page
    assert 'value="7"' in page
    assert len(list_gateway_keys(ws, COMMAND_LINE)) == before


def test_engines_say_what_each_is_missing(place: tuple[Workspace, str], monkeypatch: pytest.MonkeyPatch) -> None:
    ws, _ = place
    park, file = Person(ws, "park", "zh"), ws.root / "models.toml"
    assert 'class="empty"' in park.get("/engines")
    file.write_text(
        '[engines.far]\nkind="chat"\nbackend="openai"\nurl="https://e.test/v1"\nmodel="m"\nkey_env="FAR_KEY"\n'
    )
    monkeypatch.delenv("FAR_KEY", raising=False)
    assert "环境变量 FAR_KEY 未设置" in park.get("/engines")
    monkeypatch.setenv("FAR_KEY", "a secret")
    page = park.get("/engines")
    assert "可用" in page
    assert "a secret" not in page
    file.write_text("[engines.far\n")
    assert 'role="alert"' in park.get("/engines"), "a file that does not parse is said, not a page that breaks"
    file.unlink()
    Person(ws, "station").get("/engines", 403)


# Trust and retiring


def test_an_owner_trusts_a_publisher_and_takes_it_back(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    submit_algorithm(ws, programs.package(programs.LINE, "trusted"), grant=grant, caller=BUYER)
    digest = find_algorithm(ws, "trusted").digest
    publisher, owner = find_party(ws, BUYER_NAME).id, find_party(ws, STATION).id
    station, path = Person(ws, "station", "zh"), f"/trust/{publisher}"
    assert path in station.get(f"/approvals/{digest}")
    assert 'role="alert"' in station.post(path, 400, digest=digest, trusted="1"), "without the tick nothing is done"
    assert publisher not in trusted_publishers(ws)[owner] if owner in trusted_publishers(ws) else True
    station.post(path, digest=digest, trusted="1", sure="1")
    assert trusted_publishers(ws)[owner] == (publisher,)
    assert "受信任的发布方" in station.get("/approvals")
    assert "受信任的发布方" not in Person(ws, "studio", "zh").get("/approvals"), "an owner hears its own word"
    Person(ws, "park").post(path, 403, digest=digest, trusted="1", sure="1", owner=owner)
    Person(ws, "rival").post(path, 403, digest=digest, trusted="1", sure="1", owner=owner)
    assert station.post(path) == "/approvals"
    assert trusted_publishers(ws)[owner] == ()


def test_a_model_is_taken_out_of_use_with_a_reason_and_a_tick(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    made = release_adapter(ws)
    path, park = f"/models/{made.id}", Person(ws, "park")
    assert f"{path}/retire" in park.get(path)
    park.post(f"{path}/retire", 400, reason="old")
    park.post(f"{path}/retire", 400, reason=" ", sure="1")
    Person(ws, "station").post(f"{path}/retire", 403, reason="mine", sure="1")
    assert get_model(ws, made.id).state == "released"
    assert park.post(f"{path}/retire", reason="a better one is there", sure="1") == path
    assert get_model(ws, made.id).state == "retired"
    page = park.get(path)
    assert "a better one is there" in page
    assert f"{path}/retire" not in page


def test_empty_pages_say_what_will_be_there(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    client = TestClient(create_app(ws), base_url=BASE)
    for path in ("/parties", "/programs", "/engines", "/statements", "/approvals"):
        assert 'class="empty"' in client.get(path, headers=PAGE).text, path
    ws.database.dispose()


# Settings


def test_settings_are_written_down_hold_at_once_and_are_logged(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    park, file = Person(ws, "park", "zh"), ws.root / "malan.toml"
    elsewhere = Workspace(ws.root)
    before = file.read_text("utf-8")
    page = park.post("/settings", 200, organisation='马栏山 "园区"', model_share="25", result_days="30")
    assert "已保存" in page
    assert 'organisation = "马栏山 \\"园区\\""' in file.read_text("utf-8")
    assert len(file.read_text("utf-8").splitlines()) == len(before.splitlines()), "the lines stay where they were"
    assert "发布机构名称" in file.read_text("utf-8")
    for one in (ws, elsewhere):
        assert (one.settings.organisation, one.settings.model_share) == ('马栏山 "园区"', 25)
    assert "修改设置" in park.get("/log")
    assert "没有改动" in park.post("/settings", 200, model_share="25")


@pytest.mark.parametrize(
    "said",
    [{"producer_code": "001XXXXXXXXXXXXXXXXXXXXXXXX"}, {"producer_code": "123"}, {"territory": "china"},
     {"model_share": "-1"}, {"model_share": "x"}, {"app_refuse": "never"}, {"organisation": "a\nworkers = 99"}],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_changes_nothing(place: tuple[Workspace, str], said: dict[str, str]) -> None:
    ws, _ = place
    file = ws.root / "malan.toml"
    before = file.read_bytes()
    assert 'role="alert"' in Person(ws, "park").post("/settings", 400, **{"open_jobs": "7", **said})
    assert file.read_bytes() == before


def test_settings_are_an_operators_and_only_those_on_the_page(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    Person(ws, "station").get("/settings", 403)
    Person(ws, "audit").post("/settings", 403, organisation="Mallory")
    assert "没有改动" in Person(ws, "park", "zh").post("/settings", 200, database="postgresql://evil", workers="99")
    assert ws.settings.workers == 0


def test_a_form_says_beforehand_that_nothing_can_be_made_without_a_providers_code(place: tuple[Workspace, str]) -> None:
    ws, _ = place
    assert "管理 › 设置" in Person(ws, "buyer", "zh").get("/apps/music")
    assert 'href="/settings"' in Person(ws, "park").get("/apps/picture")
    assert "notice" not in Person(ws, "buyer").get("/apps/promo")


def test_what_holds_goes_on_holding_while_the_file_is_being_edited(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path / "ws")
    file = ws.root / "malan.toml"
    file.write_text("open_jobs = 5\n")
    assert ws.settings.open_jobs == 5
    file.write_text("open_jobs = \n# and more to come")
    assert ws.settings.open_jobs == 5
    file.write_text("open_jobs = 6 # done")
    assert ws.settings.open_jobs == 6
