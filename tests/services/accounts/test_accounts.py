"""Parties, roles, passwords, sessions and keys: what opens a door, what closes it, and what the log says of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from account_factory import CHEAP, PASSWORD, calling, party
from sqlalchemy import select

from malan.core.errors import MalanError, NotFound, NotGranted, Rejected, UsageError
from malan.services.access import (
    ACTIONS,
    COMMAND_LINE,
    HOUSE,
    ROLES,
    Caller,
    NotSignedIn,
    may,
    require,
)
from malan.services.accounts import passwords, sessions
from malan.services.accounts import tables as account_tables
from malan.services.accounts.api_keys import caller_of_key, end_key, has_open_keys, list_keys, make_key
from malan.services.accounts.page import change_own_password
from malan.services.accounts.parties import (
    add_login,
    add_party,
    caller_of_job,
    end_login,
    find_party,
    has_accounts,
    list_parties,
    party_of_login,
    set_disabled,
    set_password,
    set_roles,
)
from malan.services.accounts.passwords import Cost, check_new_password, check_password, hash_password, is_outdated
from malan.services.accounts.sessions import (
    TooManyTries,
    caller_of_session,
    form_token,
    is_form_token,
    sign_out,
    sign_out_everywhere,
)
from malan.services.journal import disclosed, read_event
from malan.services.log.reading import list_events
from malan.services.log.view import log_page
from malan.workspace import Workspace

NOW = 1_800_000_000.0


def sign_in(ws: Workspace, login: str, password: str = PASSWORD, **said: Any) -> sessions.SignedIn:
    return sessions.sign_in(ws, login, password, **{"now_s": NOW, "cost": CHEAP, **said})


# What roles may


def test_an_action_nobody_wrote_down_is_denied_to_all() -> None:
    for role in ROLES:
        with pytest.raises(NotGranted):
            require(Caller("p", frozenset({role}), "session"), "nobody.knows")


def test_a_caller_without_roles_may_do_nothing() -> None:
    nobody = Caller("p", frozenset(), "session")
    assert not any(may(nobody, action) for action in ACTIONS)
    assert not may(None, "find")


def test_what_is_ones_own_is_not_what_is_somebody_elses() -> None:
    owner = Caller("me", frozenset({"owner"}), "session")
    require(owner, "asset.withdraw", owner_id="me")
    for other in ("you", None):
        with pytest.raises(NotGranted):
            require(owner, "asset.withdraw", owner_id=other)


def test_a_caller_without_a_party_owns_nothing() -> None:
    with pytest.raises(NotGranted):
        require(Caller(None, frozenset({"owner"}), "cli"), "asset.withdraw", owner_id=None)


def test_every_role_in_the_table_is_one_and_every_refusal_names_who_may() -> None:
    for action, scopes in ACTIONS.items():
        assert set(scopes) <= set(ROLES), action
        assert set(scopes.values()) <= {"all", "own"}, action
    with pytest.raises(NotGranted) as refused:
        require(Caller("p", frozenset({"buyer"}), "session", name="Model Co"), "settle")
    assert "Model Co" in refused.value.message("en")
    assert "运营方" in refused.value.hint("zh")


# Parties


def test_a_party_is_admitted_found_and_listed(workspace: Workspace) -> None:
    party(workspace, "湖南台", "buyer", "owner", login="HNTV", kind="organisation")
    for name in ("湖南台", " 湖南台 ", "hntv", "ＨＮＴＶ"):
        assert find_party(workspace, name).roles == ("owner", "buyer")
    found = find_party(workspace, "湖南台")
    assert find_party(workspace, found.id[:10]) == found
    assert [one.name for one in list_parties(workspace)] == ["湖南台"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\x00b"])
def test_an_impossible_name_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(UsageError):
        add_party(workspace, COMMAND_LINE, name)
    assert list_parties(workspace) == []


def test_a_party_is_admitted_once_however_its_name_is_typed(workspace: Workspace) -> None:
    party(workspace, "Model Co", "buyer")
    with pytest.raises(Rejected):
        add_party(workspace, COMMAND_LINE, "ＭＯＤＥＬ  co", has=["operator"])
    assert find_party(workspace, "model co").roles == ("buyer",)


def test_only_operators_admit_and_give_roles(workspace: Workspace) -> None:
    asking = calling(workspace, "Model Co", "buyer", "auditor", "owner")
    for attempt in (
        lambda: add_party(workspace, asking, "Friend", has=["operator"]),
        lambda: set_roles(workspace, asking, "Model Co", add=["operator"]),
        lambda: add_login(workspace, asking, "Model Co", "mc", PASSWORD, cost=CHEAP),
        lambda: set_disabled(workspace, asking, "Model Co", is_disabled=True),
    ):
        with pytest.raises(NotGranted):
            attempt()
    assert find_party(workspace, "Model Co").roles == ("owner", "buyer", "auditor")


def test_an_unknown_role_changes_nothing(workspace: Workspace) -> None:
    party(workspace, "Model Co", "buyer")
    with pytest.raises(UsageError):
        set_roles(workspace, COMMAND_LINE, "Model Co", add=["owner", "root"])
    assert find_party(workspace, "Model Co").roles == ("buyer",)


def test_every_change_of_a_role_is_in_the_log_under_a_random_name(workspace: Workspace) -> None:
    found = party(workspace, "湖南台", "owner")
    set_roles(workspace, COMMAND_LINE, "湖南台", add=["buyer"])
    set_roles(workspace, COMMAND_LINE, "湖南台", remove=["buyer"])
    set_roles(workspace, COMMAND_LINE, "湖南台", add=["buyer"])
    set_roles(workspace, COMMAND_LINE, "湖南台", add=["buyer"])  # nothing changes, nothing is said
    set_disabled(workspace, COMMAND_LINE, "湖南台", is_disabled=True)
    events = [one.event for one in list_events(workspace, about=f"urn:malan:party:{found.tag}")][::-1]
    said = [(one.statement.kind, one.statement.facts.get("roles") or one.statement.facts["state"]) for one in events]
    assert said == [
        ("party.admit", ["owner"]),
        ("party.roles", ["owner", "buyer"]),
        ("party.roles", ["owner"]),
        ("party.roles", ["owner", "buyer"]),
        ("party.state", "disabled"),
    ]
    assert disclosed(workspace, events[0]) == {"name": "湖南台", "party": found.id}
    for one in events:
        text = read_event(workspace, one.index).statement.to_bytes().decode()
        assert "湖南台" not in text
        assert found.id not in text


def test_a_role_that_could_not_be_logged_is_not_given(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    party(workspace, "Model Co", "buyer")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("malan.services.accounts.parties.record", broken)
    with pytest.raises(OSError, match="disk full"):
        set_roles(workspace, COMMAND_LINE, "Model Co", add=["operator"], remove=["buyer"])
    assert find_party(workspace, "Model Co").roles == ()  # what narrows holds at once


# Passwords


def test_a_password_is_kept_as_a_salted_memory_hard_hash() -> None:
    one, two = hash_password("马栏山的夜晚很安静", CHEAP), hash_password("马栏山的夜晚很安静", CHEAP)
    assert one != two
    assert one.startswith("scrypt$4$8$1$")
    assert check_password("马栏山的夜晚很安静", one, CHEAP)
    assert not check_password("马栏山的夜晚很安静 ", one, CHEAP)
    assert not check_password("", None, CHEAP)


def test_what_passwords_cost_by_default_is_what_owasp_asks_for() -> None:
    assert (passwords.COST.log2_n, passwords.COST.r, passwords.COST.p) == (17, 8, 1)
    assert is_outdated(hash_password("x", CHEAP))


@pytest.mark.parametrize(
    "password", ["short", "aaaaaaaaaaaaaaaa", "abcdefghijklmnop", "ababababababab", "wangfangwang", "x" * 300]
)
def test_what_is_guessed_first_is_no_password(password: str) -> None:
    with pytest.raises(UsageError):
        check_new_password(password, "wangfang")


def test_a_login_is_not_mistaken_for_a_party_of_the_same_name(workspace: Workspace) -> None:
    party(workspace, "wangfang", "buyer")
    other = party(workspace, "王芳", "operator", login="wangfang")
    assert party_of_login(workspace, "WangFang") == other
    with pytest.raises(NotFound):
        end_login(workspace, COMMAND_LINE, "wangfang", party=find_party(workspace, "wangfang").id)
    with pytest.raises(NotFound):
        set_password(workspace, COMMAND_LINE, "nobody", "another quiet night", cost=CHEAP)
    assert sign_in(workspace, "wangfang").caller.roles == {"operator"}


# Signing in


def test_signing_in_gives_a_session_of_the_party(workspace: Workspace) -> None:
    found = party(workspace, "王芳", "operator", login="wangfang")
    done = sign_in(workspace, " WangFang ")
    caller = caller_of_session(workspace, done.token, now_s=NOW + 1)
    assert caller == done.caller
    assert (caller.party_id, caller.roles, caller.name, caller.via) == (found.id, {"operator"}, "王芳", "session")


@pytest.mark.parametrize(("login", "password"), [("wangfang", "wrong"), ("nobody", PASSWORD), ("", ""), ("'--", "x")])
def test_a_wrong_login_and_a_wrong_password_are_refused_alike(workspace: Workspace, login: str, password: str) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    with pytest.raises(NotSignedIn) as refused:
        sign_in(workspace, login, password)
    assert (refused.value.code, refused.value.values) == ("access.wrong", {})


def test_an_unknown_login_takes_the_same_work(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    costs: list[Cost] = []
    scrypt = passwords._scrypt
    monkeypatch.setattr(passwords, "_scrypt", lambda p, s, cost: costs.append(cost) or scrypt(p, s, cost))
    for login in ("wangfang", "nobody"):
        with pytest.raises(NotSignedIn):
            sign_in(workspace, login, "wrong")
    assert costs == [CHEAP, CHEAP]


def test_the_database_holds_nothing_that_opens_a_session_or_a_key(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    token, key = sign_in(workspace, "wangfang").token, make_key(workspace, COMMAND_LINE, "王芳").text
    with workspace.database.connect() as connection:
        tables = (account_tables.sessions, account_tables.accounts, account_tables.api_keys)
        kept = str([connection.execute(select(table)).all() for table in tables])
    for secret in (token, key.rpartition("_")[2], key[14:], PASSWORD):
        assert secret not in kept


def test_guessing_gets_slower_for_everybody_alike(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    for login in ("wangfang", "nobody"):
        for _ in range(5):
            with pytest.raises(NotSignedIn):
                sign_in(workspace, login, "wrong", address="203.0.113.5")
        with pytest.raises(TooManyTries) as late:
            sign_in(workspace, login, PASSWORD, address="203.0.113.5")
        assert late.value.values == {"seconds": 2}
    sign_in(workspace, "wangfang", address="198.51.100.7")  # the user elsewhere is not shut out


def test_waiting_opens_the_door_again_and_success_forgets(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    for _ in range(5):
        with pytest.raises(NotSignedIn):
            sign_in(workspace, "wangfang", "wrong")
    sign_in(workspace, "wangfang", now_s=NOW + 3)
    for _ in range(4):
        with pytest.raises(NotSignedIn):
            sign_in(workspace, "wangfang", "wrong", now_s=NOW + 4)


def test_the_wait_doubles_up_to_a_quarter_of_an_hour() -> None:
    waits = [sessions._wait_s(count, 5) for count in (4, 5, 6, 7, 14, 10_000)]
    assert waits == [0, 2, 4, 8, 900, 900]


def test_one_login_guessed_from_many_addresses_is_slowed_too(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    for number in range(30):
        with pytest.raises(NotSignedIn):
            sign_in(workspace, "wangfang", "wrong", address=f"203.0.113.{number}")
    with pytest.raises(TooManyTries):
        sign_in(workspace, "wangfang", address="203.0.113.99")


def test_a_hundred_tries_at_once_are_counted_before_any_is_looked_at(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    seen: list[type] = []

    def attempt() -> None:
        try:
            sign_in(workspace, "wangfang", "wrong", address="203.0.113.5")
        except MalanError as error:
            seen.append(type(error))

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (seen.count(NotSignedIn), seen.count(TooManyTries)) == (5, 15)


def test_a_session_is_new_at_each_sign_in_and_the_former_one_ends(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    first = sign_in(workspace, "wangfang").token
    second = sign_in(workspace, "wangfang", former=first).token
    assert first != second
    assert caller_of_session(workspace, first, now_s=NOW) is None
    assert caller_of_session(workspace, second, now_s=NOW) is not None


def test_a_session_ends_unused_and_at_the_latest_after_half_a_day(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    token, hour = sign_in(workspace, "wangfang").token, 3600
    assert caller_of_session(workspace, token, now_s=NOW + 2 * hour) is None
    for hours in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11):
        assert caller_of_session(workspace, token, now_s=NOW + hours * hour) is not None
    assert caller_of_session(workspace, token, now_s=NOW + 12 * hour) is None


@pytest.mark.parametrize("token", ["", "x", "x" * 5000, "\ud800", "' OR 1=1 --"])
def test_a_made_up_session_is_nobody(workspace: Workspace, token: str) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    assert caller_of_session(workspace, token) is None


def test_signing_out_ends_one_session_or_all(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    one, two, three = (sign_in(workspace, "wangfang").token for _ in range(3))
    sign_out(workspace, one)
    assert caller_of_session(workspace, one, now_s=NOW) is None
    assert caller_of_session(workspace, two, now_s=NOW) is not None
    assert sign_out_everywhere(workspace, "wangfang") == 2
    assert caller_of_session(workspace, three, now_s=NOW) is None


def test_roles_are_those_of_the_moment(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    token = sign_in(workspace, "wangfang").token
    set_roles(workspace, COMMAND_LINE, "王芳", add=["auditor"], remove=["operator"])
    caller = caller_of_session(workspace, token, now_s=NOW)
    assert caller is not None
    assert caller.roles == {"auditor"}


def test_a_party_that_is_shut_out_is_nobody_from_the_next_request_on(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    token, key = sign_in(workspace, "wangfang").token, make_key(workspace, COMMAND_LINE, "王芳").text
    set_disabled(workspace, COMMAND_LINE, "王芳", is_disabled=True)
    assert caller_of_session(workspace, token, now_s=NOW) is None
    with pytest.raises(NotSignedIn):
        caller_of_key(workspace, key)
    with pytest.raises(NotSignedIn):
        sign_in(workspace, "wangfang")
    set_disabled(workspace, COMMAND_LINE, "王芳", is_disabled=False)
    assert caller_of_session(workspace, token, now_s=NOW) is None
    assert caller_of_key(workspace, key).roles == {"operator"}


def test_a_new_password_ends_the_sessions_and_the_old_one_opens_nothing(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    done = sessions.sign_in(workspace, "wangfang", PASSWORD, cost=CHEAP)
    new = "another quiet night"
    with pytest.raises(NotSignedIn):
        change_own_password(workspace, done.caller, "not it", new, new, cost=CHEAP)
    with pytest.raises(UsageError):
        change_own_password(workspace, done.caller, PASSWORD, new, "typo", cost=CHEAP)
    change_own_password(workspace, done.caller, PASSWORD, new, new, cost=CHEAP)
    assert caller_of_session(workspace, done.token) is None
    with pytest.raises(NotSignedIn):
        sign_in(workspace, "wangfang")
    sign_in(workspace, "wangfang", new)


def test_the_password_of_another_login_is_changed_by_operators_only(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    buyer = calling(workspace, "Model Co", "buyer")
    with pytest.raises(NotGranted):
        set_password(workspace, buyer, "wangfang", "mine from now on", cost=CHEAP)


def test_settings_of_the_hash_are_raised_at_the_next_sign_in(workspace: Workspace) -> None:
    party(workspace, "王芳", "operator", login="wangfang")
    sign_in(workspace, "wangfang", cost=Cost(log2_n=5))
    with workspace.database.connect() as connection:
        assert str(connection.scalar(select(account_tables.accounts.c.password))).startswith("scrypt$5$")
    sign_in(workspace, "wangfang", cost=Cost(log2_n=5))


def test_a_login_that_was_ended_stays_taken_and_accounts_stay_demanded(workspace: Workspace) -> None:
    assert not has_accounts(workspace)
    party(workspace, "王芳", "operator", login="wangfang")
    end_login(workspace, COMMAND_LINE, "wangfang")
    with pytest.raises(NotSignedIn):
        sign_in(workspace, "wangfang", "")
    with pytest.raises(Rejected):
        add_login(workspace, COMMAND_LINE, "王芳", "wangfang", PASSWORD, cost=CHEAP)
    assert has_accounts(workspace)


def test_a_form_belongs_to_one_cookie() -> None:
    assert is_form_token(form_token("secret"), "secret")
    for given, secret in ((form_token("secret"), "other"), ("", "secret"), (form_token(""), ""), ("é", "secret")):
        assert not is_form_token(given, secret)


# Keys


def test_a_key_speaks_for_its_party_with_no_more_roles_than_both_have(workspace: Workspace) -> None:
    party(workspace, "Model Co", "buyer", "auditor")
    made = make_key(workspace, COMMAND_LINE, "Model Co", has=["buyer"], label="train", now_s=NOW)
    caller = caller_of_key(workspace, made.text, now_s=NOW)
    assert (caller.roles, caller.via, caller.name) == ({"buyer"}, "key", "Model Co")
    set_roles(workspace, COMMAND_LINE, "Model Co", remove=["buyer"], add=["owner"])
    assert caller_of_key(workspace, made.text, now_s=NOW).roles == frozenset()


def test_a_key_ends_at_its_time_and_when_it_is_revoked(workspace: Workspace) -> None:
    party(workspace, "Model Co", "buyer")
    made = make_key(workspace, COMMAND_LINE, "Model Co", days=1, now_s=NOW)
    assert has_open_keys(workspace, now_s=NOW)
    with pytest.raises(NotSignedIn):
        caller_of_key(workspace, made.text, now_s=NOW + 86_400)
    end_key(workspace, COMMAND_LINE, f"mk_{made.key.prefix}")
    with pytest.raises(NotSignedIn):
        caller_of_key(workspace, made.text, now_s=NOW)
    assert not has_open_keys(workspace, now_s=NOW)


def test_a_key_changed_in_any_place_opens_nothing(workspace: Workspace) -> None:
    party(workspace, "Model Co", "buyer")
    text = make_key(workspace, COMMAND_LINE, "Model Co").text
    broken = [text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :] for at in range(len(text))]
    for one in (*broken, text[:-1], text + "A", "", "mk", "mk__", "\ud800", text.upper()):
        with pytest.raises(NotSignedIn) as refused:
            caller_of_key(workspace, one)
        assert refused.value.values == {}


def test_a_key_is_made_for_roles_the_party_has_and_not_for_ever(workspace: Workspace) -> None:
    party(workspace, "Model Co", "buyer")
    for said in ({"has": ["operator"]}, {"days": 0}, {"days": 367}, {"label": "x" * 101}, {"label": "\x1b[2J"}):
        with pytest.raises(UsageError):
            make_key(workspace, COMMAND_LINE, "Model Co", **said)  # type: ignore[arg-type]
    assert list_keys(workspace, COMMAND_LINE) == []


def test_no_key_makes_another_and_none_ends_that_of_another_party(workspace: Workspace) -> None:
    mine, other = calling(workspace, "Model Co", "buyer"), party(workspace, "湖南台", "owner")
    made = make_key(workspace, mine, "Model Co")
    theirs = make_key(workspace, COMMAND_LINE, other.id)
    with pytest.raises(NotGranted):
        make_key(workspace, caller_of_key(workspace, made.text), "Model Co")
    for attempt in (
        lambda: make_key(workspace, mine, "湖南台"),
        lambda: end_key(workspace, mine, theirs.key.prefix),
        lambda: list_keys(workspace, mine, "湖南台"),
        lambda: list_keys(workspace, mine),
    ):
        with pytest.raises(NotGranted):
            attempt()
    with pytest.raises(NotFound):
        end_key(workspace, mine, theirs.key.prefix, party=mine.party_id)
    assert [key.prefix for key in list_keys(workspace, mine, "Model Co")] == [made.key.prefix]


def test_making_and_ending_a_key_is_in_the_log_without_its_label(workspace: Workspace) -> None:
    party(workspace, "Model Co", "buyer")
    made = make_key(workspace, COMMAND_LINE, "Model Co", label="secret project")
    end_key(workspace, COMMAND_LINE, made.key.prefix, reason="leaked")
    newest = list_events(workspace, last=2)
    assert [one.event.statement.kind for one in newest] == ["key.end", "key.issue"]
    assert newest[0].event.statement.facts == {"reason": "leaked"}
    assert all(b"secret project" not in one.event.entry for one in newest)
    assert newest[1].private == {"label": "secret project"}


# Others


def test_a_job_works_for_its_party_with_the_roles_of_that_moment(workspace: Workspace) -> None:
    found = party(workspace, "Model Co", "buyer")
    assert caller_of_job(workspace, {}) == HOUSE
    assert caller_of_job(workspace, {"party": found.id}).roles == {"buyer"}
    set_disabled(workspace, COMMAND_LINE, "Model Co", is_disabled=True)
    assert caller_of_job(workspace, {"party": found.id}).roles == frozenset()


def test_auditors_and_operators_read_the_log_and_nobody_else(workspace: Workspace) -> None:
    auditor = calling(workspace, "Audit Office", "auditor")
    page = log_page(workspace, "en", limit=2, caller=auditor)
    assert [event.kind for event in page.events] == ["party.admit", "key.register"]
    rest = log_page(workspace, "en", before=page.before, caller=auditor)
    assert [event.index for event in rest.events] == list(range(page.size - 3, -1, -1))
    assert rest.before is None
    for role in ("owner", "buyer", "annotator", "reviewer"):
        with pytest.raises(NotGranted):
            log_page(workspace, "en", caller=Caller("p", frozenset({role}), "session"))
