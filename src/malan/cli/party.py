"""`malan party`: people and organisations, their roles, logins and API keys."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import JsonOption, WorkspaceOption, open_workspace, print_json, print_line, print_table, speak
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.accounts.api_keys import ApiKey
    from malan.services.accounts.parties import Party
    from malan.workspace import Workspace

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.party"))

NameArgument = Annotated[str, typer.Argument(help=speak("cli.party.name"))]
LoginArgument = Annotated[str, typer.Argument(help=speak("cli.party.login_name"))]
StdinOption = Annotated[bool, typer.Option("--password-stdin", help=speak("cli.party.stdin"))]
GenerateOption = Annotated[bool, typer.Option("--generate", help=speak("cli.party.generate"))]


@app.command(help=speak("cli.party.add"))
def add(
    name: Annotated[str, typer.Argument(help=speak("cli.party.new_name"))],
    kind: Annotated[str, typer.Option(help=speak("cli.party.kind"))] = "person",
    role: Annotated[list[str] | None, typer.Option(help=speak("cli.party.roles"))] = None,
    purpose: Annotated[str | None, typer.Option(help=speak("cli.party.purpose"), show_default=False)] = None,
    login: Annotated[str | None, typer.Option(help=speak("cli.party.login_option"), show_default=False)] = None,
    password_stdin: StdinOption = False,
    generate: GenerateOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.parties import add_login, add_party, check_login, has_accounts

    ws = open_workspace(workspace)
    password = _new_password(login, password_stdin, generate) if login else ""
    if login:
        check_login(login, password, name)
    was_open = not has_accounts(ws)
    party = add_party(ws, COMMAND_LINE, name, kind=kind, has=role or (), purpose=purpose)
    if login:
        party = add_login(ws, COMMAND_LINE, party.id, login, password)
    if as_json:
        _print_json(party, password if generate else None)
        return
    print_line(speak("cli.party.admitted", name=party.name, roles=_roles(party)))
    if login:
        _say_login(login, password if generate else "", was_open=was_open)


@app.command("list", help=speak("cli.party.list"))
def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.parties import describe_party, list_parties

    found = list_parties(open_workspace(workspace), caller=COMMAND_LINE)
    if as_json:
        print_json({"parties": [describe_party(party) for party in found]})
    elif not found:
        print_line(speak("cli.party.none"))
    else:
        _print_parties(found)


@app.command(help=speak("cli.party.show"))
def show(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.api_keys import describe_key, list_keys
    from malan.services.accounts.parties import describe_party, find_party

    ws = open_workspace(workspace)
    party = find_party(ws, name, caller=COMMAND_LINE)
    keys = list_keys(ws, COMMAND_LINE, party.id)
    if as_json:
        print_json({**describe_party(party), "keys": [describe_key(key) for key in keys]})
        return
    _print_parties([party])
    if keys:
        _print_keys(keys)


@app.command(help=speak("cli.party.role"))
def role(
    name: NameArgument,
    add: Annotated[list[str] | None, typer.Option(help=speak("cli.party.role_add"))] = None,
    remove: Annotated[list[str] | None, typer.Option(help=speak("cli.party.role_remove"))] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.parties import set_roles

    party = set_roles(open_workspace(workspace), COMMAND_LINE, name, add=add or (), remove=remove or ())
    if as_json:
        _print_json(party)
    else:
        print_line(speak("cli.party.now", name=party.name, roles=_roles(party)))


@app.command(help=speak("cli.party.login"))
def login(
    name: NameArgument,
    login: LoginArgument,
    end: Annotated[bool, typer.Option("--end", help=speak("cli.party.end_login"))] = False,
    password_stdin: StdinOption = False,
    generate: GenerateOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.parties import add_login, end_login, find_party, has_accounts

    ws = open_workspace(workspace)
    party, was_open = find_party(ws, name, caller=COMMAND_LINE), not has_accounts(ws)
    if end:
        end_login(ws, COMMAND_LINE, login, party=party.id)
        _print_json(party) if as_json else print_line(speak("cli.party.login_ended", login=login))
        return
    password = _new_password(login, password_stdin, generate)
    party = add_login(ws, COMMAND_LINE, party.id, login, password)
    if as_json:
        _print_json(party, password if generate else None)
        return
    print_line(speak("cli.party.login_made", login=login, name=party.name))
    _say_login(login, password if generate else "", was_open=was_open)


@app.command(help=speak("cli.party.password"))
def password(
    login: LoginArgument,
    password_stdin: StdinOption = False,
    generate: GenerateOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.parties import party_of_login, set_password

    ws = open_workspace(workspace)
    party_of_login(ws, login, caller=COMMAND_LINE)
    chosen = _new_password(login, password_stdin, generate)
    set_password(ws, COMMAND_LINE, login, chosen)
    if as_json:
        _print_json(party_of_login(ws, login, caller=COMMAND_LINE), chosen if generate else None)
    else:
        print_line(speak("cli.party.password_set", login=login))
        _say_login(login, chosen if generate else "")


@app.command(help=speak("cli.party.key"))
def key(
    name: NameArgument,
    role: Annotated[list[str] | None, typer.Option(help=speak("cli.party.key_roles"))] = None,
    days: Annotated[int, typer.Option(help=speak("cli.party.key_days"))] = 90,
    label: Annotated[str, typer.Option(help=speak("cli.party.key_label"))] = "",
    listed: Annotated[bool, typer.Option("--list", help=speak("cli.party.key_list"))] = False,
    end: Annotated[str | None, typer.Option(help=speak("cli.party.key_end"), show_default=False)] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.api_keys import describe_key, end_key, list_keys, make_key
    from malan.services.accounts.parties import find_party

    ws = open_workspace(workspace)
    party = find_party(ws, name, caller=COMMAND_LINE)
    if listed:
        keys = list_keys(ws, COMMAND_LINE, party.id)
        print_json({"keys": [describe_key(one) for one in keys]}) if as_json else _print_keys(keys)
    elif end is not None:
        ended = end_key(ws, COMMAND_LINE, end, party=party.id)
        print_json(describe_key(ended)) if as_json else print_line(speak("cli.party.key_over", prefix=ended.prefix))
    else:
        made = make_key(ws, COMMAND_LINE, party.id, has=role or (), days=days, label=label)
        if as_json:
            print_json({**describe_key(made.key), "key": made.text})
            return
        print_line(speak("cli.party.key_made", name=party.name, date=_day(made.key.ends_s)))
        print_line(made.text)


@app.command(help=speak("cli.party.disable"))
def disable(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    _set_state(open_workspace(workspace), name, "cli.party.shut", is_disabled=True, as_json=as_json)


@app.command(help=speak("cli.party.enable"))
def enable(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    _set_state(open_workspace(workspace), name, "cli.party.open", is_disabled=False, as_json=as_json)


@app.command("sign-out", help=speak("cli.party.signout"))
def sign_out(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.parties import find_party
    from malan.services.accounts.sessions import sign_out_everywhere

    ws = open_workspace(workspace)
    party = find_party(ws, name, caller=COMMAND_LINE)
    ended = sum(sign_out_everywhere(ws, one, caller=COMMAND_LINE) for one in party.logins)
    if as_json:
        print_json({"party": party.id, "sessions_ended": ended})
    else:
        print_line(speak("cli.party.signed_out", n=ended, name=party.name))


def _set_state(ws: Workspace, name: str, said: str, *, is_disabled: bool, as_json: bool) -> None:
    from malan.services.accounts.parties import set_disabled

    party = set_disabled(ws, COMMAND_LINE, name, is_disabled=is_disabled)
    _print_json(party) if as_json else print_line(speak(said, name=party.name))


def _new_password(login: str, from_stdin: bool, generate: bool) -> str:
    """A password: made here, read from a pipe, or typed twice without being seen."""
    from malan.core.errors import UsageError

    if generate:
        from malan.services.accounts.passwords import new_password

        return new_password()
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    from getpass import getpass

    first = getpass(speak("cli.party.ask", login=login))
    if getpass(speak("cli.party.ask_again")) != first:
        raise UsageError("access.password_differs")
    return first


def _say_login(login: str, made: str, *, was_open: bool = False) -> None:
    """Show a password that was made here, once it opens; and that the first login changes things for everybody."""
    if made:
        print_line(speak("cli.party.generated", login=login, password=made))
    if was_open:
        print_line(speak("cli.party.first"))


def _print_json(party: Party, password: str | None = None) -> None:
    from malan.services.accounts.parties import describe_party

    print_json({**describe_party(party), **({"password": password} if password else {})})


def _print_parties(found: list[Party]) -> None:
    columns = [speak(f"cli.column.{name}") for name in ("name", "kind_of_party", "roles", "logins", "state", "id")]
    rows = [
        (
            party.name,
            speak(f"access.kind.{party.kind}"),
            _roles(party),
            ", ".join(party.logins),
            speak("cli.party.state.disabled") if party.is_disabled else "",
            party.id[:12],
        )
        for party in found
    ]
    print_table(columns, rows)


def _print_keys(keys: list[ApiKey]) -> None:
    now = datetime.now(UTC).timestamp()
    columns = [speak(f"cli.column.{name}") for name in ("prefix", "label", "roles", "until", "state")]
    rows = [
        (
            f"mk_{one.prefix}",
            one.label,
            ", ".join(one.roles),
            _day(one.ends_s),
            speak(f"cli.party.state.{'open' if one.is_open(now) else 'ended'}"),
        )
        for one in keys
    ]
    print_table(columns, rows)


def _roles(party: Party) -> str:
    return ", ".join(party.roles) or "–"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
