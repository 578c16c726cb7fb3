"""What the files of a series, and the library, say about an episode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from episode_factory import NUMBER, Plan, draw_episode
from media_factory import draw_film

from malan.apps.review.decisions import keep_labels
from malan.apps.review.language.values import Moment
from malan.apps.review.measure.episode import Measured, measure
from malan.apps.review.report import read_report
from malan.apps.review.series import compare_episodes, library_matches, missing_numbers
from malan.apps.review.words import Lexicon, Pattern
from malan.apps.running import run_app
from malan.core.errors import Rejected
from malan.inference.ocr import OnnxTextReader
from malan.services.footage.assets import add_assets
from malan.services.footage.people import kept_findings
from malan.services.footage.scan import scan_assets
from malan.workspace import Workspace

WORDS = {
    ("pattern", "number.any"): Pattern("n", ["({name})网微剧备字({year})第{digits}号"]),
    ("lexicon", "credits"): Lexicon("c", [("编剧", ()), ("导演", ())]),
}


def test_gaps_and_an_early_end_are_missing() -> None:
    assert missing_numbers([1, 2, 4], None) == (3,)
    assert missing_numbers([1, 2], 4) == (3, 4)
    assert missing_numbers([None], 4) == ()


def _episode(name: str, digest: str, *cards: str) -> Measured:
    listed = [Moment(0, 2, text, source="card") for text in cards]
    return Measured(Path(name), digest, 60.0, cards=listed)


def test_the_number_most_episodes_show_is_the_right_one() -> None:
    other = NUMBER.replace("012", "120")
    listed = [_episode(f"第{n}集.mp4", str(n), NUMBER if n != 2 else other) for n in (1, 2, 3)]
    found = compare_episodes(listed, WORDS)
    assert [len(one.other_numbers) for one in found] == [0, 1, 0]
    assert other in found[1].other_numbers[0].text


def test_credits_count_in_the_first_opening_or_the_last_closing() -> None:
    first, last = _episode("1.mp4", "a"), _episode("2.mp4", "b")
    assert compare_episodes([first, last], WORDS)[1].credits is False
    named = _episode("1.mp4", "a", "编剧 张三", "导演 李四")
    assert compare_episodes([named, last], WORDS)[1].credits is True


def test_the_same_bytes_are_a_double() -> None:
    found = compare_episodes([_episode("1.mp4", "a"), _episode("2.mp4", "a")], WORDS)
    assert found[1].duplicate_of == ("1.mp4",)
    assert found[0].duplicate_of == ()


def test_two_files_of_one_number_are_told_and_so_is_a_picture_unlike_the_others() -> None:
    listed = [_episode(f"第{n}集.mp4", str(n)) for n in (1, 2, 3)] + [_episode("第2集_v2.mp4", "4")]
    listed = [replace(one, has_picture=True, size_px=(1080, 1920), rate=25.0) for one in listed]
    listed[2] = replace(listed[2], size_px=(720, 1280))
    found = compare_episodes(listed, WORDS)
    assert [one.namesake for one in found] == [None, None, None, "第2集.mp4"]
    assert [one.other_format for one in found] == [None, None, "720×1280 25 fps ≠ 1080×1920 25 fps", None]


def test_a_damaged_file_is_not_missing() -> None:
    listed = [_episode("第1集.mp4", "a"), _episode("第3集.mp4", "b")]
    assert compare_episodes(listed, WORDS)[0].missing == (2,)
    assert compare_episodes(listed, WORDS, None, [Path("第2集.mp4")])[0].missing == ()


def test_too_few_files_are_told_even_where_names_do_not_tell_which() -> None:
    [one] = compare_episodes([_episode("花絮.mp4", "a")], WORDS, 4)
    assert (one.missing, one.lacking) == ((), 3)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Path]]:
    """A scanned film that nobody may publish."""
    folder = tmp_path_factory.mktemp("library")
    film = draw_film(folder / "owned.mp4", (60, 70, 60, 60), size=(480, 270), seed=33).path
    (folder / "ws").mkdir()
    (folder / "ws" / "malan.toml").write_text("workers = 1\n", "utf-8")
    ws = Workspace(folder / "ws")
    add_assets(ws, [film], owner="湖南台")
    scan_assets(ws, captions=False)
    yield ws, film
    ws.database.dispose()


def _again(film: Path, out: Path) -> Path:
    """A film encoded worse and smaller."""
    with av.open(str(film)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "30", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 426, 240, "yuv420p"
        for n, frame in enumerate(source.decode(video=0)):
            small = frame.reformat(426, 240)
            small.pts, small.time_base = n, Fraction(1, 25)
            target.mux(stream.encode(small))
        target.mux(stream.encode(None))
    return out


def test_footage_of_the_library_without_authorisation_is_found(library: tuple[Workspace, Path], tmp_path: Path) -> None:
    ws, film = library
    found = measure(_again(film, tmp_path / "stolen.mp4"), OnnxTextReader())
    matches = library_matches(ws, [found], frozenset())[0]
    assert len(matches) == 1
    assert dict(matches[0].detail)["owner"] == "湖南台"
    assert matches[0].length_s > 6
    assert library_matches(ws, [found], frozenset(ws.library.terms_ids())) == [()]


def test_other_footage_is_not(library: tuple[Workspace, Path], tmp_path: Path) -> None:
    other = draw_film(tmp_path / "other.mp4", (60, 60, 60), size=(480, 270), seed=90).path
    assert library_matches(library[0], [measure(other, OnnxTextReader())], frozenset()) == [()]


def test_labels_are_kept_about_the_clips_of_an_asset(library: tuple[Workspace, Path]) -> None:
    ws, _ = library
    asset = next(asset_id for asset_id, _ in ws.library.extras_of_kind("fingerprint.video"))
    said = {"asset": asset, "start_s": 2.4, "end_s": 5.2, "value": {"rule": "CON-13", "class": "yes"}}
    stranger = {**said, "asset": "0" * 64}
    assert keep_labels(ws, [said, stranger]) == 1
    kept = kept_findings(ws, "label.review")
    assert [one.finding.value["label"] for one in kept] == ["CON-13"]


def test_an_asset_is_reviewed_by_its_id(library: tuple[Workspace, Path], tmp_path: Path) -> None:
    ws, film = library
    asset = next(asset_id for asset_id, _ in ws.library.extras_of_kind("fingerprint.video"))
    values = {"paths": [asset[:12]], "as_of": "2026-10-01", "pack": "tech-qc", "pdf": False}
    run_app(ws, "review", values, tmp_path)
    assert [one["file"] for one in read_report(tmp_path / "review.json")["episodes"]] == [film.name]


def test_a_film_that_is_two_episodes_is_found(tmp_path: Path) -> None:
    plan = Plan(seconds=8, size=(180, 320), seed=70)
    one = draw_episode(tmp_path / "第1集.mkv", plan)
    two = draw_episode(tmp_path / "第2集.mkv", Plan(**{**plan.__dict__, "gain": 0.1}))
    reader = OnnxTextReader(detect_side_px=512)
    listed = [measure(path, reader) for path in (one, two)]
    assert listed[0].digest != listed[1].digest
    assert compare_episodes(listed, WORDS)[1].duplicate_of == ("第1集.mkv",)


def test_a_detector_whose_licence_forbids_it_is_not_let_in() -> None:
    from malan.apps.review.measure.detectors import Detectors

    class Nudity:
        sense, names, model = "vision", ("nudity",), "nude-320n"
        licence = "CC-BY-NC-4.0"

        def detect(self, path: Path) -> dict[str, list[Moment]]:
            return {"nudity": [Moment(1, 2)]}

    with pytest.raises(Rejected):
        Detectors([Nudity()])
    Nudity.licence = "Apache-2.0"
    assert Detectors([Nudity()]).look(Path("x"))["vision", "nudity"] == (Moment(1, 2),)
