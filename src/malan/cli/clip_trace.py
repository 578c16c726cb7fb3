"""`malan clip trace`: from a label or tag of a clip back to people, model, run and owners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from malan.cli.show import JsonOption, WorkspaceOption, open_workspace, print_json, print_line, speak
from malan.core.time import timecode
from malan.services.access import COMMAND_LINE

if TYPE_CHECKING:
    from malan.services.clips.trace import ClipTrace, TracedTag


def trace(
    clip: Annotated[str, typer.Argument(help=speak("cli.clip.id"))],
    tag: Annotated[str, typer.Option(help=speak("cli.clip.trace_tag"), show_default=False)] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.clips.trace import describe_clip_trace, trace_clip

    found = trace_clip(open_workspace(workspace), clip, tag, caller=COMMAND_LINE)
    print_json(describe_clip_trace(found)) if as_json else print_clip_trace(found)


def print_clip_trace(trace: ClipTrace) -> None:
    """The way back of each name of a clip, a step a line."""
    span = trace.row.span
    where = {"file": trace.row.file_name, "start": timecode(span.start_s), "end": timecode(span.end_s)}
    print_line(speak("cli.trace.clip", clip=trace.row.id[:12], owner=trace.owner, **where))
    for one in trace.tags:
        _print_tag(one)


def _print_tag(tag: TracedTag) -> None:
    if tag.model is None:
        print_line(speak("cli.trace.by_person", tag=tag.name, person=tag.person))
        return
    sure = "" if tag.finding.confidence is None else f"{tag.finding.confidence:.2f}"
    model = tag.model.model
    print_line(speak("cli.trace.by_model", tag=tag.name, sure=sure, model=model.title, index=tag.applied))
    for step in tag.model.lineage:
        run, events = str(step.model.run.get("id", ""))[:12] or "–", ", ".join(map(str, step.events))
        grant, algorithm = str(step.model.run.get("grant", ""))[:12] or "–", step.model.run.get("algorithm", "–")
        print_line(speak("cli.trace.run", algorithm=algorithm, run=run, grant=grant, events=events))
    if tag.teachers is not None and tag.teachers.labels:
        said = ", ".join(f"{name} {count}" for name, count in tag.teachers.labels.items())
        print_line(speak("cli.trace.labels", label_set=tag.teachers.label_set, said=said))
    seconds = {one.owner_id: 0.0 for step in tag.model.lineage for one in step.used}
    for step in tag.model.lineage:
        for one in step.used:
            seconds[one.owner_id] += float(one.seconds)
    for owner_id, share in sorted(model.shares.items(), key=lambda pair: (-pair[1], pair[0])):
        name = tag.model.names.get(owner_id, owner_id[:12])
        given = f"{seconds.get(owner_id, 0.0):.1f}"
        print_line(speak("cli.trace.owner", owner=name, share=f"{float(share):.1%}", seconds=given))
