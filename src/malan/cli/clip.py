"""`malan clip`: find, show, label, export."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from malan.cli import clip_index, clip_label, clip_trace
from malan.cli.show import (
    JsonOption,
    WorkspaceOption,
    open_workspace,
    print_json,
    print_line,
    print_table,
    progress_bar,
    speak,
    write_out,
)
from malan.core.time import timecode
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.clips.search import ClipHit, ClipPage, ClipQuery, ClipRow

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.clip"))

app.command("label", help=speak("cli.clip.label"))(clip_label.label)
app.command("unlabel", help=speak("cli.clip.unlabel"))(clip_label.unlabel)
app.command("labels", help=speak("cli.clip.labels"))(clip_label.labels)
app.command("trace", help=speak("cli.clip.trace"))(clip_trace.trace)
app.command("index", help=speak("cli.clip.index"))(clip_index.index)
app.command("measure-search", help=speak("cli.clip.measure"))(clip_index.measure)

_ID = re.compile(r"[0-9a-f]{6,64}")

TextArgument = Annotated[list[str] | None, typer.Argument(help=speak("cli.clip.text"))]
WhereOption = Annotated[list[str] | None, typer.Option("--where", help=speak("cli.where"))]
UseOption = Annotated[str, typer.Option("--use", help=speak("cli.use"))]


@app.command(help=speak("cli.clip.find"))
def find(
    text: TextArgument = None,
    min_duration: Annotated[float | None, typer.Option(help=speak("cli.clip.min_duration"))] = None,
    max_duration: Annotated[float | None, typer.Option(help=speak("cli.clip.max_duration"))] = None,
    owner: Annotated[list[str] | None, typer.Option(help=speak("cli.clip.owner"))] = None,
    asset: Annotated[list[str] | None, typer.Option(help=speak("cli.clip.asset"))] = None,
    tag: Annotated[list[str] | None, typer.Option(help=speak("cli.clip.tag"))] = None,
    where: WhereOption = None,
    use: UseOption = "retrieve",
    similar_to: Annotated[str | None, typer.Option(help=speak("cli.clip.similar_to"))] = None,
    meaning: Annotated[str, typer.Option(help=speak("cli.clip.meaning"), show_default=False)] = "",
    like: Annotated[str, typer.Option(help=speak("cli.clip.like"), show_default=False)] = "",
    model: Annotated[str, typer.Option(help=speak("cli.clip.model"), show_default=False)] = "",
    fold: Annotated[bool, typer.Option(help=speak("cli.clip.fold"))] = True,
    limit: Annotated[int, typer.Option(min=1, max=1000, help=speak("cli.clip.limit"))] = 20,
    offset: Annotated[int, typer.Option(min=0, help=speak("cli.clip.offset"))] = 0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips import search as clips
    from malan.services.clips.where import condition, tagged
    from malan.services.footage.owners import owner_names

    ws = open_workspace(workspace)
    query = replace(
        _asked(condition(" ".join(where or [])), text, owner, asset, ws),
        similar_to=similar_to, fold_duplicates=fold, limit=limit, offset=offset,
    )  # fmt: skip
    for one in tag or ():
        query = replace(query, **tagged(query, one))
    if min_duration is not None:
        query = replace(query, min_duration_s=min_duration)
    if max_duration is not None:
        query = replace(query, max_duration_s=max_duration)
    if meaning or like:
        page = _by_meaning(ws, query, meaning, like, model, use)
    else:
        page = clips.find(ws, query, use=use, caller=COMMAND_LINE)
    print_json(_page_json(page, owner_names(ws))) if as_json else _print_page(page, owner_names(ws))


@app.command(help=speak("cli.clip.show"))
def show(
    clip: Annotated[str, typer.Argument(help=speak("cli.clip.id"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips import search as clips
    from malan.services.footage.owners import owner_names

    ws = open_workspace(workspace)
    shown, names = clips.show(ws, clip, caller=COMMAND_LINE), owner_names(ws)
    findings = [
        {
            "kind": f.kind, "start_s": round(f.clip.span.start_s, 6), "end_s": round(f.clip.span.end_s, 6),
            "value": dict(f.value), "confidence": f.confidence, "producer": f"{f.producer} {f.version}",
            "author": f.author, "reason": f.reason,
        }
        for f in shown.findings
    ]  # fmt: skip
    if as_json:
        duplicates = [row.id for row in shown.duplicates]
        print_json({**_row_json(shown.row, names), "findings": findings, "duplicates": duplicates})
        return
    print_table(*_rows_table([(shown.row, "")], names))
    columns = [speak(f"cli.column.{column}") for column in ("kind", "from", "to", "value", "confidence")]
    print_table(columns, [_finding_line(finding) for finding in findings])


@app.command(help=speak("cli.clip.prove"))
def prove(
    clip: Annotated[str, typer.Argument(help=speak("cli.clip.id"))],
    dataset: Annotated[str, typer.Option(help=speak("cli.dataset.name_or_id"))],
    out: Annotated[Path, typer.Option(help=speak("cli.log.receipt_out"))],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.cli.log import say_receipt
    from malan.services.log.proofs import clip_receipt, write_receipt
    from malan.services.log.reading import places_of

    ws = open_workspace(workspace)
    receipt = clip_receipt(ws, dataset, clip, caller=COMMAND_LINE)
    write_out(out, write_receipt(receipt))
    index = places_of(ws, f"urn:malan:snapshot:{receipt['manifest']['root']}", caller=COMMAND_LINE)[0]
    say_receipt(ws_path=workspace, out=out, index=index, as_json=as_json)


@app.command(help=speak("cli.clip.export"))
def export(
    clip: Annotated[list[str], typer.Argument(help=speak("cli.clip.id"))],
    out: Annotated[Path, typer.Option(help=speak("cli.clip.out"))] = Path("clips"),
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips.exports import export_clips

    with progress_bar(speak("cli.clip.exporting"), quiet=as_json) as step:
        done = export_clips(open_workspace(workspace), clip, out, progress=step, caller=COMMAND_LINE)
    if as_json:
        print_json({"exported": [{"clip": e.row.id, "path": e.path, "size_bytes": e.size_bytes} for e in done]})
        return
    for one in done:
        print_line(f"{one.path}  {one.size_bytes / 1e6:.2f} MB")


def _by_meaning(ws: Any, query: ClipQuery, text: str, like: str, model: str, use: str) -> ClipPage:
    """What is like a text, a picture file or a clip; what names no file is the beginning of a clip's id."""
    from malan.services.clips.meaning import MeaningAsk, find_meaning

    picture = Path(like) if like and not _ID.fullmatch(like) else None
    ask = MeaningAsk(text, picture, "" if picture else like)
    return find_meaning(ws, query, ask, engine=model, use=use, caller=COMMAND_LINE)


def _asked(
    query: ClipQuery, text: list[str] | None, owners: list[str] | None, assets: list[str] | None, ws: Any
) -> ClipQuery:
    """The query narrowed by the words and names on the command line."""
    from malan.rights import party_id

    return replace(
        query,
        text=" ".join([*(text or []), *([query.text] if query.text else [])]),
        owner_ids=(*query.owner_ids, *(party_id(name) for name in owners or [])),
        asset_ids=tuple(ws.library.asset(one).asset.id for one in (*query.asset_ids, *(assets or []))),
    )


def _page_json(page: ClipPage, names: dict[str, str]) -> dict[str, Any]:
    return {
        "total": page.total,
        "is_total_exact": page.is_total_exact,
        "relaxed": page.relaxed,
        "took_ms": round(page.took_ms, 2),
        "next_offset": page.next_offset,
        "clips": [_hit_json(hit, names) for hit in page.hits],
    }


def _hit_json(hit: ClipHit, names: dict[str, str]) -> dict[str, Any]:
    return {
        **_row_json(hit.row, names),
        "score": round(hit.score, 4),
        "has_all_words": hit.has_all_words,
        "evidence": [{"field": e.field, "snippet": e.snippet, "marks": e.marks} for e in hit.evidence],
        "similar": hit.similar_count,
    }


def _row_json(row: ClipRow, names: dict[str, str]) -> dict[str, Any]:
    return {
        "clip": row.id,
        "fragment": row.clip.fragment,
        "asset": row.clip.asset_id,
        "file": row.file_name,
        "start_s": round(row.span.start_s, 6),
        "end_s": round(row.span.end_s, 6),
        "owner": names.get(row.owner_id, row.owner_id[:12]),
        "terms": row.terms_id,
        "caption": row.caption,
        "labels": row.labels,
        "measures": {name: round(value, 4) for name, value in row.measures.items()},
    }


def _print_page(page: ClipPage, names: dict[str, str]) -> None:
    if not page.hits:
        print_line(speak("cli.clip.nothing"))
        return
    print_table(*_rows_table([(hit.row, _why(hit)) for hit in page.hits], names))
    count = f"{page.total}{'' if page.is_total_exact else '+'}"
    found = "cli.clip.found_some" if page.relaxed else "cli.clip.found"
    print_line(speak(found, count=count, ms=f"{page.took_ms:.0f}"))


def _rows_table(rows: list[tuple[ClipRow, str]], names: dict[str, str]) -> tuple[list[str], list[tuple[str, ...]]]:
    columns = [speak(f"cli.column.{column}") for column in ("clip", "file", "from", "to", "owner", "why")]
    lines: list[tuple[str, ...]] = [
        (
            row.id[:12], row.file_name, timecode(row.span.start_s), timecode(row.span.end_s),
            names.get(row.owner_id, row.owner_id[:12]), why,
        )
        for row, why in rows
    ]  # fmt: skip
    return columns, lines


def _why(hit: ClipHit) -> str:
    found = "  ".join(evidence.snippet.replace("\n", " / ") for evidence in hit.evidence[:2])
    return f"{found}  +{hit.similar_count}" if hit.similar_count else found


def _finding_line(finding: dict[str, Any]) -> tuple[str, ...]:
    value = ", ".join(f"{key} {_short(part)}" for key, part in finding["value"].items())
    sure = "" if finding["confidence"] is None else f"{finding['confidence']:.2f}"
    return finding["kind"], timecode(finding["start_s"]), timecode(finding["end_s"]), value[:90], sure


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
