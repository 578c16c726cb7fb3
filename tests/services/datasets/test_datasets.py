"""From footage to a frozen snapshot and out again, on films whose every frame is numbered."""

import csv
import json
import subprocess
import tarfile
import wave
from pathlib import Path

import av
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from media_factory import Film, draw_film, read_number

from malan.core.errors import NotFound, NotGranted, ProofError, UsageError
from malan.rights import load_terms
from malan.services.clips.exports import export_clips
from malan.services.clips.where import condition
from malan.services.datasets.freezing import export_snapshot, freeze_snapshot, list_snapshots, prove_clip, show_snapshot
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.workspace import Workspace

LENGTHS = ((30, 26, 34), (28, 40))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[Film]]:
    """Two owners' films, registered and scanned; the second owner does not allow export."""
    root = tmp_path_factory.mktemp("datasets")
    ws = Workspace.create(root / "ws")
    films = [
        draw_film(
            root / f"film-{n}.mp4", lengths, seed=11 * n + 3, options={"preset": "veryfast", "g": "12"}, audio=True
        )
        for n, lengths in enumerate(LENGTHS)
    ]
    (root / "terms.toml").write_text('uses = ["retrieve", "train"]\n')
    add_assets(ws, [films[0].path], owner="湖南台")
    add_assets(ws, [films[1].path], owner="Studio", terms=load_terms(root / "terms.toml", "Studio"))
    scan_assets(ws, captions=False)
    return ws, films


@pytest.fixture
def frozen(library: tuple[Workspace, list[Film]]) -> tuple[Workspace, str]:
    ws, _ = library
    return ws, freeze_snapshot(ws, "mine", condition("owner=湖南台")).saved.snapshot.id


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_freezing_the_same_clips_again_gives_the_same_snapshot(library: tuple[Workspace, list[Film]]) -> None:
    ws, _ = library
    first = freeze_snapshot(ws, "all", condition(""))
    assert first.saved.snapshot.clip_count == sum(map(len, LENGTHS))
    again = freeze_snapshot(ws, "all", condition(""))
    assert again.saved == first.saved
    assert [saved.snapshot.id for saved in list_snapshots(ws)].count(first.saved.snapshot.id) == 1


def test_only_clips_whose_terms_allow_the_use_are_frozen(library: tuple[Workspace, list[Film]]) -> None:
    ws, _ = library
    trainable = freeze_snapshot(ws, "trainable", condition(""), use="train")
    assert trainable.saved.snapshot.clip_count == len(LENGTHS[1])
    assert trainable.denied_clips == len(LENGTHS[0])


def test_a_snapshot_keeps_an_asset_on_one_side_of_a_split(library: tuple[Workspace, list[Film]]) -> None:
    ws, _ = library
    _, manifest = show_snapshot(ws, freeze_snapshot(ws, "split", condition("")).saved.snapshot.id)
    sides = {entry.clip.asset_id: {e.split for e in manifest.entries if e.clip.asset_id == entry.clip.asset_id}
             for entry in manifest.entries}  # fmt: skip
    assert all(len(splits) == 1 for splits in sides.values())


def test_nothing_to_freeze_or_an_impossible_name_is_refused(library: tuple[Workspace, list[Film]]) -> None:
    ws, _ = library
    with pytest.raises(UsageError):
        freeze_snapshot(ws, "none", condition("min-duration=900"))
    for name in ("", " x", "a/b", "n" * 81, "a\nb"):
        with pytest.raises(UsageError):
            freeze_snapshot(ws, name, condition(""))


def test_a_manifest_changed_on_disk_is_found_out(frozen: tuple[Workspace, str]) -> None:
    ws, snapshot_id = frozen
    path = ws.root / "snapshots" / snapshot_id / "manifest.jsonl"
    intact = path.read_bytes()
    path.write_bytes(intact.replace(b'"split":"t', b'"split":"v', 1))
    try:
        with pytest.raises(ProofError):
            show_snapshot(ws, snapshot_id)
    finally:
        path.write_bytes(intact)


def test_a_clip_is_proved_to_be_in_a_snapshot(frozen: tuple[Workspace, str]) -> None:
    ws, snapshot_id = frozen
    _, manifest = show_snapshot(ws, snapshot_id)
    assert prove_clip(ws, snapshot_id, manifest.entries[1].clip.id)["root"] == snapshot_id


def test_videofolder_holds_every_frame_of_every_clip(frozen: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, snapshot_id = frozen
    done = export_snapshot(ws, snapshot_id, "videofolder", tmp_path / "out")
    assert done.clips == 3
    rows = [row for split in ("train", "val", "test") for row in _rows(tmp_path / "out" / split)]
    got = sorted((numbers(tmp_path / "out" / row["split"] / row["file_name"]) for row in rows), key=min)
    assert [n for part in got for n in part] == list(range(90))
    assert [len(part) for part in got] == list(LENGTHS[0])


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8") as file:
        return [row | {"split": folder.name} for row in csv.DictReader(file)]


def test_webdataset_shards_hold_three_files_a_clip_and_are_the_same_twice(
    frozen: tuple[Workspace, str], tmp_path: Path
) -> None:
    ws, snapshot_id = frozen
    for name in ("a", "b"):
        export_snapshot(ws, snapshot_id, "webdataset", tmp_path / name)
    shards = sorted((tmp_path / "a").glob("*.tar"))
    names = [name for shard in shards for name in _members(shard)]
    assert len(names) == 9
    assert {Path(name).suffix for name in names} == {".mp4", ".json", ".txt"}
    assert all(shard.read_bytes() == (tmp_path / "b" / shard.name).read_bytes() for shard in shards)


def _members(shard: Path) -> list[str]:
    with tarfile.open(shard) as tar:
        return tar.getnames()


def test_a_lance_export_is_read_row_by_row(frozen: tuple[Workspace, str], tmp_path: Path) -> None:
    import lance

    ws, snapshot_id = frozen
    export_snapshot(ws, snapshot_id, "lance", tmp_path / "out")
    table = lance.dataset(str(tmp_path / "out" / "clips.lance"))
    assert table.count_rows() == 3
    blob = table.take_blobs("media", indices=[0])[0].read()
    (tmp_path / "clip.mp4").write_bytes(blob)
    assert numbers(tmp_path / "clip.mp4")


def test_edit_lists_name_the_exact_frames_and_cut_nothing(frozen: tuple[Workspace, str], tmp_path: Path) -> None:
    import opentimelineio as otio

    ws, snapshot_id = frozen
    export_snapshot(ws, snapshot_id, "otio", tmp_path / "o")
    timeline = otio.adapters.read_from_file(str(tmp_path / "o" / "timeline.otio"))
    ranges = [clip.source_range for clip in timeline.find_clips()]
    assert [(r.start_time.value, r.duration.value) for r in ranges] == [(0, 30), (30, 26), (56, 34)]
    export_snapshot(ws, snapshot_id, "edl", tmp_path / "e")
    (edl,) = (tmp_path / "e" / "edl").glob("*.edl")
    events = [line.split()[4:] for line in edl.read_text("utf-8").splitlines() if line[:3].isdigit()]
    assert events[1] == ["00:00:01:05", "00:00:02:06", "00:00:01:05", "00:00:02:06"]
    assert not list((tmp_path / "e").rglob("*.mp4"))


def test_every_export_carries_its_card_and_its_manifest(frozen: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, snapshot_id = frozen
    export_snapshot(ws, snapshot_id, "videofolder", tmp_path / "out")
    card = json.loads((tmp_path / "out" / "croissant.json").read_text("utf-8"))
    assert card["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert card["identifier"] == snapshot_id
    assert card["creator"] == [{"@type": "sc:Organization", "name": "湖南台"}]
    ids = {resource["@id"] for resource in card["distribution"]}
    used = {field["source"]["fileSet"]["@id"] for records in card["recordSet"] for field in records["field"]}
    assert used <= ids
    manifest = (tmp_path / "out" / "manifest.jsonl").read_bytes()
    assert manifest == (ws.root / "snapshots" / snapshot_id / "manifest.jsonl").read_bytes()


def test_footage_whose_terms_do_not_allow_export_stays(library: tuple[Workspace, list[Film]], tmp_path: Path) -> None:
    ws, _ = library
    everything = freeze_snapshot(ws, "both", condition("")).saved.snapshot.id
    with pytest.raises(NotGranted) as refusal:
        export_snapshot(ws, everything, "videofolder", tmp_path / "out")
    assert "export" in str(refusal.value)
    assert not (tmp_path / "out").exists()
    clip = next(iter(ws.library.matching(condition("owner=Studio"))))
    with pytest.raises(NotGranted):
        export_clips(ws, [clip.id], tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


def test_clips_are_cut_with_their_sound_under_names_that_sort(
    library: tuple[Workspace, list[Film]], tmp_path: Path
) -> None:
    ws, _ = library
    rows = sorted(ws.library.matching(condition("owner=湖南台")), key=lambda row: row.span.start)
    done = export_clips(ws, [row.id for row in rows], tmp_path / "clips")
    assert [one.path.name for one in done] == sorted(one.path.name for one in done)
    with av.open(str(done[1].path)) as container:
        assert len(container.streams.audio) == 1
    assert numbers(done[1].path) == list(range(30, 56))


def test_an_export_does_not_mix_with_what_is_there(frozen: tuple[Workspace, str], tmp_path: Path) -> None:
    ws, snapshot_id = frozen
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError):
        export_snapshot(ws, snapshot_id, "edl", tmp_path)
    with pytest.raises(UsageError, match="webdataset"):
        export_snapshot(ws, snapshot_id, "zip", tmp_path / "new")


def test_footage_that_moved_away_is_named(library: tuple[Workspace, list[Film]], tmp_path: Path) -> None:
    ws, films = library
    snapshot_id = freeze_snapshot(ws, "gone", condition("owner=湖南台")).saved.snapshot.id
    hidden = films[0].path.with_suffix(".away")
    films[0].path.rename(hidden)
    try:
        with pytest.raises(NotFound, match="not where it was"):
            export_snapshot(ws, snapshot_id, "videofolder", tmp_path / "out")
    finally:
        hidden.rename(films[0].path)


@pytest.mark.parametrize("format_name", ["musubi", "musicgen"])
def test_a_trainer_gets_what_the_cutter_cuts(frozen: tuple[Workspace, str], tmp_path: Path, format_name: str) -> None:
    ws, snapshot_id = frozen
    done = export_snapshot(ws, snapshot_id, format_name, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "clips.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == done.clips == 3
    if format_name == "musubi":
        got = sorted(numbers(tmp_path / "out" / row["file"]) for row in rows)
        assert [n for part in got for n in part] == list(range(90))
    else:
        with wave.open(str(tmp_path / "out" / rows[0]["file"])) as sound:
            assert sound.getnframes() > sound.getframerate() / 2


def test_sound_with_a_picture_on_its_cover_is_cut_as_sound(tmp_path: Path) -> None:
    picture, song = tmp_path / "cover.jpg", tmp_path / "films" / "song.mp3"
    song.parent.mkdir()
    ffmpeg = get_ffmpeg_exe()
    drawn = ["-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-frames:v", "1", str(picture)]
    covered = ["-f", "lavfi", "-i", "sine=d=3", "-i", str(picture), "-map", "0:a", "-map", "1:v", "-c:v", "copy",
               "-disposition:v", "attached_pic", str(song)]  # fmt: skip
    for words in (drawn, covered):
        subprocess.run([ffmpeg, "-v", "error", "-y", *words], check=True)
    ws = Workspace.create(tmp_path / "ws")
    add_assets(ws, [song.parent], owner="湖南台")
    scan_assets(ws, captions=False)
    snapshot = freeze_snapshot(ws, "song", condition("")).saved.snapshot.id
    done = export_snapshot(ws, snapshot, "ace-step", tmp_path / "out")
    (sound,) = (tmp_path / "out").rglob("*.wav")
    with wave.open(str(sound)) as wav:
        assert wav.getnframes() / wav.getframerate() == pytest.approx(3, abs=0.2)
    assert (done.clips, done.left_out) == (1, 0)
    with pytest.raises(UsageError):
        export_snapshot(ws, snapshot, "cosmos", tmp_path / "no")
    ws.log.close()
    ws.database.dispose()
