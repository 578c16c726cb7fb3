"""The layout of LLaMA-Factory: questions and answers about clips, in both of its formats, with their registry.

Start at `LlamaFactory`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from malan.datasets.exporters.base import View
from malan.datasets.exporters.trainers import AUDIO, IMAGE, VIDEO, Placed, TrainerLayout

QUESTION = {VIDEO: "描述这段视频。", IMAGE: "描述这张图片。", AUDIO: "描述这段声音。"}
_PLACEHOLDERS = ("<video>", "<image>", "<audio>")


class LlamaFactory(TrainerLayout):
    """`train_sharegpt.json`, `train_alpaca.json` and `dataset_info.json`; `--dataset_dir` and `--media_dir` are this
    folder.

    Its reader counts placeholders, so a caption that spells one out is written with wide brackets there.
    """

    name = "llama-factory"
    media_folder = "{split}"
    sorts = (VIDEO, IMAGE, AUDIO)

    def describe(self, split: str, placed: Sequence[Placed], out: Path) -> None:
        _write(out / f"{split}_sharegpt.json", [_sharegpt(one) for one in placed])
        _write(out / f"{split}_alpaca.json", [_alpaca(one) for one in placed])

    def describe_all(self, view: View, placed: Sequence[Placed], out: Path) -> None:
        columns = {f"{sort}s": f"{sort}s" for sort in self.sorts if any(one.sort == sort for one in placed)}
        info: dict[str, Any] = {}
        for split in view.splits:
            info[f"malan_{split}"] = {
                "file_name": f"{split}_sharegpt.json",
                "formatting": "sharegpt",
                "columns": {"messages": "messages", **columns},
                "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user",
                         "assistant_tag": "assistant", "system_tag": "system"},
            }  # fmt: skip
            info[f"malan_{split}_alpaca"] = {
                "file_name": f"{split}_alpaca.json",
                "columns": {"prompt": "instruction", "query": "input", "response": "output", **columns},
            }
        _write(out / "dataset_info.json", info)


def _sharegpt(one: Placed) -> dict[str, Any]:
    asked = f"<{one.sort}>{QUESTION[one.sort]}"
    said = [{"role": "user", "content": asked}, {"role": "assistant", "content": plain(one.item.caption)}]
    return {"messages": said, **_media(one)}


def _alpaca(one: Placed) -> dict[str, Any]:
    asked = f"<{one.sort}>{QUESTION[one.sort]}"
    return {"instruction": asked, "input": "", "output": plain(one.item.caption), **_media(one)}


def _media(one: Placed) -> dict[str, list[str]]:
    """Every kind of media has a column, so that all rows are alike."""
    return {f"{sort}s": [one.file] if one.sort == sort else [] for sort in (VIDEO, IMAGE, AUDIO)}


def plain(text: str) -> str:
    """A caption that holds no placeholder."""
    for placeholder in _PLACEHOLDERS:
        text = text.replace(placeholder, f"＜{placeholder[1:-1]}＞")
    return text


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
