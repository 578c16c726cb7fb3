"""`malan log witness`: cosign the logs of partners, have our own cosigned, compare copies.

`malan log witness FOLDER` is short for `malan log witness cosign FOLDER`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from malan.cli.show import (
    JsonOption,
    WorkspaceOption,
    fail,
    open_workspace,
    print_json,
    print_line,
    print_table,
    speak,
    write_out,
)
from malan.core.errors import ProofError
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.log.witness import AskedWitnesses


class _CosignByDefault(TyperGroup):
    """What is no command is the folder of a log to cosign."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_command = not args or args[0] in self.commands or args[0] == "--help"
        return list(super().parse_args(ctx, args if is_command else ["cosign", *args]))


app = typer.Typer(
    cls=_CosignByDefault, add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=speak("cli.witness")
)

LogKeysOption = Annotated[list[str] | None, typer.Option("--key", help=speak("cli.witness.key"))]


@app.command(help=speak("cli.witness.cosign"))
def cosign(
    folder: Annotated[Path, typer.Argument(help=speak("cli.witness.folder"))],
    key: LogKeysOption = None,
    out: Annotated[Path | None, typer.Option(help=speak("cli.witness.out"))] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.witness import cosign_folder

    done = cosign_folder(open_workspace(workspace), folder, key or [], caller=COMMAND_LINE)
    if out is not None:
        out.write_text(done.line, "utf-8")
    if as_json:
        print_json(done)
        return
    before = speak("cli.witness.first") if done.since is None else speak("cli.witness.since", size=done.since)
    print_line(speak("cli.witness.cosigned", origin=done.origin, size=done.size, before=before))
    print_line(done.line.rstrip("\n"))


@app.command(help=speak("cli.witness.show"))
def show(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.log.witness import show_witness

    shown = show_witness(open_workspace(workspace))
    if as_json:
        print_json(shown)
        return
    print_line(shown.vkey)
    columns = [speak(f"cli.column.{column}") for column in ("log", "size", "root")]
    print_table(
        columns, [(log.origin, "—" if log.size is None else str(log.size), log.root[:16]) for log in shown.logs]
    )
    for origin in dict.fromkeys(shown.split_views):
        print_line(speak("cli.witness.caught", origin=origin))


@app.command(help=speak("cli.witness.know"))
def know(
    key: Annotated[str, typer.Argument(help=speak("cli.witness.key"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.witness import know_log

    origin = know_log(open_workspace(workspace), key, caller=COMMAND_LINE)
    if as_json:
        print_json({"origin": origin})
    else:
        print_line(speak("cli.witness.known", origin=origin))


@app.command(help=speak("cli.witness.serve"))
def serve(
    workspace: WorkspaceOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help=speak("cli.up.port"))] = 8610,
    host: Annotated[str, typer.Option(help=speak("up.host"))] = "127.0.0.1",
) -> None:
    ws = open_workspace(workspace)
    sys.stdout.flush()
    # The HTTP face is a face of its own: this process becomes it.
    os.execv(sys.executable, [sys.executable, "-m", "malan.web.witness", str(ws.root), host, str(port)])  # noqa: S606


@app.command(help=speak("cli.witness.ask"))
def ask(
    policy: Annotated[Path | None, typer.Option(help=speak("cli.witness.policy"))] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help=speak("cli.witness.timeout"))] = 15.0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.witness import ask_witnesses

    asked = ask_witnesses(open_workspace(workspace), policy, timeout_s=timeout, caller=COMMAND_LINE)
    _print_asked(asked, as_json=as_json)
    if any(isinstance(error, ProofError) for error in asked.failures.values()):
        raise typer.Exit(4)
    if not asked.has_quorum:
        raise typer.Exit(1)


@app.command(help=speak("cli.witness.accept"))
def accept(
    file: Annotated[Path, typer.Argument(help=speak("cli.witness.lines"))],
    key: Annotated[str, typer.Option(help=speak("cli.witness.witness_key"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.witness import accept_cosignature

    text = file.read_bytes()[: 1 << 16].decode("utf-8", "replace")
    _print_asked(accept_cosignature(open_workspace(workspace), text, key, caller=COMMAND_LINE), as_json=as_json)


@app.command(help=speak("cli.witness.compare"))
def compare(
    first: Annotated[Path, typer.Argument(help=speak("cli.witness.copy"))],
    second: Annotated[Path, typer.Argument(help=speak("cli.witness.copy"))],
    key: LogKeysOption = None,
    out: Annotated[Path | None, typer.Option(help=speak("cli.witness.evidence_out"))] = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.log.witness import compare_copies, describe_comparison

    found = compare_copies(first, second, key or [])
    described = describe_comparison(found)
    if out is not None and found.split_view:
        write_out(out, found.split_view.to_bytes())
    if as_json:
        print_json(described)
    else:
        sizes = {"first": found.first.size, "second": found.second.size, "shared": found.shared}
        print_line(speak(f"cli.witness.{found.relation}", origin=found.first.origin, **sizes))
    if found.split_view:
        raise typer.Exit(4)


def _print_asked(asked: AskedWitnesses, *, as_json: bool) -> None:
    if as_json:
        failures = {name: {"code": e.code, "message": e.message()} for name, e in asked.failures.items()}
        print_json(
            {
                "origin": asked.origin,
                "size": asked.size,
                "cosigned_by": list(asked.cosigned_by),
                "failures": failures,
                "quorum": asked.has_quorum,
            }
        )
        return
    for error in asked.failures.values():
        fail(error)
    names = ", ".join(asked.cosigned_by) or "—"
    print_line(speak("cli.witness.asked", origin=asked.origin, size=asked.size, names=names))
    print_line(speak("cli.witness.quorum" if asked.has_quorum else "cli.witness.no_quorum"))
