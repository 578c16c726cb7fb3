"""The layouts of trainers of pictures: diffusers, DiffSynth-Studio, musubi-tuner, Cosmos.

Each class says what the trainer's own reader expects. Start at `Musubi` for the richest of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from malan.datasets.exporters.base import View, csv_text
from malan.datasets.exporters.trainers import IMAGE, VIDEO, Placed, TrainerLayout, one_line, write_lines

_WAN_RATE = 16  # frames a second that musubi-tuner gives Wan
_MOST_FRAMES = 81


class Diffusers(TrainerLayout):
    """`train/prompts.txt` and `train/videos.txt`, line by line alike, as `examples/cogvideo` of diffusers reads them.

    `--instance_data_root train --caption_column prompts.txt --video_column videos.txt`. Its reader takes a line a clip
    and strips it, so line breaks in a caption become spaces there.
    """

    name = "diffusers"
    media_folder = "{split}/videos"
    sorts = (VIDEO,)

    def describe(self, split: str, placed: Sequence[Placed], out: Path) -> None:
        folder = out / split
        folder.mkdir(exist_ok=True)
        lines = "".join(f"{one_line(one.item.caption)}\n" for one in placed)
        (folder / "prompts.txt").write_text(lines, "utf-8")
        (folder / "videos.txt").write_text("".join(f"{one.file.partition('/')[2]}\n" for one in placed), "utf-8")


class DiffSynth(TrainerLayout):
    """`train/metadata.csv` and `train/metadata.jsonl` with `video`, `prompt`, for DiffSynth-Studio.

    `--dataset_base_path train --dataset_metadata_path train/metadata.jsonl`. Both say the same; in the CSV a cell that
    a spreadsheet would run as a formula begins with an apostrophe.
    """

    name = "diffsynth"
    media_folder = "{split}/videos"

    def describe(self, split: str, placed: Sequence[Placed], out: Path) -> None:
        (out / split).mkdir(exist_ok=True)
        for sort in (VIDEO, IMAGE):
            chosen = [one for one in placed if one.sort == sort]
            rows = [{sort: one.file.partition("/")[2], "prompt": one.item.caption} for one in chosen]
            name = "metadata" if sort == VIDEO else "metadata_images"
            if rows or sort == VIDEO:
                write_lines(out / split / f"{name}.jsonl", rows)
                text = csv_text((sort, "prompt"), [tuple(row.values()) for row in rows])
                (out / split / f"{name}.csv").write_text(text, "utf-8")


class Musubi(TrainerLayout):
    """`train.toml` with `train.jsonl` (`video_path`, `caption`), for musubi-tuner; run it from this folder.

    Frames: one more than a multiple of four, as many as the shortest clip has at 16 a second, 81 at most, so that no
    clip is passed over.
    """

    name = "musubi"
    media_folder = "{split}"

    def describe(self, split: str, placed: Sequence[Placed], out: Path) -> None:
        sections = []
        for sort in (VIDEO, IMAGE):
            chosen = [one for one in placed if one.sort == sort]
            if not chosen:
                continue
            name = f"{split}.jsonl" if sort == VIDEO else f"{split}_images.jsonl"
            write_lines(out / name, [{f"{sort}_path": one.file, "caption": one.item.caption} for one in chosen])
            sections.append(_section(sort, name, split, chosen))
        (out / f"{split}.toml").write_text("\n".join([_GENERAL, *sections]), "utf-8")


class Cosmos(TrainerLayout):
    """`train/videos/KEY.mp4` and `train/metas/KEY.txt`, for Cosmos Predict; a caption is a whole file."""

    name = "cosmos"
    media_folder = "{split}/videos"
    sorts = (VIDEO,)

    def describe(self, split: str, placed: Sequence[Placed], out: Path) -> None:
        (out / split / "metas").mkdir(parents=True, exist_ok=True)
        for one in placed:
            (out / split / "metas" / f"{one.item.name}.txt").write_bytes(one.item.caption.encode())

    def describe_all(self, view: View, placed: Sequence[Placed], out: Path) -> None:
        names = {split: [one.item.name for one in placed if one.item.split == split] for split in view.splits}
        (out / "splits.json").write_text(json.dumps(names, indent=1), "utf-8")


_GENERAL = """\
[general]
caption_extension = ".txt"
resolution = [960, 544]
batch_size = 1
enable_bucket = true
bucket_no_upscale = true
"""


def _section(sort: str, name: str, split: str, placed: Sequence[Placed]) -> str:
    lines = [
        "[[datasets]]",
        f'{sort}_jsonl_file = "{name}"',
        f'cache_directory = "cache/{split}{"" if sort == VIDEO else "_images"}"',
    ]
    if sort == VIDEO:
        shortest = min(_frames(one.item.clip.span.duration) for one in placed)
        lines += [f"target_frames = [{shortest}]", 'frame_extraction = "head"']
    return "\n".join([*lines, "num_repeats = 1", ""])


def _frames(seconds: Fraction) -> int:
    """The most frames of the form 4n + 1 in a clip at 16 a second."""
    return min(_MOST_FRAMES, max(1, int(seconds * _WAN_RATE) - 1) // 4 * 4 + 1)
