"""Names of files tell which episode they are; sizes, codecs, days and versions are no numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from malan.apps.review.names import episode_keys, episode_number, shown_names


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("第3集.mp4", 3), ("老地方见_012.mp4", 12), ("EP07.mkv", 7), ("s1e09.mov", 9), ("03.mp4", 3),
        ("花絮.mp4", None),
        ("EP03_1080p.mp4", 3), ("老地方见 03 [1080P].mp4", 3), ("E12-h264.mp4", 12), ("第３集_终版v2.mp4", 3),
        ("第十二集.mp4", 12), ("第一百零五集.mp4", 105), ("12集.mp4", 12), ("20260801_ep3.mp4", 3),
        ("90天_第4集.mp4", 4),
        ("老地方见-07-1920x1080.mp4", 7), ("老地方见_2026.mp4", None), ("老地方见_v2.mp4", None), ("第二版.mp4", None),
        ("1080p.mp4", None), ("vertical_s_zh_subs.mp4", None),
    ],
)  # fmt: skip
def test_the_name_of_a_file_tells_its_number(name: str, number: int | None) -> None:
    assert episode_number(Path(name)) == number


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("第3集_v1.mp4", "第3集 终版 1080p.mp4"), ("老地方见_v1.mp4", "老地方见_v2.mp4"),
        ("EP03.mp4", "ep03_20260801.mov"),
        ("老地方见（初稿）.mp4", "老地方见（修改稿2）.mp4"),
    ],
)  # fmt: skip
def test_a_later_cut_is_known_by_another_name(earlier: str, later: str) -> None:
    assert episode_keys([Path(earlier)]) == episode_keys([Path(later)])


def test_no_two_files_of_a_review_are_known_by_the_same_key() -> None:
    names = ["第3集_v1.mp4", "第3集_v2.mp4", "第4集.mp4", "花絮_v1.mp4", "花絮_v2.mp4", "花絮_v2.mp4", "_v1.mp4"]
    assert len(set(episode_keys([Path(name) for name in names]))) == len(names)


def test_files_of_one_name_are_shown_with_their_folders() -> None:
    paths = [Path(name) for name in ("a/1.mp4", "b/1.mp4", "a/2.mp4", "a/2.mp4")]
    assert shown_names(paths) == ["a/1.mp4", "b/1.mp4", "2.mp4 (3)", "2.mp4 (4)"]
