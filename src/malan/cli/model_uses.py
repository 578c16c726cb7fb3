"""`malan model`, what is done with a model: merge, export, serve, apply; approve, retire and recall it.

The registry itself is in `model`, where these commands are put in their places.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.model_shown import owners_text
from malan.cli.show import (
    AsOption,
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    progress_bar,
    speak,
)
from malan.core.errors import UsageError
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.models.rights import Asked


ModelArgument = Annotated[str, typer.Argument(help=speak("cli.model.model"))]
PurposeOption = Annotated[str, typer.Option(help=speak("cli.model.purpose"))]
TerritoryOption = Annotated[str | None, typer.Option(help=speak("cli.model.territory"), show_default=False)]
_COMMERCIAL = "commercial"
_PURPOSES = (_COMMERCIAL, "research")


def merge(
    models: Annotated[list[str], typer.Argument(help=speak("cli.model.models"))],
    weights: Annotated[str, typer.Option(help=speak("cli.model.weights"))],
    name: Annotated[str, typer.Option(help=speak("cli.model.name"))],
    rank: Annotated[int | None, typer.Option(min=1, help=speak("cli.model.rank"), show_default=False)] = None,
    licence: Annotated[str, typer.Option(help=speak("cli.model.licence"), show_default=False)] = "",
    purpose: PurposeOption = _COMMERCIAL,
    territory: TerritoryOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.models.cards import show_model
    from malan.services.models.merge import merge_models, read_weights

    ws = open_workspace(workspace)
    done = merge_models(
        ws,
        models,
        read_weights(weights),
        name=name.partition("@")[0],
        version=name.partition("@")[2],
        licence=licence,
        rank=rank,
        asked=_asked("merge", purpose, territory),
        caller=COMMAND_LINE,
    )
    found = show_model(ws, done.model.id, caller=COMMAND_LINE) | {"rank": done.rank, "error": done.error}
    if as_json:
        print_json(found)
        return
    print_line(speak("cli.model.merged", name=done.model.title, rank=done.rank, id=done.model.id[:16]))
    if done.error:
        print_line(speak("cli.model.error", error=f"{done.error:.3g}"))
    print_line(owners_text(found["shares"]))


def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help=speak("cli.model.out"))],
    form: Annotated[str, typer.Option("--format", help=speak("cli.model.format"))] = "safetensors",
    purpose: PurposeOption = _COMMERCIAL,
    territory: TerritoryOption = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.exports import export_model

    ws = open_workspace(workspace)
    done = export_model(
        ws, model, out, form=form, asked=_asked("export", purpose, territory), caller=caller_for(ws, acting_as)
    )
    if as_json:
        said = {"model": done.model.id, "name": done.model.title, "format": done.format, "out": done.out}
        print_json(said | {"files": list(done.files), "digest": done.digest, "difference": done.difference})
        return
    print_line(speak("cli.model.exported", name=done.model.title, out=done.out, files=", ".join(done.files)))
    if done.difference is not None:
        print_line(speak("cli.model.difference", difference=f"{done.difference:.1e}"))


def serve(
    model: ModelArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help=speak("cli.up.port"))] = 8650,
    purpose: PurposeOption = _COMMERCIAL,
    territory: TerritoryOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    asked = _asked("serve", purpose, territory)
    words = [str(open_workspace(workspace).root), str(port), model, "yes" if asked.is_commercial else "no"]
    sys.stdout.flush()
    words = [sys.executable, "-m", "malan.web.model_server", *words, asked.territory or ""]
    os.execv(sys.executable, words)  # noqa: S606  (the service is a face of its own: this process becomes it)


def apply(
    model: ModelArgument,
    where: Annotated[list[str] | None, typer.Option(help=speak("cli.where"))] = None,
    least: Annotated[float, typer.Option(help=speak("cli.model.least"))] = 0.5,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips.tagging import apply_model
    from malan.services.clips.where import condition

    ws = open_workspace(workspace)
    with progress_bar(speak("cli.model.applying"), quiet=as_json) as step:
        query = condition(" ".join(where or []))
        done = apply_model(ws, model, query, least=least, progress=step, caller=COMMAND_LINE)
    if as_json:
        said = {"model": done.model.id, "name": done.model.title, "label_set": done.label_set, "clips": done.clips}
        print_json(said | {"names": dict(done.names), "unsure": done.unsure, "event": done.event})
        return
    print_line(speak("cli.model.applied", name=done.model.title, clips=done.clips, set=done.label_set))
    columns = [speak("cli.column.name"), speak("cli.column.clips")]
    print_table(columns, [(name, str(count)) for name, count in done.names.items()])
    if done.unsure:
        print_line(speak("cli.model.unsure", clips=done.unsure, least=f"{least:g}"))


def approve(
    model: ModelArgument,
    use: Annotated[str, typer.Option("--for", help=speak("cli.model.use"))] = "export",
    limit: Annotated[str, typer.Option("--confirm", help=speak("cli.model.confirm"), show_default=False)] = "",
    reason: Annotated[str, typer.Option(help=speak("cli.model.reason"), show_default=False)] = "",
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.cards import show_model
    from malan.services.models.rights import approve_model, confirm_limit

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    if limit:
        done = confirm_limit(ws, model, limit, reason=reason, caller=caller)
    else:
        done = approve_model(ws, model, use, reason=reason, caller=caller)
    if as_json:
        print_json(show_model(ws, done.id, caller=caller))
    else:
        print_line(speak("cli.model.approved", name=done.title, use=limit or use))


def retire(
    model: ModelArgument,
    reason: Annotated[str, typer.Option(help=speak("cli.model.reason"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.models.cards import show_model
    from malan.services.models.rights import retire_model

    ws = open_workspace(workspace)
    done = retire_model(ws, model, reason, caller=COMMAND_LINE)
    if as_json:
        print_json(show_model(ws, done.id, caller=COMMAND_LINE))
    else:
        print_line(speak("cli.model.retired", name=done.title))


def recall(
    model: ModelArgument,
    reason: Annotated[str, typer.Option(help=speak("cli.model.recall_reason"), show_default=False)] = "",
    undo: Annotated[bool, typer.Option("--undo", help=speak("cli.model.undo"))] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=speak("cli.model.dry"))] = False,
    only_itself: Annotated[bool, typer.Option("--only-itself", help=speak("cli.model.only_itself"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.models.rows import RELEASED
    from malan.services.outputs.recall import describe_recall, recall_model, restore_outputs

    ws = open_workspace(workspace)
    if undo:
        found = restore_outputs(ws, model, reason=reason, descendants=not only_itself, caller=COMMAND_LINE)
    else:
        found = recall_model(ws, model, reason=reason, descendants=not only_itself, dry=dry_run, caller=COMMAND_LINE)
    said = describe_recall(found)
    if as_json:
        print_json(said)
        return
    columns = [speak(f"cli.column.{name}") for name in ("output", "made_by", "time", "model", "event")]
    rows = [
        (one["output"][:16], f"{one['app']} {one['mode']}".strip() or "–", one["time"][:19].replace("T", " "),
         one["model"][:16], f"#{one['event']}" if one["event"] is not None else "–")
        for one in said["outputs"]
    ]  # fmt: skip
    print_table(columns, rows)
    counts = {"name": found.model.title, "count": len(rows), "marked": said["marked"], "new": said["new"]}
    print_line(speak("cli.model.recall_undone" if undo else "cli.model.recall_found", **counts))
    if not undo and found.model.state == RELEASED:
        print_line(speak("cli.model.still_in_use", name=found.model.title))


def _asked(action: str, purpose: str, territory: str | None) -> Asked:
    from malan.services.models.rights import Asked

    if purpose not in _PURPOSES:
        raise UsageError("models.bad_purpose", purpose=purpose[:40], known=", ".join(_PURPOSES))
    return Asked(action, purpose == _COMMERCIAL, territory)
