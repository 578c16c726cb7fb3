"""`malan review`: what people do with a report: decide, export labels, check signature; and check a pack of rules."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from malan.cli.show import JsonOption, WorkspaceOption, open_workspace, print_fields, print_json, print_line, speak

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=speak("cli.review"))

ReportArgument = Annotated[Path, typer.Argument(help=speak("cli.review.report"))]
DecisionsOption = Annotated[Path, typer.Option("--decisions", help=speak("app.review.decisions"))]


@app.command(help=speak("cli.review.decide"))
def decide(
    report: ReportArgument,
    finding: Annotated[str, typer.Argument(help=speak("cli.review.finding"))],
    decision: Annotated[str, typer.Argument(help=speak("cli.review.decision"))],
    by: Annotated[str, typer.Option("--by", help=speak("cli.review.by"))],
    reason: Annotated[str, typer.Option("--reason", help=speak("cli.review.reason"))] = "",
    until: Annotated[str | None, typer.Option("--until", help=speak("cli.review.until"))] = None,
    alike: Annotated[bool, typer.Option("--all", help=speak("cli.review.all"))] = False,
    decisions: DecisionsOption = Path("decisions.jsonl"),
) -> None:
    from malan.apps.review.decisions import decide as decide_one
    from malan.apps.review.decisions import decide_alike
    from malan.apps.review.report import read_report

    said, today = read_report(report), datetime.now(UTC).date().isoformat()
    if alike:
        made = decide_alike(said, decisions, finding, decision, by=by, on=today, reason=reason, until=until)
        told = {"rule": made[0].rule, "decision": decision, "count": len(made)} if made else None
        print_line(
            speak("cli.review.decided_all", file=str(decisions), **told) if told else speak("cli.review.none_left")
        )
        return
    one = decide_one(said, decisions, finding, decision, by=by, on=today, reason=reason, until=until)
    print_line(speak("cli.review.decided", rule=one.rule, decision=one.decision, file=str(decisions)))


@app.command(help=speak("cli.review.labels"))
def labels(
    report: ReportArgument,
    decisions: DecisionsOption = Path("decisions.jsonl"),
    keep: Annotated[bool, typer.Option("--keep", help=speak("cli.review.keep"))] = False,
    workspace: WorkspaceOption = None,
) -> None:
    from malan.apps.review.decisions import keep_labels, labels_of, read_decisions
    from malan.apps.review.report import read_report

    found = labels_of(read_report(report), read_decisions(decisions))
    kept = keep_labels(open_workspace(workspace), found) if keep else None
    print_json({"labels": found, **({"clips": kept} if keep else {})})


@app.command(help=speak("cli.review.check"))
def check(
    report: ReportArgument,
    media: Annotated[list[Path] | None, typer.Argument(help=speak("cli.review.media"))] = None,
    key: Annotated[str | None, typer.Option("--key", help=speak("cli.review.key"))] = None,
    as_json: JsonOption = False,
) -> None:
    from malan.apps.review.report import check_signature

    found = check_signature(report, media or (), key)
    said = {"keys": list(found.key_ids), "media": list(found.media), **found.facts}
    if as_json:
        print_json(said)
        return
    print_line(speak("cli.review.signature_holds", keys=", ".join(found.key_ids)))
    if key is None:
        print_line(speak("cli.review.compare_key"))
    print_fields({speak("review.page.digest"): list(found.media)})


@app.command(help=speak("cli.review.pack"))
def pack(name: Annotated[str, typer.Argument(help=speak("app.review.pack"))], as_json: JsonOption = False) -> None:
    from malan.apps.review.packs import load_pack

    found = load_pack(name)
    rules = [
        {"id": r.id, "title": dict(r.title), "severity": r.severity, "decision": r.decision, "from": r.starts,
         "until": r.ends, "cites": [{"text": c.document.id, "at": c.label, "quote": c.quote} for c in r.cites]}
        for r in found.rules
    ]  # fmt: skip
    if as_json:
        print_json({"pack": found.name, "version": found.version, "digest": found.digest, "rules": rules})
        return
    print_line(speak("cli.review.pack_holds", name=found.name, count=len(rules), digest=found.digest[:16]))
