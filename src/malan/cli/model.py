"""`malan model`: the registry of models: what there is, whose it is, what may be done with it, and doing it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from malan.cli.product import AsOption
from malan.cli.show import (
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_fields,
    print_json,
    print_line,
    print_table,
    progress_bar,
    speak,
    write_out,
)
from malan.core.catalogue import session_language
from malan.core.errors import UsageError
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.models.rights import Asked
    from malan.services.models.upkeep import Checked

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.model"))

ModelArgument = Annotated[str, typer.Argument(help=speak("cli.model.model"))]
PurposeOption = Annotated[str, typer.Option(help=speak("cli.model.purpose"))]
TerritoryOption = Annotated[str | None, typer.Option(help=speak("cli.model.territory"), show_default=False)]
NameOption = Annotated[str, typer.Option(help=speak("cli.model.name"), show_default=False)]
_COMMERCIAL, _MB = "commercial", 10**6
_PURPOSES = (_COMMERCIAL, "research")


@app.command("list", help=speak("cli.model.list"))
def list_(acting_as: AsOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.cards import list_descriptions

    ws = open_workspace(workspace)
    found = list_descriptions(ws, caller=caller_for(ws, acting_as))
    if as_json:
        print_json({"models": found})
        return
    columns = [speak(f"cli.column.{name}") for name in ("name", "kind", "state", "licence", "owners", "id")]
    rows = [
        (
            one["name"],
            speak(f"models.card.kind.{one['kind']}"),
            speak(f"models.state.{one['state']}"),
            one["licence"]["id"],
            _owners(one["shares"]),
            one["model"][:16],
        )
        for one in found
    ]
    print_table(columns, rows)


@app.command(help=speak("cli.model.show"))
def show(
    model: ModelArgument,
    card: Annotated[bool, typer.Option("--card", help=speak("cli.model.card"))] = False,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.cards import model_card, show_model

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    if card:
        sys.stdout.write(model_card(ws, model, session_language(), caller=caller))
        return
    found = show_model(ws, model, caller=caller)
    if as_json:
        print_json(found)
        return
    _print_model(found)


@app.command(help=speak("cli.model.add"))
def add(
    place: Annotated[str, typer.Argument(help=speak("cli.model.place"))],
    licence: Annotated[str, typer.Option(help=speak("cli.model.licence"))],
    family: Annotated[str, typer.Option(help=speak("cli.model.family"))],
    name: NameOption = "",
    digest: Annotated[str, typer.Option(help=speak("cli.model.digest"), show_default=False)] = "",
    fetch: Annotated[bool, typer.Option("--fetch", help=speak("cli.model.fetch"))] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.models.bases import add_base_from
    from malan.services.models.cards import show_model

    ws = open_workspace(workspace)
    made = add_base_from(
        ws, place, licence=licence, family=family, name=name, digest=digest, fetch=fetch, caller=COMMAND_LINE
    )
    found = show_model(ws, made.id, caller=COMMAND_LINE)
    if as_json:
        print_json(found)
    else:
        print_line(speak("cli.model.added", name=made.title, id=made.id[:16], mb=f"{made.size_bytes / 1e6:.1f}"))


@app.command(help=speak("cli.model.pull"))
def pull(
    reference: Annotated[str, typer.Argument(help=speak("cli.model.reference"))],
    licence: Annotated[str, typer.Option(help=speak("cli.model.licence"))],
    family: Annotated[str, typer.Option(help=speak("cli.model.family"))],
    name: NameOption = "",
    digest: Annotated[str, typer.Option(help=speak("cli.model.digest"), show_default=False)] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.models.cards import show_model
    from malan.services.models.upkeep import pull_base

    ws = open_workspace(workspace)
    with progress_bar(speak("cli.model.fetching"), quiet=as_json) as step:

        def tell(done: int, total: int) -> None:
            step(done // _MB, total // _MB)

        made = pull_base(
            ws, reference, licence=licence, family=family, name=name, digest=digest, tell=tell, caller=COMMAND_LINE
        )
    if as_json:
        print_json(show_model(ws, made.id, caller=COMMAND_LINE))
        return
    print_line(speak("cli.model.added", name=made.title, id=made.id[:16], mb=f"{made.size_bytes / 1e6:.1f}"))
    if not digest:
        print_line(speak("cli.model.pin", id=made.id))


@app.command(help=speak("cli.model.check"))
def check(
    model: Annotated[str, typer.Argument(help=speak("cli.model.checked"))],
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.upkeep import check_model, describe_check

    ws = open_workspace(workspace)
    found = check_model(ws, model, caller=caller_for(ws, acting_as))
    if as_json:
        print_json(describe_check(found))
    else:
        _print_check(found)
    if not found.is_well:
        raise typer.Exit(1)


def _print_check(found: Checked) -> None:
    lang = session_language()
    print_line(f"{found.title}  {found.digest[:16]}")
    for one in found.findings:
        print_line(f"{'✓' if one.is_well else '✗'} {speak(f'models.check.{one.what}')}: {one.said}")
    for use, answer in found.uses.items():
        said = " ".join(one[lang] for one in answer["reasons"])
        print_line(f"{'✓' if answer['allowed'] else '✗'} {speak(f'models.use.{use}')} ({use}): {said}")
    if found.engines:
        print_line(speak("cli.model.engines", engines=", ".join(found.engines)))


@app.command(help=speak("cli.model.remove"))
def remove(model: ModelArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    from malan.services.models.upkeep import remove_model

    done = remove_model(open_workspace(workspace), model, caller=COMMAND_LINE)
    if as_json:
        said = {"model": done.model.id, "name": done.model.title, "forgotten": done.is_forgotten}
        print_json(said | {"files": done.files, "size_bytes": done.size_bytes})
        return
    print_line(speak("cli.model.removed" if done.is_forgotten else "cli.model.kept_retired", name=done.model.title))
    if done.files:
        print_line(speak("cli.model.files_deleted", files=done.files, mb=f"{done.size_bytes / 1e6:.1f}"))
    elif done.model.place:
        print_line(speak("cli.model.files_stay", place=str(done.model.place["folder"])))


@app.command(help=speak("cli.model.compare"))
def compare(
    first: ModelArgument,
    second: ModelArgument,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.cards import compare_models, figure_name

    ws = open_workspace(workspace)
    found = compare_models(ws, first, second, caller=caller_for(ws, acting_as))
    if as_json:
        print_json(found)
        return
    names = [one["name"] for one in found["models"]]
    rows = [
        (speak("models.card.licence"), *(one["licence"]["id"] for one in found["models"])),
        *((figure_name(name), *(value or "–" for value in values)) for name, values in found["metrics"].items()),
        *((owner, *(f"{float(share):.2%}" for share in shares)) for owner, shares in found["shares"].items()),
    ]
    print_table([speak("models.card.what"), *names], rows)
    if found["distance"] is not None:
        print_line(speak("cli.model.distance", distance=f"{found['distance']:.4g}"))
    if not found["same_split"]:
        print_line(speak("cli.model.other_split"))


@app.command(help=speak("cli.model.merge"))
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
    print_line(_owners(found["shares"]))


@app.command(help=speak("cli.model.export"))
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


@app.command(help=speak("cli.model.serve"))
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


@app.command(help=speak("cli.model.apply"))
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


@app.command(help=speak("cli.model.approve"))
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


@app.command(help=speak("cli.model.retire"))
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


@app.command(help=speak("cli.model.recall"))
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


@app.command(help=speak("cli.model.trace"))
def trace(
    model: ModelArgument,
    out: Annotated[Path | None, typer.Option(help=speak("cli.model.trace_out"), show_default=False)] = None,
    acting_as: AsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.accounts.acting import caller_for
    from malan.services.models.trace import describe_trace, model_receipt, trace_model

    ws = open_workspace(workspace)
    caller = caller_for(ws, acting_as)
    found = describe_trace(trace_model(ws, model, caller=caller))
    if out is not None:
        write_out(out, model_receipt(ws, model, caller=caller))
    if as_json:
        print_json(found)
        return
    for depth, one in enumerate(found["lineage"]):
        at = ", ".join(map(str, one["events"]))
        kind = speak(f"models.card.kind.{one['kind']}")
        print_line(
            f"{'  └ ' if depth else ''}{one['name']}  {kind}  {one['model'][:16]}  {speak('cli.model.at', at=at)}"
        )
        for used in one["assets"][:20]:
            mark = "✗" if used["withdrawn"] else "·"
            seconds = f"{float(used['clip_seconds']):.1f}"
            print_line(f"      {mark} {used['asset'][:16]}  {used['owner']}  {seconds} s")
    columns = [speak("models.card.owner"), speak("models.card.share"), "%"]
    print_table(columns, [(o["name"], str(o["share"]), f"{float(o['share']):.2%}") for o in found["owners"]])


def _asked(action: str, purpose: str, territory: str | None) -> Asked:
    from malan.services.models.rights import Asked

    if purpose not in _PURPOSES:
        raise UsageError("models.bad_purpose", purpose=purpose[:40], known=", ".join(_PURPOSES))
    return Asked(action, purpose == _COMMERCIAL, territory)


def _print_model(found: dict[str, Any]) -> None:
    from malan.services.models.cards import figure_name

    lang = session_language()
    print_line(f"{found['name']}  {found['model']}")
    fields = {
        speak("models.card.kind"): [speak(f"models.card.kind.{found['kind']}")],
        speak("cli.column.state"): [speak(f"models.state.{found['state']}")],
        speak("models.card.licence"): [found["licence"]["title"].get(lang, found["licence"]["id"])],
        speak("models.card.family"): [found["family"] or "–"],
        speak("models.card.run"): [found["run"].get("id") or "–"],
        speak("models.card.snapshot"): [found["snapshot"] or "–"],
        speak("models.card.owners"): [f"{o['name']}  {o['share']}" for o in found["shares"]] or ["–"],
    }
    print_fields(fields)
    if found["figures"]:
        rows = [(figure_name(name), value) for name, value in sorted(found["figures"].items())]
        print_table([speak("models.card.evaluation"), speak("models.card.value")], rows)
    for use, answer in found["uses"].items():
        said = " ".join(one[lang] for one in answer["reasons"])
        print_line(f"{'✓' if answer['allowed'] else '✗'} {speak(f'models.use.{use}')} ({use}): {said}")


def _owners(shares: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['name']} {float(one['share']):.0%}" for one in shares[:6]) or "–"
