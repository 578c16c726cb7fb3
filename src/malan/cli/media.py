"""`malan media`: one thing to a plain file, without a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from malan.cli import media_label
from malan.cli.show import JsonOption, print_json, print_line, print_table, speak
from malan.core.time import timecode

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=speak("cli.media"))

app.add_typer(media_label.app, name="label")

FileArgument = Annotated[Path, typer.Argument(help=speak("cli.media.file"))]


@app.command(help=speak("cli.media.probe"))
def probe(file: FileArgument, as_json: JsonOption = False) -> None:
    from malan.services.files.plain import probe_file

    found = probe_file(file)
    if as_json:
        print_json(found)
        return
    print_line(f"{file}  {found['container']}  {timecode(found['duration_s'])}  {found['size_bytes'] / 1e6:.1f} MB")
    columns = [speak(f"cli.column.{column}") for column in ("track", "kind", "codec", "details")]
    print_table(columns, [(str(t["index"]), t["kind"], t["codec"], _details(t)) for t in found["tracks"]])
    for warning in found["warnings"]:
        print_line(f"! {warning['message']}")


@app.command(help=speak("cli.media.index"))
def index(
    file: FileArgument,
    packets: Annotated[bool, typer.Option("--packets", help=speak("cli.media.packets"))] = False,
    as_json: JsonOption = False,
) -> None:
    from malan.services.files.plain import index_file

    found = index_file(file, packets=packets)
    if as_json:
        print_json(found)
        return
    print_line(speak("cli.media.indexed", **found))


@app.command(help=speak("cli.media.shots"))
def shots(
    file: FileArgument,
    full: Annotated[bool, typer.Option("--full", help=speak("cli.media.full"))] = False,
    as_json: JsonOption = False,
) -> None:
    from malan.services.files.plain import shots_of_file

    found = shots_of_file(file, mode="full" if full else "auto")
    if as_json:
        print_json(found)
        return
    share = found["frames_decoded"] / max(1, found["frames"])
    print_line(
        speak(
            "cli.media.shots_found",
            count=len(found["shots"]),
            strategy=found["strategy"],
            share=f"{share:.0%}",
            cpu=f"{found['cpu_s']:.2f}",
        )
    )
    columns = [speak(f"cli.column.{column}") for column in ("from", "to", "frames", "transition", "confidence")]
    print_table(columns, [_shot_row(shot) for shot in found["shots"]])


@app.command(help=speak("cli.media.captions"))
def captions(
    file: FileArgument,
    srt: Annotated[Path | None, typer.Option(help=speak("cli.media.srt"))] = None,
    as_json: JsonOption = False,
) -> None:
    from malan.services.files.plain import captions_of_file

    found = captions_of_file(file, srt=srt)
    if as_json:
        print_json(found)
        return
    lines = [*found["captions"], *found["persistent"]]
    columns = [speak(f"cli.column.{column}") for column in ("from", "to", "text", "confidence")]
    rows = [
        (timecode(c["start_s"]), timecode(c["end_s"]), c["text"].replace("\n", " / "), f"{c['confidence']:.2f}")
        for c in lines
    ]
    print_line(speak("cli.media.captions_found", count=len(found["captions"]), persistent=len(found["persistent"])))
    print_table(columns, rows)


@app.command(help=speak("cli.media.thumbs"))
def thumbs(
    file: FileArgument,
    out: Annotated[Path, typer.Option(help=speak("cli.media.thumbs_out"))] = Path("thumbs.jpg"),
    columns: Annotated[int, typer.Option(min=1, max=20, help=speak("cli.media.columns"))] = 5,
    height: Annotated[int, typer.Option(min=16, max=720, help=speak("cli.media.height"))] = 108,
    as_json: JsonOption = False,
) -> None:
    from malan.services.files.plain import thumbnails_of_file

    found = thumbnails_of_file(file, out, columns=columns, height_px=height)
    if as_json:
        print_json(found)
        return
    print_line(speak("cli.media.thumbs_done", count=found["shots"], out=out))


def _shot_row(shot: dict[str, Any]) -> tuple[str, ...]:
    change = shot["transition"]
    frames = f"{shot['start_frame']}–{shot['end_frame'] - 1}"
    kind = speak(f"cli.transition.{change['type']}")
    return timecode(shot["start_s"]), timecode(shot["end_s"]), frames, kind, f"{change['confidence']:.2f}"


def _details(track: dict[str, Any]) -> str:
    """What is worth saying of a track in one line."""
    parts = []
    if "width_px" in track:
        parts.append(f"{track['width_px']}×{track['height_px']}")
    if "mean_rate" in track:
        above, below = map(int, track["mean_rate"].split("/"))
        parts.append(f"{above / below:.3f} fps{' VFR' if track.get('is_variable_rate') else ''}")
    if track.get("rotation_deg"):
        parts.append(f"↻{track['rotation_deg']}°")
    if track.get("is_interlaced"):
        parts.append("i")
    if "sample_rate_hz" in track:
        parts.append(f"{track['sample_rate_hz']} Hz × {track.get('channels', '?')}")
    parts += [track[name] for name in ("language", "title") if track.get(name)]
    return "  ".join(parts)
