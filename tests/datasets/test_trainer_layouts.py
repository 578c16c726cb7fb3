"""Seven trainers read what we write, as their own readers do; captions and clip ids come back letter by letter."""

from __future__ import annotations

import csv
import json
import shutil
import tomllib
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from media_factory import draw_film

from malan.core import Clip, Snapshot, Span
from malan.core.errors import UsageError
from malan.core.ids import digest_record
from malan.datasets import EXPORTERS, Item, View
from malan.datasets.croissant import croissant_card
from malan.datasets.exporters.text_trainers import plain
from malan.datasets.exporters.trainers import CLIPS, LEFT_OUT, TrainerLayout, one_line

CAPTIONS = (
    "夜景，江边灯火。",
    'He said: "走吧", then left.',
    "第一行\n第二行\r\n\t第三行",
    "=SUM(A1) -1 @x",
    "commas, 'quotes', \\ backslash",
    "<video> 与 <image> 占位符",
    "行分隔\u2028段分隔\u2029下一行\x85完",
    "",
    "  前后空格  ",
    "🎬 表情 ①②③ ａｂｃ",
)
LAYOUTS = [kind for kind in EXPORTERS if issubclass(kind, TrainerLayout)]
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A film with sound, one without, and a picture."""
    folder = tmp_path_factory.mktemp("films")
    options = {"preset": "ultrafast"}
    sound = draw_film(folder / "sound.mp4", (20,), seed=1, options=options, audio=True).path
    silent = draw_film(folder / "silent.mp4", (20,), seed=2, options=options).path
    picture = folder / "picture.jpg"
    picture.write_bytes(b"\xff\xd8\xff\xe0 a picture, as far as an exporter cares")
    return {"sound": sound, "silent": silent, "picture": picture}


def item(number: int, caption: str, source: Path, **more: Any) -> Item:
    asset = digest_record("film", number)
    given = {
        "clip": Clip(asset, 0, Span(0, 50, Fraction(1, 25))),
        "split": SPLITS[number % 3],
        "owner": "湖南台",
        "terms": "训练",
        "attribution": "",
        "title": f"片段 {number}",
        "caption": caption,
        "labels": ("music.bpm=120", "music.genre=流行", "music.mood=平静", "motion.class=pan"),
        "source": source,
        "rate": Fraction(25),
        "source_duration": Fraction(2),
        "suffix": source.suffix,
    } | more
    return Item(**given)


def view(items: list[Item]) -> View:
    shares = (("train", Fraction(1, 3)), ("val", Fraction(1, 3)), ("test", Fraction(1, 3)))
    snapshot = Snapshot("0" * 64, "夜景", len(items), (), (), 0, shares, {})
    return View(snapshot, items, lambda one, out: shutil.copyfile(one.source, out) and None)


@pytest.fixture
def written(request: pytest.FixtureRequest, films: dict[str, Path], tmp_path: Path) -> tuple[str, View, Path]:
    kind: type[TrainerLayout] = request.param
    shown = view([item(number, caption, films["sound"]) for number, caption in enumerate(CAPTIONS)])
    kind().write(shown, tmp_path, lambda _done, _total, _current: None)
    return kind.name, shown, tmp_path


Read = dict[str, str]  # media file, from the root → caption


def lines_of(path: Path) -> list[str]:
    """As a file is read that is open as text: lines end where Python's files say, nowhere else."""
    with path.open(encoding="utf-8") as file:
        return list(file)


def read_diffusers(out: Path) -> Read:
    """`_load_dataset_from_local_path` of diffusers' example."""
    found = {}
    for split in SPLITS:
        prompts = [line.strip() for line in lines_of(out / split / "prompts.txt")]
        videos = [line.strip() for line in lines_of(out / split / "videos.txt")]
        assert len(prompts) == len(videos)
        found |= {f"{split}/{video}": prompt for prompt, video in zip(prompts, videos, strict=True)}
    return found


def read_diffsynth(out: Path) -> Read:
    found = {}
    for split in SPLITS:
        rows = [json.loads(line) for line in (out / split / "metadata.jsonl").read_text("utf-8").splitlines()]
        found |= {f"{split}/{row['video']}": row["prompt"] for row in rows}
    return found


def read_musubi(out: Path) -> Read:
    """`VideoJsonlDatasource` of musubi-tuner: paths from where it is run."""
    found = {}
    for split in SPLITS:
        said = tomllib.loads((out / f"{split}.toml").read_text("utf-8"))
        assert all((frames - 1) % 4 == 0 for one in said["datasets"] for frames in one["target_frames"])
        for one in said["datasets"]:
            for line in lines_of(out / one["video_jsonl_file"]):
                row = json.loads(line)
                found[row["video_path"]] = row["caption"]
    return found


def read_cosmos(out: Path) -> Read:
    found = {}
    for split in SPLITS:
        for video in sorted((out / split / "videos").glob("*.mp4")):
            text = (out / split / "metas" / f"{video.stem}.txt").read_bytes().decode()
            found[f"{split}/videos/{video.name}"] = text
    return found


def read_ace_step(out: Path) -> Read:
    found = {}
    for split in SPLITS:
        for path in sorted((out / split).glob("*.wav")):
            said = json.loads(path.with_suffix(".json").read_text("utf-8"))
            assert (said["bpm"], said["genre"], said["is_instrumental"]) == (120, "流行", False)
            found[f"{split}/{path.name}"] = said["caption"]
    return found


def read_llama_factory(out: Path) -> Read:
    """By its registry, both formats alike; placeholders are counted as its `mm_plugin` does."""
    info = json.loads((out / "dataset_info.json").read_text("utf-8"))
    found, other = {}, {}
    for split in SPLITS:
        chat, alpaca = info[f"malan_{split}"], info[f"malan_{split}_alpaca"]
        for row in json.loads((out / chat["file_name"]).read_text("utf-8")):
            messages = row[chat["columns"]["messages"]]
            assert sum(one["content"].count("<video>") for one in messages) == len(row["videos"]) == 1
            found[row["videos"][0]] = messages[1]["content"]
        for row in json.loads((out / alpaca["file_name"]).read_text("utf-8")):
            other[row["videos"][0]] = row[alpaca["columns"]["response"]]
    assert found == other
    return found


def read_musicgen(out: Path) -> Read:
    found = {}
    for split in SPLITS:
        for line in lines_of(out / "egs" / split / "data.jsonl"):
            row = json.loads(line)
            info = json.loads((out / row["path"]).with_suffix(".json").read_text("utf-8"))
            with wave.open(str(out / row["path"])) as sound:
                assert sound.getframerate() == row["sample_rate"] == info["sample_rate"]
                assert sound.getnframes() / sound.getframerate() == pytest.approx(row["duration"])
            assert info["moods"] == ["平静"]
            found[row["path"]] = info["description"]
    return found


READERS: dict[str, tuple[Callable[[Path], Read], Callable[[str], str]]] = {
    "diffusers": (read_diffusers, one_line),
    "diffsynth": (read_diffsynth, str),
    "musubi": (read_musubi, str),
    "cosmos": (read_cosmos, str),
    "ace-step": (read_ace_step, str),
    "llama-factory": (read_llama_factory, plain),
    "musicgen": (read_musicgen, str),
}


def test_every_trainer_has_a_reader_here() -> None:
    assert {kind.name for kind in LAYOUTS} == set(READERS)
    assert len(READERS) == 7


@pytest.mark.parametrize("written", LAYOUTS, indirect=True)
def test_the_trainer_reads_every_caption(written: tuple[str, View, Path]) -> None:
    name, shown, out = written
    reader, as_read = READERS[name]
    found = reader(out)
    by_name = {Path(file).stem: caption for file, caption in found.items()}
    assert by_name == {one.name: as_read(one.caption) for one in shown.items}
    assert all((out / file).is_file() for file in found)


@pytest.mark.parametrize("written", LAYOUTS, indirect=True)
def test_captions_and_ids_come_back_letter_by_letter(written: tuple[str, View, Path]) -> None:
    _, shown, out = written
    rows = [json.loads(line) for line in (out / CLIPS).read_text("utf-8").splitlines()]
    assert {row["clip"]: row["caption"] for row in rows} == {one.clip.id: one.caption for one in shown.items}
    assert all((out / row["file"]).is_file() for row in rows)
    assert not (out / LEFT_OUT).exists()
    assert not [path for path in out.rglob(".*") if path.is_file()]


@pytest.mark.parametrize("written", LAYOUTS, indirect=True)
def test_its_files_are_on_the_card(written: tuple[str, View, Path]) -> None:
    name, shown, out = written
    kind = next(kind for kind in LAYOUTS if kind.name == name)
    card = croissant_card(shown, kind(), out, frozen_on="2026-11-22")
    named = [one for one in card["distribution"] if one["@type"] == "cr:FileSet"]
    covered = {path for one in named for path in out.glob(one["includes"])}
    media = {path for path in out.rglob("*") if path.suffix in (".mp4", ".wav")}
    assert media <= covered


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_same_snapshot_gives_the_same_files(
    kind: type[TrainerLayout], films: dict[str, Path], tmp_path: Path
) -> None:
    shown = view([item(number, caption, films["sound"]) for number, caption in enumerate(CAPTIONS[:4])])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        kind().write(shown, tmp_path / name, lambda _done, _total, _current: None)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files
    assert all((tmp_path / "a" / one).read_bytes() == (tmp_path / "b" / one).read_bytes() for one in files)


def test_the_csv_of_diffsynth_is_read_too_and_runs_nothing(films: dict[str, Path], tmp_path: Path) -> None:
    kind = next(kind for kind in LAYOUTS if kind.name == "diffsynth")
    shown = view([item(3 * number, caption, films["sound"]) for number, caption in enumerate(CAPTIONS)])
    kind().write(shown, tmp_path, lambda _done, _total, _current: None)
    with (tmp_path / "train" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        prompts = [row["prompt"] for row in csv.DictReader(file)]
    assert [one.removeprefix("'") for one in prompts] == list(CAPTIONS)
    assert prompts[3].startswith("'=")


def test_clips_a_trainer_cannot_use_are_listed_with_the_reason(films: dict[str, Path], tmp_path: Path) -> None:
    items = [item(0, "有声", films["sound"]), item(3, "无声", films["silent"]), item(6, "图", films["picture"])]
    for kind in LAYOUTS:
        out = tmp_path / kind.name
        out.mkdir()
        kind().write(view(items), out, lambda _done, _total, _current: None)
        lines = (out / LEFT_OUT).read_text("utf-8").splitlines() if (out / LEFT_OUT).exists() else []
        kept = {"ace-step": 1, "musicgen": 1, "diffusers": 2, "cosmos": 2}.get(kind.name, 3)
        assert len(lines) == 3 - kept, kind.name
        assert all(json.loads(line)["reason"] for line in lines)
    assert "image_jsonl_file" in (tmp_path / "musubi" / "train.toml").read_text("utf-8")
    assert (tmp_path / "diffsynth" / "train" / "metadata_images.jsonl").is_file()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_snapshot_without_anything_to_train_on_is_refused(
    kind: type[TrainerLayout], films: dict[str, Path], tmp_path: Path
) -> None:
    useless = films["picture"] if kind.name in ("ace-step", "musicgen", "diffusers", "cosmos") else None
    items = [item(0, "x", useless)] if useless else []
    with pytest.raises(UsageError) as caught:
        kind().write(view(items), tmp_path, lambda _done, _total, _current: None)
    assert caught.value.code == "dataset.nothing_fits"


@pytest.fixture(autouse=True)
def _nothing_half_written(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob("*.part"))
