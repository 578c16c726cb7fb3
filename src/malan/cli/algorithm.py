"""`malan algorithm`: write a package, check and try it, submit it; look at one, and decide on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from malan.cli.algorithm_shown import (
    approval_text,
    print_algorithm,
    print_approval,
    print_check,
    print_difference,
    print_smoke,
    print_tiers,
)
from malan.cli.show import (
    AsOption,
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    speak,
)
from malan.core.catalogue import session_language

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.algorithm"))

FolderArgument = Annotated[Path, typer.Argument(help=speak("cli.algorithm.folder"))]
AlgorithmArgument = Annotated[str, typer.Argument(help=speak("cli.algorithm.id"))]
ReasonOption = Annotated[str, typer.Option(help=speak("cli.algorithm.reason"))]


@app.command(help=speak("cli.algorithm.new"))
def new(
    folder: Annotated[Path, typer.Argument(help=speak("cli.algorithm.new_folder"))],
    publisher: Annotated[str, typer.Option(help=speak("cli.algorithm.publisher"))] = "Example Lab",
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.algorithms import new_package

    files = new_package(folder, publisher)
    if as_json:
        print_json({"folder": str(folder), "files": list(files)})
        return
    for name in files:
        print_line(f"  {folder / name}")
    print_line(speak("cli.algorithm.made", folder=folder))


@app.command("list", help=speak("cli.algorithm.list"))
def list_(acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.runs.algorithms import describe_algorithm, list_algorithms
    from malan.services.runs.approvals import describe_approvals

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    found = [
        describe_algorithm(ws, one, whole=False) | {"approval": describe_approvals(ws, one, caller=caller)}
        for one in list_algorithms(ws, caller=caller)
    ]
    if as_json:
        print_json({"algorithms": found})
        return
    columns = [speak(f"cli.algorithm.column.{name}") for name in ("name", "title", "tier", "by", "approval", "digest")]
    rows = [
        (
            f"{one['name']}@{one['version']}",
            one["title"][session_language()],
            ", ".join(one["tiers"]),
            one["submitted_by"]["name"] if one["submitted_by"] else "malan",
            approval_text(one["approval"]),
            one["algorithm"][:12],
        )
        for one in found
    ]
    print_table(columns, rows)


@app.command(help=speak("cli.algorithm.show"))
def show(
    algorithm: AlgorithmArgument,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.runs.algorithms import describe_algorithm, find_algorithm
    from malan.services.runs.approvals import describe_approvals

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    one = find_algorithm(ws, algorithm, caller=caller)
    found = describe_algorithm(ws, one, lang=session_language()) | {
        "approval": describe_approvals(ws, one, caller=caller)
    }
    if as_json:
        print_json(found)
    else:
        print_algorithm(found)


@app.command(help=speak("cli.algorithm.check"))
def check(folder: FolderArgument, as_json: JsonOption = False) -> None:
    from malan.services.runs.algorithms import check_package

    found = check_package(folder)
    if as_json:
        print_json(found)
    else:
        print_check(found)
    if not found["sound"]:
        raise typer.Exit(1)


@app.command(help=speak("cli.algorithm.smoke"))
def smoke(
    algorithm: Annotated[str, typer.Argument(help=speak("cli.algorithm.target"))],
    settings: Annotated[list[str] | None, typer.Option("--set", help=speak("cli.algorithm.set"))] = None,
    base: Annotated[str, typer.Option(help=speak("cli.algorithm.base"), show_default=False)] = "",
    seed: Annotated[int, typer.Option(help=speak("cli.algorithm.seed"))] = 1,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.runs.algorithm_trials import describe_smoke, try_algorithm, try_package

    if (folder := Path(algorithm)).is_dir():
        tried = try_package(folder, settings or (), base=base, seed=seed)
    else:
        ws = open_workspace(workspace)
        caller = caller_for(ws, acting_as)
        tried = try_algorithm(ws, algorithm, settings or (), base=base, seed=seed, caller=caller)
    found = describe_smoke(tried)
    if as_json:
        print_json(found)
    else:
        print_smoke(found)
    if not tried.passed:
        raise typer.Exit(1)


@app.command(help=speak("cli.algorithm.submit"))
def submit(
    folder: FolderArgument,
    grant: Annotated[str | None, typer.Option(help=speak("cli.algorithm.grant"), show_default=False)] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.runs.algorithms import describe_algorithm, submit_algorithm
    from malan.services.runs.approvals import describe_approvals

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    one = submit_algorithm(ws, folder, grant=grant, caller=caller)
    found = describe_algorithm(ws, one, whole=False) | {"approval": describe_approvals(ws, one, caller=caller)}
    if as_json:
        print_json(found)
        return
    print_line(speak("cli.algorithm.submitted", reference=one.reference, digest=one.digest))
    print_approval(found["approval"])


@app.command(help=speak("cli.algorithm.approve"))
def approve(
    algorithm: AlgorithmArgument,
    reason: ReasonOption = "",
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.approvals import approve_algorithm

    _decide(approve_algorithm, algorithm, reason, acting_as, workspace, as_json=as_json)


@app.command(help=speak("cli.algorithm.reject"))
def reject(
    algorithm: AlgorithmArgument,
    reason: ReasonOption,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.approvals import reject_algorithm

    _decide(reject_algorithm, algorithm, reason, acting_as, workspace, as_json=as_json)


@app.command(help=speak("cli.algorithm.revoke"))
def revoke(
    algorithm: AlgorithmArgument,
    reason: ReasonOption,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.approvals import revoke_approval

    _decide(revoke_approval, algorithm, reason, acting_as, workspace, as_json=as_json)


@app.command(help=speak("cli.algorithm.trust"))
def trust(
    publisher: Annotated[str, typer.Argument(help=speak("cli.algorithm.party"))],
    stop: Annotated[bool, typer.Option("--stop", help=speak("cli.algorithm.stop"))] = False,
    reason: ReasonOption = "",
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.runs.approvals import describe_trust, trust_publisher

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    trust_publisher(ws, publisher, trusted=not stop, reason=reason, caller=caller)
    found = describe_trust(ws, caller=caller)
    if as_json:
        print_json({"owners": found})
        return
    for one in found:
        print_line(speak("cli.algorithm.trusts", owner=one["owner"], publishers=", ".join(one["trusts"]) or "–"))


@app.command(help=speak("cli.algorithm.diff"))
def diff(
    algorithm: Annotated[str, typer.Argument(help=speak("cli.algorithm.target"))],
    before: Annotated[
        str | None, typer.Option("--from", help=speak("cli.algorithm.before"), show_default=False)
    ] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.runs.algorithm_trials import describe_difference

    found = describe_difference(_difference(algorithm, before, acting_as, workspace))
    if as_json:
        print_json(found)
    else:
        print_difference(found)


@app.command(help=speak("cli.algorithm.tiers"))
def tiers(
    grant: Annotated[str | None, typer.Option(help=speak("cli.algorithm.tiers_grant"), show_default=False)] = None,
    output_bytes: Annotated[int | None, typer.Option("--bytes", help=speak("cli.algorithm.bytes"))] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.runs.tier_words import describe_tiers, tiers_of_grant

    if grant is None:
        found = describe_tiers(output_bytes=output_bytes)
    else:
        ws = open_workspace(workspace)
        found = tiers_of_grant(ws, grant, caller=caller_for(ws, acting_as))
    if as_json:
        print_json(found)
    else:
        print_tiers(found)


def _difference(algorithm: str, before: str | None, acting_as: str | None, workspace: Path | None) -> Any:
    """Of two folders, a folder and what is on record, or two versions on record."""
    from malan.services.accounts.acting import caller_for
    from malan.services.runs.algorithm_trials import compare_folder, compare_folders
    from malan.services.runs.approvals import compare_with_before

    if Path(algorithm).is_dir() and before is not None and Path(before).is_dir():
        return compare_folders(Path(before), Path(algorithm))
    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    if Path(algorithm).is_dir():
        return compare_folder(ws, before, Path(algorithm), caller=caller)
    return compare_with_before(ws, algorithm, before, caller=caller)


def _decide(
    decide: Callable[..., Any],
    algorithm: str,
    reason: str,
    acting_as: str | None,
    workspace: Path | None,
    *,
    as_json: bool,
) -> None:
    """Say an owner's word about an algorithm, and show what all owners have said then."""
    from malan.services.accounts.acting import caller_for
    from malan.services.runs.algorithms import find_algorithm
    from malan.services.runs.approvals import describe_approvals

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    decide(ws, algorithm, reason=reason, caller=caller)
    one = find_algorithm(ws, algorithm, caller=caller)
    found = describe_approvals(ws, one, caller=caller)
    if as_json:
        print_json({"algorithm": one.digest} | found)
    else:
        print_approval(found)
