"""The layouts of trainers of music: ACE-Step and MusicGen (audiocraft). Sound is written as WAV.

What a label of the clip says (`music.bpm=120`, `music.genre=pop`, …) goes where the trainer looks for it; what nobody
knows stays empty, never guessed. Start at `AceStep`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from malan.datasets.exporters.base import Item, View
from malan.datasets.exporters.trainers import Placed, SoundLayout, labelled, write_lines

_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")
_AUDIOCRAFT = """\
# @package __global__

datasource:
  max_sample_rate: {rate}
  max_channels: 2
{splits}
"""


class AceStep(SoundLayout):
    """`train/KEY.wav` with `train/KEY.json`, as ACE-Step 1.5 reads a folder of songs."""

    name = "ace-step"
    media_folder = "{split}"

    def describe(self, split: str, placed: Sequence[Placed], out: Path) -> None:
        for one in placed:
            item = one.item
            said = {
                "caption": item.caption,
                "genre": ", ".join(labelled(item, "music.genre", "genre")),
                "lyrics": "\n".join(labelled(item, "music.lyrics", "lyrics")),
                "bpm": _bpm(item),
                "keyscale": _first(item, "music.key", "music.keyscale"),
                "timesignature": _first(item, "music.timesignature", "music.metre"),
                "language": _first(item, "speech.language", "language") or "unknown",
                "is_instrumental": "music.instrumental" in item.labels,
                "custom_tag": "",
                "duration": round(one.seconds, 6),
            }
            _write(out / split / f"{item.name}.json", said)


class MusicGen(SoundLayout):
    """`audio/train/KEY.wav` with `KEY.json`, `egs/train/data.jsonl` and `malan.yaml`, for audiocraft; run it from this
    folder, with `dset=malan` once the file lies in its `config/dset`."""

    name = "musicgen"
    media_folder = "audio/{split}"

    def describe(self, split: str, placed: Sequence[Placed], out: Path) -> None:
        for one in placed:
            _write((out / one.file).with_suffix(".json"), _info(one))
        folder = out / "egs" / split
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {"path": one.file, "duration": one.seconds, "sample_rate": one.rate_hz, "amplitude": None, "weight": None,
             "info_path": None}
            for one in placed
        ]  # fmt: skip
        write_lines(folder / "data.jsonl", rows)

    def describe_all(self, view: View, placed: Sequence[Placed], out: Path) -> None:
        first, *rest = view.splits
        held = rest or [first]
        places = {"train": first, "valid": held[0], "evaluate": held[-1], "generate": held[-1]}
        lines = "\n".join(f"  {use}: egs/{split}" for use, split in places.items())
        rate = max(one.rate_hz for one in placed)
        (out / "malan.yaml").write_text(_AUDIOCRAFT.format(rate=rate, splits=lines), "utf-8")


def _info(one: Placed) -> dict[str, Any]:
    """The fields of audiocraft's `MusicInfo`."""
    item = one.item
    return {
        "key": _first(item, "music.key"),
        "artist": item.owner,
        "sample_rate": one.rate_hz,
        "file_extension": "wav",
        "description": item.caption,
        "keywords": ", ".join(labelled(item, "music.tag", "music.keyword")),
        "duration": one.seconds,
        "bpm": _bpm(item),
        "genre": ", ".join(labelled(item, "music.genre", "genre")),
        "title": item.title,
        "name": item.name,
        "instrument": ", ".join(labelled(item, "music.instrument")) or "Mix",
        "moods": labelled(item, "music.mood"),
    }


def _bpm(item: Item) -> int | None:
    """Whole beats a minute; None where no label says a number."""
    said = _NUMBER.fullmatch(_first(item, "music.bpm", "bpm"))
    return round(float(said[0])) if said else None


def _first(item: Item, *kinds: str) -> str:
    return next(iter(labelled(item, *kinds)), "")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
