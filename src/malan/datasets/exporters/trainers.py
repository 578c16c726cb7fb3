"""What the layouts of trainers have in common: one media file a clip, what could not be used, and the exact words.

A trainer's own file holds what its own reader understands: a list of prompts has one line a clip, a template has
placeholders. `clips.jsonl` beside it holds every caption letter by letter, with the whole id of its clip. Start reading
at `TrainerLayout`.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from malan.core.errors import UsageError
from malan.datasets.exporters.base import Exporter, Item, Step, View

CLIPS, LEFT_OUT = "clips.jsonl", "left_out.jsonl"
VIDEO, IMAGE, AUDIO = "video", "image", "audio"


@dataclass(frozen=True)
class Placed:
    """A clip and its media file, named from the root of the export; `seconds`, `rate_hz` are those of a WAV file."""

    item: Item
    file: str
    seconds: float = 0.0
    rate_hz: int = 0

    @property
    def sort(self) -> str:
        return sort_of(self.item)


class TrainerLayout(Exporter):
    """Cuts every clip into `media_folder` of its split, then writes what the trainer reads.

    Class attributes: `media_folder` with `{split}` in it; `sorts`: the kinds of media the trainer takes.
    """

    media_folder: ClassVar[str]
    sorts: ClassVar[tuple[str, ...]] = (VIDEO, IMAGE)

    def write(self, view: View, out: Path, step: Step) -> None:
        placed: list[Placed] = []
        left_out: list[dict[str, str]] = []
        for done, item in enumerate(view.items, 1):
            found = self.place(view, item, out) if sort_of(item) in self.sorts else None
            if found is None:
                left_out.append({"clip": item.clip.id, "title": item.title, "reason": f"no {'/'.join(self.sorts)}"})
            else:
                placed.append(found)
            step(done, len(view.items), item.title)
        if not placed:
            raise UsageError("dataset.nothing_fits", format=self.name, clips=len(left_out))
        for split in view.splits:
            self.describe(split, [one for one in placed if one.item.split == split], out)
        self.describe_all(view, placed, out)
        write_lines(out / CLIPS, [one.item.facts() | {"file": one.file} for one in placed])
        if left_out:
            write_lines(out / LEFT_OUT, left_out)

    def place(self, view: View, item: Item, out: Path) -> Placed | None:
        """Cut one clip; None when it turns out to have nothing the trainer could use."""
        file = f"{self.media_folder.format(split=item.split)}/{item.name}{item.suffix}"
        path = out / file
        path.parent.mkdir(parents=True, exist_ok=True)
        view.cut(item, path)
        return Placed(item, file)

    @abstractmethod
    def describe(self, split: str, placed: Sequence[Placed], out: Path) -> None:
        """Write what the trainer reads of one split; may be of none."""

    def describe_all(self, view: View, placed: Sequence[Placed], out: Path) -> None:
        """Write what stands beside all splits."""

    def resources(self, view: View) -> list[dict[str, Any]]:
        media = [self.media_folder.format(split=split) for split in view.splits]
        sets = {
            f"media-{number}": (f"{folder}/*", self._encoding()) for number, folder in enumerate(dict.fromkeys(media))
        }
        beside = {"@type": "cr:FileObject", "@id": CLIPS, "name": CLIPS, "contentUrl": CLIPS,
                  "encodingFormat": "application/jsonlines"}  # fmt: skip
        return [beside] + [
            {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": encoding, "includes": includes}
            for name, (includes, encoding) in sets.items()
        ]

    def _encoding(self) -> str:
        return "audio/wav" if self.sorts[0] == AUDIO else "video/mp4"


class SoundLayout(TrainerLayout):
    """A layout whose media are WAV files; clips without sound are left out, and listed."""

    sorts = (AUDIO, VIDEO)

    def place(self, view: View, item: Item, out: Path) -> Placed | None:
        from malan.media.wav_file import write_wav

        folder = out / self.media_folder.format(split=item.split)
        folder.mkdir(parents=True, exist_ok=True)
        cut = folder / f".{item.name}{item.suffix}"
        try:
            view.cut(item, cut)
            made = write_wav(cut, folder / f"{item.name}.wav")
        finally:
            cut.unlink(missing_ok=True)
        if made is None:
            return None
        file = f"{self.media_folder.format(split=item.split)}/{item.name}.wav"
        return Placed(item, file, made.seconds, made.rate_hz)


def sort_of(item: Item) -> str:
    """Video, image or audio, by the file a cut of it gives."""
    return {".mp4": VIDEO, ".m4a": AUDIO}.get(item.suffix, IMAGE)


def one_line(text: str) -> str:
    """A caption for a reader that takes one line a clip: every run of white space is one space."""
    return " ".join(text.split())


def labelled(item: Item, *kinds: str) -> list[str]:
    """What labels of these kinds say: `music.genre=pop` → `pop`."""
    pairs = (label.partition("=") for label in item.labels)
    return [value for kind, equals, value in pairs if equals and kind in kinds]


def write_lines(path: Path, rows: Sequence[Any]) -> None:
    """JSON lines; U+2028 and its like are escaped, so that every reader finds the same lines."""
    path.write_text("".join(dump_line(row) + "\n" for row in rows), "utf-8")


def dump_line(row: Any) -> str:
    text = json.dumps(row, ensure_ascii=False)
    for odd in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e":
        text = text.replace(odd, f"\\u{ord(odd):04x}")
    return text
