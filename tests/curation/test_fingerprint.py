"""Near-duplicates find each other, and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from view_factory import scenery

from malan.curation.fingerprint import ClipPrint, Duplicates, find_duplicates
from malan.curation.likeness import thumb_of
from malan.curation.scan import scan_file
from malan.media.index import build_index
from malan.media.probe import probe

FRAMES = 3
Picture = NDArray[np.uint8]


def shots(seed: int, count: int = 4) -> list[list[Picture]]:
    """Shots of a film: each some pictures of one scene that changes."""
    return [[scenery(seed * 100 + shot * 10 + step)[..., 0] for step in range(FRAMES)] for shot in range(count)]


def film(name: str, parts: Sequence[Sequence[Picture]], *, late_s: float = 0.0) -> list[ClipPrint]:
    """The prints of a film whose shots last three seconds each."""
    return [
        ClipPrint(
            f"{name}-{number}",
            name,
            late_s + 3.0 * number,
            late_s + 3.0 * (number + 1),
            late_s + 3.0 * number + np.arange(len(part)),
            np.stack([thumb_of(picture) for picture in part]),
        )
        for number, part in enumerate(parts)
    ]


def changed(parts: Sequence[Sequence[Picture]], how: str) -> list[list[Picture]]:
    return [[CHANGES[how](picture) for picture in part] for part in parts]


def _noisy(picture: Picture) -> Picture:
    noise = np.random.default_rng(3).normal(0, 12, picture.shape)
    return np.clip(picture * 0.9 + 10 + noise, 0, 255).astype(np.uint8)


def _with_logo(picture: Picture) -> Picture:
    marked = picture.copy()
    marked[10:40, 250:310] = 255
    return marked


CHANGES = {
    "encoded again": _noisy,
    "smaller": lambda p: p[::2, ::2],
    "cropped": lambda p: p[9:-9, 16:-16],
    "cropped to wide screen": lambda p: p[14:-14],
    "mirrored": lambda p: p[:, ::-1],
    "with a logo": _with_logo,
    "mirrored, cropped, with a logo": lambda p: _with_logo(p)[8:-8, 14:-14][:, ::-1],
}


def groups_of(found: Duplicates) -> set[frozenset[str]]:
    return {frozenset(group) for group in found.groups}


@pytest.mark.parametrize("how", CHANGES)
def test_each_shot_of_a_copy_joins_its_original(how: str) -> None:
    original = shots(1)
    found = find_duplicates([*film("one", original), *film("two", changed(original, how)), *film("other", shots(2))])
    assert groups_of(found) == {frozenset({f"one-{n}", f"two-{n}"}) for n in range(4)}
    (alignment,) = found.alignments
    assert alignment.is_mirrored == ("mirrored" in how)


def test_a_trimmed_copy_is_aligned_in_time() -> None:
    original = shots(1, 6)
    found = find_duplicates([*film("one", original), *film("two", original[2:5], late_s=1.5)])
    assert groups_of(found) == {frozenset({f"one-{n + 2}", f"two-{n}"}) for n in range(3)}
    assert found.alignments[0].offset_s == pytest.approx(-4.5)


def test_unlike_films_are_left_alone() -> None:
    found = find_duplicates([clip for seed in range(12) for clip in film(f"film{seed}", shots(seed))])
    assert found == Duplicates((), ())


def test_two_takes_in_one_room_are_not_copies() -> None:
    room = scenery(1)[..., 0]

    def take(seed: int) -> list[Picture]:
        pictures = []
        for x, y in np.random.default_rng(seed).integers(20, 120, (FRAMES, 2)):
            picture = room.copy()
            picture[y : y + 40, x : x + 40] = 20
            pictures.append(picture)
        return pictures

    assert find_duplicates([*film("one", [take(1)]), *film("two", [take(2)])]).groups == ()


def test_plain_frames_say_nothing() -> None:
    grey = [[np.full((180, 320), 90 + n, np.uint8) for n in range(FRAMES)]]
    assert find_duplicates([*film("one", grey), *film("two", grey)]).groups == ()


def test_the_order_of_the_prints_does_not_matter() -> None:
    original = shots(1)
    prints = [*film("one", original), *film("two", changed(original, "mirrored"))]
    assert find_duplicates(prints) == find_duplicates(prints[::-1])


def short_film(name: str, first_s: Sequence[float]) -> list[ClipPrint]:
    """Three shots of a second, each a slow pan; the first is sampled at `first_s`."""
    taken = [np.array(first_s), 1.04 + np.array([0.0, 0.28, 0.52]), 2.0 + np.array([0.0, 0.4, 0.52])]
    shown = [scenery(10 + shot)[..., 0] for shot in range(3)]
    prints = []
    for number, (times, picture) in enumerate(zip(taken, shown, strict=True)):
        thumbs = np.stack([thumb_of(np.roll(picture, round(40 * t), axis=1)) for t in times - times[0]])
        prints.append(ClipPrint(f"{name}-{number}", name, float(times[0]), float(times[0]) + 0.96, times, thumbs))
    return prints


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_short_shots_find_each_other_whichever_asset_comes_first(names: tuple[str, str]) -> None:
    one, other = names
    found = find_duplicates([*short_film(one, [0, 0.28, 0.72, 1.0]), *short_film(other, [0, 0.44, 0.72, 1.0])])
    assert groups_of(found) == {frozenset({f"{one}-{n}", f"{other}-{n}"}) for n in range(3)}


def test_no_prints_give_no_duplicates() -> None:
    assert find_duplicates([]) == find_duplicates(film("one", shots(1))) == Duplicates((), ())


def test_a_print_survives_its_bytes() -> None:
    (made,) = film("one", shots(1, 1), late_s=2.0)
    read = ClipPrint.from_bytes(made.clip_id, made.asset_id, made.to_bytes())
    assert (read.start_s, read.end_s) == (made.start_s, made.end_s)
    assert read.times_s == pytest.approx(made.times_s)
    assert (read.thumbs_THW == made.thumbs_THW).all()


@pytest.mark.parametrize("data", [b"", b"F1", b"XX" + bytes(40), b"F1\xff\xff" + bytes(16)])
def test_bytes_that_are_no_print_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        ClipPrint.from_bytes("c", "a", data)


def prints_of(path: Path) -> list[ClipPrint]:
    result = scan_file(path, path.name, probe(path), build_index(path), operators=_printer())
    return [ClipPrint.from_bytes(clip_id, path.name, data) for clip_id, data in result.fingerprints.items()]


def _printer() -> list[object]:
    from malan.curation.operators.prints import VideoFingerprint

    return [VideoFingerprint()]


def test_copies_in_real_footage_are_found_and_nothing_else(footage: Path) -> None:
    copies = {
        ("neardup_recompressed_270p.mp4", "bbb_1a_486p.mp4"): (60.0, False),
        ("neardup_mirrored_cropped_logo.mp4", "bbb_1a_486p.mp4"): (60.0, True),
        ("neardup_mirrored_cropped_logo.mp4", "neardup_recompressed_270p.mp4"): (0.0, True),
        ("bbb_0_30_vp8.webm", "bbb_1a_486p.mp4"): (0.0, False),
        ("sintel_trailer_480x204.mp4", "sintel_trailer_part_854x480.mp4"): (-50 / 24, False),
    }
    names = [*{name for pair in copies for name in pair}, "sam2_dog.mp4", "climbing_vertical.mp4"]
    paths = [next(p for p in (footage / "video" / n, footage / "derived" / n) if p.exists()) for n in names]
    paths += sorted((footage / "video" / "asl").glob("*.mkv"))
    found = find_duplicates([made for path in paths for made in prints_of(path)]).alignments
    known = {pair if pair == tuple(sorted(pair)) else pair[::-1]: truth for pair, truth in copies.items()}
    assert {(a.one, a.other): a.is_mirrored for a in found} == {pair: truth[1] for pair, truth in known.items()}
    for alignment in found:
        assert abs(alignment.offset_s) == pytest.approx(abs(known[alignment.one, alignment.other][0]), abs=0.5)
