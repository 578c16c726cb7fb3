"""`malan media label`: write and verify the implicit AIGC label of plain files.

`verify` ends with 0 for a compliant file and 1 for any other; JSON is the same either way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from malan.cli.show import JsonOption, print_json, print_line, speak

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=speak("cli.media.label"))

FileArgument = Annotated[Path, typer.Argument(help=speak("cli.media.file"))]


@app.command(help=speak("cli.label.write"))
def write(
    file: FileArgument,
    out: Annotated[Path, typer.Option(help=speak("cli.label.out"))],
    producer: Annotated[str, typer.Option(help=speak("cli.label.producer"))],
    produce_id: Annotated[str, typer.Option(help=speak("cli.label.produce_id"))],
    label: Annotated[str, typer.Option(help=speak("cli.label.strength"))] = "1",
    propagator: Annotated[str | None, typer.Option(help=speak("cli.label.propagator"))] = None,
    propagate_id: Annotated[str | None, typer.Option(help=speak("cli.label.propagate_id"))] = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.files.labels import write_label

    found = write_label(
        file,
        out,
        producer=producer,
        produce_id=produce_id,
        strength=label,
        propagator=propagator,
        propagate_id=propagate_id,
    )
    if as_json:
        print_json(found)
        return
    print_line(speak("cli.label.written", path=found["out"], **{k: found[k] for k in _SAID}))
    _print_reasons(found["reasons"])


@app.command(help=speak("cli.label.verify"))
def verify(file: FileArgument, as_json: JsonOption = False) -> None:
    from malan.services.files.labels import verify_label

    found = verify_label(file)
    if as_json:
        print_json(found)
    else:
        print_line(speak("cli.label.verdict", file=file, verdict=speak(f"label.verdict.{found['verdict']}")))
        for key, value in (found["label"] or {}).items():
            print_line(f"  {key}: {value}")
        _print_reasons(found["reasons"])
    if found["verdict"] != "compliant":
        raise typer.Exit(1)


_SAID = ("carrier", "bytes_put", "read_back_by")


def _print_reasons(reasons: list[dict[str, Any]]) -> None:
    for reason in reasons:
        sign = "✗" if reason["severity"] == "fault" else "!"
        print_line(f"  {sign} {reason['message']}")
