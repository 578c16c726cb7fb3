"""`malan party`: documented JSON, passwords and keys shown once, exit codes, both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from account_factory import CHEAP, PASSWORD
from typer.testing import CliRunner

from malan.cli.main import app
from malan.core.errors import MalanError, NotFound, Rejected, UsageError
from malan.services.accounts import parties as accounts
from malan.services.accounts import sessions
from malan.services.accounts.api_keys import caller_of_key
from malan.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Workspace.create(tmp_path)
    for function in (accounts.add_login, accounts.set_password):
        monkeypatch.setattr(function, "__kwdefaults__", {**(function.__kwdefaults__ or {}), "cost": CHEAP})
    return tmp_path


def run(root: Path, *arguments: str, stdin: str = "") -> str:
    result = CliRunner().invoke(app, ["party", *arguments, "--workspace", str(root)], input=stdin)
    if isinstance(result.exception, MalanError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def told(root: Path, *arguments: str, stdin: str = "") -> Any:
    return json.loads(run(root, *arguments, "--json", stdin=stdin))


def test_a_party_is_admitted_with_a_login_whose_password_comes_through_a_pipe(root: Path) -> None:
    made = told(
        root, "add", "王芳", "--role", "operator", "--login", "wangfang", "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    assert (made["roles"], made["logins"], made["kind"], made["disabled"]) == (
        ["operator"],
        ["wangfang"],
        "person",
        False,
    )
    assert "password" not in made
    assert sessions.sign_in(Workspace(root), "wangfang", PASSWORD, cost=CHEAP).caller.name == "王芳"


def test_a_made_password_is_shown_once_and_opens(root: Path) -> None:
    made = told(root, "add", "李娜", "--role", "auditor", "--login", "lina", "--generate")
    assert len(made["password"].replace("-", "")) == 25
    assert sessions.sign_in(Workspace(root), "lina", made["password"], cost=CHEAP)
    assert "password" not in told(root, "show", "lina")


def test_the_first_login_says_that_everybody_signs_in_from_now_on(root: Path) -> None:
    assert "single-user mode" in run(root, "list")
    assert "everybody signs in" in run(root, "add", "王芳", "--login", "wangfang", "--generate")
    assert "everybody signs in" not in run(root, "add", "李娜", "--login", "lina", "--generate")


def test_a_weak_password_or_a_bad_login_admits_nobody(root: Path) -> None:
    for login, password in (("wangfang", "short"), ("a b", PASSWORD)):
        with pytest.raises(UsageError):
            run(root, "add", "王芳", "--login", login, "--password-stdin", stdin=f"{password}\n")
    assert told(root, "list") == {"parties": []}


def test_roles_are_given_and_taken(root: Path) -> None:
    run(root, "add", "湖南台", "--kind", "organisation", "--role", "owner")
    assert told(root, "role", "湖南台", "--add", "buyer", "--remove", "owner")["roles"] == ["buyer"]
    with pytest.raises(UsageError) as refused:
        run(root, "role", "湖南台", "--add", "root")
    assert refused.value.exit_code == 2
    with pytest.raises(NotFound):
        run(root, "role", "nobody", "--add", "buyer")


def test_a_key_is_shown_once_listed_without_its_secret_and_ended(root: Path) -> None:
    run(root, "add", "Model Co", "--role", "buyer", "--role", "auditor")
    made = told(root, "key", "Model Co", "--role", "buyer", "--days", "7", "--label", "nightly")
    assert caller_of_key(Workspace(root), made["key"]).roles == {"buyer"}
    [listed] = told(root, "key", "Model Co", "--list")["keys"]
    assert listed == {name: value for name, value in made.items() if name != "key"} | {"used_s": listed["used_s"]}
    assert told(root, "key", "Model Co", "--end", listed["prefix"])["ended"] is True
    with pytest.raises(MalanError, match="opens nothing"):
        caller_of_key(Workspace(root), made["key"])


def test_a_key_is_not_ended_in_the_name_of_another_party(root: Path) -> None:
    run(root, "add", "Model Co", "--role", "buyer")
    run(root, "add", "湖南台", "--role", "owner")
    made = told(root, "key", "Model Co")
    with pytest.raises(NotFound):
        run(root, "key", "湖南台", "--end", made["prefix"])


def test_a_party_is_shut_out_and_let_in_again(root: Path) -> None:
    run(root, "add", "王芳", "--role", "operator", "--login", "wangfang", "--generate")
    assert told(root, "disable", "wangfang")["disabled"] is True
    assert "shut out" in run(root, "list")
    assert told(root, "enable", "wangfang")["disabled"] is False


def test_a_new_password_and_signing_out_end_the_sessions(root: Path) -> None:
    made = told(root, "add", "王芳", "--role", "operator", "--login", "wangfang", "--generate")
    ws = Workspace(root)
    sessions.sign_in(ws, "wangfang", made["password"], cost=CHEAP)
    assert told(root, "sign-out", "王芳")["sessions_ended"] == 1
    again = told(root, "password", "wangfang", "--generate")["password"]
    assert sessions.sign_in(ws, "wangfang", again, cost=CHEAP)


def test_a_login_is_added_and_ended_and_not_taken_twice(root: Path) -> None:
    run(root, "add", "湖南台", "--kind", "organisation", "--role", "owner")
    assert "may sign in" in run(root, "login", "湖南台", "li.na", "--generate")
    with pytest.raises(Rejected):
        run(root, "login", "湖南台", "Li.Na", "--generate")
    assert "no more" in run(root, "login", "湖南台", "li.na", "--end")


def test_it_speaks_chinese(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALAN_LANG", "zh")
    assert "已登记 湖南台" in run(root, "add", "湖南台", "--role", "owner")
