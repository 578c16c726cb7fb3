"""What goes with the films to an editing system: OpenTimelineIO, FCPXML, CMX 3600, a 剪映 draft, styled subtitles.

References to the footage where it lies, no media. Start reading at `write_timelines`.
"""

from __future__ import annotations

from pathlib import Path

from malan.apps.promo.board import Storyboard
from malan.apps.promo.build import Built
from malan.apps.promo.timelines.edit import edit_of
from malan.apps.promo.timelines.edl import edl
from malan.apps.promo.timelines.fcpxml import fcpxml
from malan.apps.promo.timelines.jianying import draft_files
from malan.apps.promo.timelines.otio import otio_json


def write_timelines(board: Storyboard, built: Built, out: Path, stem: str = "promo") -> dict[str, Path]:
    """Write all of them, called `stem`; by what they are.

    Raises:
        MediaError: A source cannot be opened.
    """
    edit = edit_of(board, built, stem)
    texts = {"otio": otio_json(edit), "fcpxml": fcpxml(edit), "edl": edl(edit)}
    made = {name: (out / f"{stem}.{name}", text) for name, text in texts.items()}
    for name, text in built.timeline.written.items():
        made[f"ass-{name}"] = (out / f"{stem}-{name}.ass", text)
    for file, text in draft_files(edit, board.to_json()).items():
        made["jianying" if "content" in file else "jianying-meta"] = (out / "jianying" / file, text)
    for path, text in made.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return {name: path for name, (path, _) in made.items()}
