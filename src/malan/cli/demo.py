"""`malan demo`: the whole chain, step by step, on films drawn on the spot or on the user's own footage.

Each step is the same service the commands and the console call; this file only orders them and shows what they say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import open_workspace, print_line, progress_bar, speak
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.core import Clip
    from malan.services.clips.search import ClipHit
    from malan.services.runs.submission import Run
    from malan.workspace import Workspace

_OWN_TERMS = "promo"  # find, cut, show: what people try first with footage of their own; not for training

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(help=speak("cli.demo"))
def demo(
    workspace: Annotated[Path, typer.Option(envvar="MALAN_WORKSPACE", help=speak("cli.workspace"))] = Path(
        "demo-workspace"
    ),
    footage: Annotated[Path | None, typer.Option(help=speak("cli.demo.footage"))] = None,
    owner: Annotated[str, typer.Option(help=speak("cli.demo.owner_option"))] = "",
    serve: Annotated[bool, typer.Option(help=speak("cli.demo.serve"))] = True,
    port: Annotated[int, typer.Option(min=0, max=65535, help=speak("cli.up.port"))] = 8600,
) -> None:
    began = time.monotonic()
    ws = open_workspace(workspace, create=True)
    files = _drawn(ws) if footage is None else {owner or speak("cli.demo.owner"): [footage.expanduser()]}
    _add(ws, files)
    _scan(ws)
    if footage is None:
        for words in ("夜景 航拍", "云海", "三年前"):
            _find(ws, words)
    if footage is None:
        _learn(ws)
        _make_film(ws)
    _freeze(ws)
    _trace(ws)
    print_line(speak("cli.demo.done", seconds=f"{time.monotonic() - began:.0f}", workspace=ws.root))
    if serve:
        from malan.cli.up import become_console

        become_console(ws, port=port)


def _drawn(ws: Workspace) -> dict[str, list[Path]]:
    """The demo's own films, drawn where they are not there yet."""
    from malan.services.demo.draw import draw_library

    with progress_bar(speak("cli.demo.drawing")) as step:
        files = draw_library(ws.folder("footage"), step, ws.settings.worker_count)
    print_line(speak("cli.demo.drawn", files=sum(len(paths) for paths in files.values()), owners=len(files)))
    return files


def _add(ws: Workspace, files: dict[str, list[Path]]) -> None:
    from malan.rights import load_terms
    from malan.services.footage.assets import add_assets
    from malan.services.market.terms import ready_terms

    for owner, paths in files.items():
        stated = paths[0].parent / "terms.toml"
        is_stated = paths[0].is_file() and stated.exists()
        terms = load_terms(stated, owner) if is_stated else ready_terms(_OWN_TERMS, owner)
        with progress_bar(speak("cli.demo.adding", owner=owner)) as step:
            report = add_assets(ws, paths, owner=owner, terms=terms, progress=step, caller=COMMAND_LINE)
        counts = {"added": len(report.added), "known": len(report.known), "refused": len(report.refused)}
        print_line(speak("cli.demo.added", owner=owner, **counts))
        for file in report.refused[:5]:
            print_line(f"  ✗ {file.error.message()} {file.error.hint()}")
        if len(report.refused) > 5:
            print_line(speak("cli.demo.more_refused", count=len(report.refused) - 5))


def _scan(ws: Workspace) -> None:
    from malan.services.footage.scan import scan_assets

    with progress_bar(speak("cli.demo.scanning")) as step:
        report = scan_assets(ws, progress=step, caller=COMMAND_LINE)
    print_line(
        speak(
            "cli.demo.scanned",
            scanned=len(report.scanned),
            unchanged=len(report.unchanged),
            clips=ws.library.count_clips(),
        )
    )
    for failed in report.failed[:5]:
        print_line(f"  ✗ {failed.asset_id[:12]}  {failed.error.message()}")


def _find(ws: Workspace, words: str) -> tuple[ClipHit, ...]:
    from malan.services.clips import search as clips
    from malan.services.clips.where import condition

    page = clips.find(ws, condition(words), caller=COMMAND_LINE)
    print_line(speak("cli.demo.found", words=words, count=page.total, ms=f"{page.took_ms:.0f}"))
    for hit in page.hits[:2]:
        span = hit.row.span
        tags = (label for label in hit.row.labels if label.startswith("tag.") and "=" in label)
        why = "  ".join(f"{one.field}: {one.snippet}" for one in hit.evidence[:1]) or "  ".join(tags)
        print_line(f"    {hit.row.file_name}  {span.start_s:.2f}–{span.end_s:.2f} s  {why}")
    return page.hits


def _freeze(ws: Workspace) -> None:
    """A snapshot of every clip of a second or longer; the same clips give the same snapshot every time."""
    if not ws.library.count_clips():
        return
    from malan.services.clips.where import condition
    from malan.services.datasets.freezing import freeze_snapshot

    frozen = freeze_snapshot(ws, "demo", condition("min-duration=1"), caller=COMMAND_LINE)
    splits = "  ".join(f"{split} {clips}" for split, clips in frozen.clips_by_split.items())
    snapshot = frozen.saved.snapshot
    print_line(speak("cli.demo.frozen", clips=snapshot.clip_count, splits=splits, id=snapshot.id[:16]))


def _learn(ws: Workspace) -> None:
    """Labels become a model under a grant, and the model is used; where nothing can be shut in, one line says so."""
    from malan.core.errors import MalanError
    from malan.services.demo import learning
    from malan.services.runs.checks import reached_level

    truth = learning.drawn_truth(ws, caller=COMMAND_LINE)
    if not _is_trained(ws):
        done = learning.label_drawn(ws, truth, caller=COMMAND_LINE)
        print_line(speak("cli.demo.labelled", person=learning.PERSON, clips=done.clips))
        frozen = learning.freeze_lesson(ws, truth, caller=COMMAND_LINE)
        title = speak("cli.demo.product")
        grant_id = learning.agree(ws, frozen.saved.snapshot.id, title, caller=COMMAND_LINE)
        print_line(speak("cli.demo.granted", company=learning.COMPANY, grant=grant_id[:12]))
        try:
            reached_level()
            run = learning.train(ws, grant_id, caller=COMMAND_LINE)
        except MalanError as error:
            print_line(speak("cli.demo.no_sandbox", detail=f"{error.message()} {error.hint()}"))
            return
        if not _say_run(ws, run):
            return
    _use(ws, truth.unlabelled)


def _is_trained(ws: Workspace) -> bool:
    """Whether a demo before this one has left the model here."""
    from malan.core.errors import NotFound
    from malan.services.demo.learning import MODEL
    from malan.services.models.registry import get_model

    try:
        model = get_model(ws, MODEL, caller=COMMAND_LINE)
    except NotFound:
        return False
    print_line(speak("cli.demo.known_model", model=model.title))
    return True


def _say_run(ws: Workspace, run: Run) -> bool:
    """What became of the run; whether there is a model now."""
    from malan.services.models.registry import get_model
    from malan.services.runs.view import describe_run

    if run.model_id is None:
        why = " ".join(one["text"] for one in describe_run(ws, run, caller=COMMAND_LINE)["reasons"])
        print_line(speak("cli.demo.not_released", state=run.state, why=why))
        return False
    model = get_model(ws, run.model_id, caller=COMMAND_LINE)
    level, facts = run.ran.get("level", ""), model.run.get("facts", {})
    print_line(speak("cli.demo.trained", level=level, clips=facts.get("clips"), held_out=facts.get("held_out")))
    accuracy = f"{float(model.evaluation.get('metrics', {}).get('accuracy', 0)):.0%}"
    print_line(speak("cli.demo.gate", size=run.charged_bytes, accuracy=accuracy, model=model.title))
    return True


def _use(ws: Workspace, truth: Mapping[Clip, str]) -> None:
    """Tag all clips, find some by what the model saw, and follow one back to its owners."""
    from malan.cli.clip_trace import print_clip_trace
    from malan.services.clips.tagging import apply_model
    from malan.services.clips.trace import trace_clip
    from malan.services.clips.where import condition
    from malan.services.demo.learning import LABEL_SET, MODEL, share_right

    done = apply_model(ws, MODEL, condition(""), caller=COMMAND_LINE)
    right, count = share_right(ws, truth, caller=COMMAND_LINE)
    print_line(speak("cli.demo.tagged", model=done.model.title, clips=done.clips, right=right, count=count))
    hits = _find(ws, f"tag={LABEL_SET}=city")
    by_model = [hit.row.id for hit in hits if f"label.{LABEL_SET}" not in hit.row.labels]
    if by_model:
        print_line(speak("cli.demo.led_back"))
        print_clip_trace(trace_clip(ws, by_model[0], LABEL_SET, caller=COMMAND_LINE))


def _make_film(ws: Workspace) -> None:
    """A film of a description, from what may be used so; every frame has an owner."""
    from malan.apps.running import run_app
    from malan.services.footage.owners import owner_names

    asked = {"prompt": speak("cli.demo.prompt"), "seconds": 8.0, "lines": 720, "title": speak("cli.demo.title")}
    began = time.monotonic()
    with progress_bar(speak("cli.demo.cutting")) as step:
        _, told = run_app(ws, "video", asked, ws.folder("exports") / "video", caller=COMMAND_LINE, progress=step)
    film = next(one["path"] for one in told["files"] if one["what"] == "16x9")
    names = owner_names(ws)
    owners = dict.fromkeys(names.get(one["owner"], one["owner"][:12]) for one in told["sources"])
    print_line(
        speak(
            "cli.demo.film", prompt=asked["prompt"], path=Path(film).name, seconds=f"{told['seconds']:g}",
            shots=told["shots"], took=f"{time.monotonic() - began:.1f}", owners=", ".join(owners),
        )
    )  # fmt: skip


def _trace(ws: Workspace) -> None:
    """Export one clip, and follow the file back to the owner of its footage."""
    from malan.cli.output import print_trace
    from malan.services.clips.exports import export_clips
    from malan.services.clips.search import find
    from malan.services.clips.where import condition
    from malan.services.log.reading import verify_log
    from malan.services.outputs.manifests import trace_output

    found = find(ws, condition("min-duration=1"), use="export", caller=COMMAND_LINE).hits
    if not found:
        return
    exported = export_clips(ws, [found[0].row.id], ws.folder("exports"), caller=COMMAND_LINE)[0]
    print_line(speak("cli.demo.exported", file=exported.path.name))
    print_trace(trace_output(ws, str(exported.path), caller=COMMAND_LINE))
    verified = verify_log(ws, caller=COMMAND_LINE)
    print_line(speak("cli.log.whole", origin=verified.origin, size=verified.size, root=verified.root))
