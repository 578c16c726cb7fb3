"""Frames through the loader: the right ones, of the right size, counted by their length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_algorithm import Purse
from drawn_footage import DrawnFootage, draw_footage, loader_of, seconds
from media_factory import read_number

from malan.core.errors import NotGranted, Rejected
from malan.runtime.sandbox.inside.data import Clips
from malan.training.loader import Allowed, Loader


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> DrawnFootage:
    return draw_footage(tmp_path_factory.mktemp("footage"), tall=True, audio=True)


@pytest.fixture
def loader(footage: DrawnFootage) -> Iterator[Loader]:
    found = loader_of(footage, "frames", "labels", "captions")
    yield found
    found.close()


def clips_of(loader: Loader, **window: Any) -> Clips:
    def ask(**request: Any) -> Any:
        return loader.serve(request)

    return Clips(ask, "data", len(loader), ("frames",), {"size_px": 128, "fit": "stretch", **window})


def numbers(batch: dict[str, Any]) -> list[list[int]]:
    return [[read_number(picture) for picture in window] for window in batch["frames_NTHWC"]]


FIRSTS = (0, 40, 65, 0, 40, 65, 0)  # of each shot in its film
LENGTHS = (40, 25, 12, 40, 25, 12, 30)


def test_windows_are_the_frames_that_were_asked_for(loader: Loader) -> None:
    (batch,) = clips_of(loader, frames=4, pick="middle", every=2).batches(8)
    middles = [first + (length - 7) // 2 for first, length in zip(FIRSTS, LENGTHS, strict=True)]
    assert numbers(batch) == [[at, at + 2, at + 4, at + 6] for at in middles]
    assert batch["clip_N"].tolist() == list(range(7))


def test_times_count_from_the_start_of_the_clip(loader: Loader) -> None:
    (batch,) = clips_of(loader, frames=4, pick="middle").batches(8)
    assert batch["time_NT"][1] == pytest.approx([0.4, 0.44, 0.48, 0.52])


def test_random_windows_lie_inside_their_clips_and_move_with_the_epoch(loader: Loader) -> None:
    clips = clips_of(loader, frames=5, pick="random")
    seen = [numbers(next(clips.batches(8, epoch=epoch))) for epoch in range(4)]
    for epoch in seen:
        for window, first, length in zip(epoch, FIRSTS, LENGTHS, strict=True):
            assert window == list(range(window[0], window[0] + 5))
            assert first <= window[0] <= first + length - 5
    assert len({str(epoch) for epoch in seen}) == 4


def test_the_same_seed_gives_the_same_windows(footage: DrawnFootage) -> None:
    def passes(seed: int) -> list[list[list[int]]]:
        found = loader_of(footage, "frames", seed=seed)
        try:
            return [numbers(batch) for batch in clips_of(found, frames=3).batches(3, shuffle=True, epoch=1)]
        finally:
            found.close()

    assert passes(5) == passes(5) != passes(6)


def test_all_windows_of_a_clip_come_one_every_stride(loader: Loader) -> None:
    batches = list(clips_of(loader, frames=10, pick="all", stride=10).batches(4))
    windows = [window[0] for batch in batches for window in numbers(batch)]
    assert windows[:7] == [0, 10, 20, 30, 40, 50, 65]
    assert len(windows) == 2 * 7 + 3


def test_a_clip_shorter_than_its_window_repeats_its_last_frame(loader: Loader) -> None:
    batch = clips_of(loader, frames=16).take([2])
    assert numbers(batch) == [[*range(65, 77), 76, 76, 76, 76]]
    assert batch["time_NT"][0, -1] == batch["time_NT"][0, 11]


def test_clips_come_in_the_order_they_are_named_and_may_come_twice(loader: Loader) -> None:
    batch = clips_of(loader, frames=2, pick="middle").take([6, 0, 6])
    assert batch["clip_N"].tolist() == [6, 0, 6]
    assert numbers(batch)[0] == numbers(batch)[2]


def test_crop_cuts_a_square_out_of_the_middle(footage: DrawnFootage, loader: Loader) -> None:
    batch = clips_of(loader, frames=1, pick="middle", fit="crop", size_px=90).take([0, 6])
    assert batch["frames_NTHWC"].shape == (2, 1, 90, 90, 3)
    whole = clips_of(loader, frames=1, pick="middle", fit="stretch", size_px=180).take([0])
    assert np.abs(batch["frames_NTHWC"][0, 0, 45].mean() - whole["frames_NTHWC"][0, 0, 90, 39:141].mean()) < 20


def test_pictures_that_keep_their_shape_come_in_batches_of_one_shape(loader: Loader) -> None:
    shapes = [batch["frames_NTHWC"].shape for batch in clips_of(loader, frames=2, fit="whole", size_px=64).batches(4)]
    assert sorted(shapes) == [(1, 2, 112, 64, 3), (2, 2, 64, 112, 3), (4, 2, 64, 112, 3)]


def test_shapes_that_differ_cannot_be_named_together(loader: Loader) -> None:
    with pytest.raises(Rejected):
        clips_of(loader, frames=2, fit="whole", size_px=64).take([0, 6])


def test_each_window_counts_its_length_each_time(footage: DrawnFootage) -> None:
    purse = Purse()
    loader = loader_of(footage, "frames", counter=purse)
    clips = clips_of(loader, frames=5, every=2)
    list(clips.batches(4))
    assert purse.total_us == 7 * seconds(9)
    clips.take([0, 0])
    assert purse.total_us == 9 * seconds(9)
    assert loader.counted_us == purse.total_us
    loader.close()
    assert purse.closed


def test_what_is_decoded_ahead_counts_only_when_it_is_delivered(footage: DrawnFootage) -> None:
    purse = Purse()
    loader = loader_of(footage, "frames", counter=purse, ahead=3)
    next(clips_of(loader, frames=4).batches(2))
    assert purse.total_us == 2 * seconds(4)
    loader.close()


def test_captions_with_frames_count_the_whole_clip_at_least(footage: DrawnFootage) -> None:
    purse = Purse()
    loader = loader_of(footage, "frames", "captions", counter=purse)
    clips = clips_of(loader, frames=10)
    clips.take([1], deliver=["frames", "captions"])
    assert purse.total_us == seconds(25)  # the window lies within what was counted
    clips.take([1], deliver=["frames"])
    clips.take([1], deliver=["frames"])
    assert purse.total_us == seconds(30)  # thirty frames by now
    clips.take([1], epoch=1)
    assert purse.total_us == seconds(40)
    loader.close()


def test_a_file_that_is_gone_is_left_out_and_not_counted(footage: DrawnFootage) -> None:
    broken = DrawnFootage(footage.films)
    shots = broken.shots()
    del broken.films["one"]
    purse = Purse()
    loader = loader_of(broken, "frames", clips=shots, counter=purse)
    (batch,) = clips_of(loader, frames=4).batches(8)
    assert batch["clip_N"].tolist() == [3, 4, 5, 6]
    assert len(batch["frames_NTHWC"]) == 4
    assert (loader.unreadable, purse.total_us) == (3, 4 * seconds(4))
    loader.close()


def test_a_damaged_stretch_costs_its_windows_alone(tmp_path: Path) -> None:
    drawn = draw_footage(tmp_path)
    path = drawn.films["one"].path
    data = bytearray(path.read_bytes())
    index = drawn.indexes["one"]
    start, size = int(index.position[index.shown[40]]), int(index.size_bytes[index.shown[40]])
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    loader = loader_of(drawn, "frames")
    (batch,) = clips_of(loader, frames=4, pick="all", stride=4).batches(64)
    assert 0 < loader.unreadable < 10
    assert 0 in batch["clip_N"]
    assert 2 in batch["clip_N"]
    loader.close()


def test_footage_withdrawn_before_it_was_used_is_left_out(footage: DrawnFootage) -> None:
    purse = Purse()
    loader = loader_of(footage, "frames", counter=purse)
    batches = clips_of(loader, frames=2).batches(3)
    next(batches)
    purse.withdrawn = {"two"}
    assert next(batches)["clip_N"].tolist() == []
    assert next(batches)["clip_N"].tolist() == [6]
    loader.close()


def test_footage_withdrawn_after_it_was_used_ends_the_run(footage: DrawnFootage) -> None:
    purse = Purse()
    loader = loader_of(footage, "frames", counter=purse)
    batches = clips_of(loader, frames=2).batches(3)
    next(batches)
    purse.withdrawn = {"one"}
    with pytest.raises(NotGranted, match="withdrawn"):
        next(batches)
    loader.close()


def test_an_empty_purse_delivers_nothing(footage: DrawnFootage) -> None:
    purse = Purse(left_us=seconds(10))
    loader = loader_of(footage, "frames", counter=purse)
    batches = clips_of(loader, frames=4).batches(2)
    next(batches)
    with pytest.raises(NotGranted):
        next(batches)
    assert purse.total_us == seconds(8)
    loader.close()


def test_more_than_an_answer_holds_is_refused_before_it_is_decoded(footage: DrawnFootage) -> None:
    loader = loader_of(footage, allowed=Allowed(frozenset({"frames"}), answer_bytes=7 * 16 * 128 * 128 * 3))
    clips = clips_of(loader, frames=16)
    assert len(next(clips.batches(7))["clip_N"]) == 7
    with pytest.raises(Rejected, match="at once"):
        clips.take([0] * 8)
    loader.close()


def test_windows_without_end_are_refused_before_they_are_listed(footage: DrawnFootage) -> None:
    loader = loader_of(footage, allowed=Allowed(frozenset({"frames"}), batch_clips=8, slots=200))
    clips = clips_of(loader, frames=1, pick="all", stride=1)
    with pytest.raises(Rejected, match="200 at most"):
        next(clips.batches(8, repeats=10))
    with pytest.raises(Rejected, match="32 at most"):
        clips.take([0])
    loader.close()


def test_a_loader_that_is_closed_breaks_off_what_takes_long(footage: DrawnFootage) -> None:
    loader = loader_of(footage, "frames")
    clips = clips_of(loader, frames=2)
    clips.take([0])
    loader.close()
    loader.close()
    assert clips.take([0])["clip_N"].tolist() == []


def test_sound_is_the_stretch_that_was_asked_for(footage: DrawnFootage) -> None:
    from malan.media.audio import audio_blocks

    loader = loader_of(footage, "audio")
    whole = np.concatenate([b.samples for b in audio_blocks(footage.films["one"].path, rate=16_000)])
    batch = clips_of(loader).take([1], deliver=["audio"], audio={"rate_hz": 16_000})
    assert batch["samples_N"].tolist() == [16_000]
    assert batch["audio_NS"].shape == (1, 16_000)
    assert np.abs(batch["audio_NS"][0, 100:-100] - whole[25_600:41_600][100:-100]).max() < 0.02
    loader.close()


def test_sound_of_different_lengths_is_padded_with_silence(footage: DrawnFootage) -> None:
    loader = loader_of(footage, "audio")
    batch = clips_of(loader).take([1, 2], deliver=["audio"], audio={"rate_hz": 8000, "channels": 2})
    assert batch["audio_NCS"].shape == (2, 2, 8000)
    assert batch["samples_N"].tolist() == [8000, 3840]
    assert not batch["audio_NCS"][1, :, 3840:].any()
    assert batch["audio_NCS"][1, :, :3000].std() > 0.05
    loader.close()


def test_sound_and_frames_together_count_the_longer(footage: DrawnFootage) -> None:
    purse = Purse()
    loader = loader_of(footage, "audio", "frames", counter=purse)
    clips_of(loader, frames=5).take([0], deliver=["audio", "frames"], audio={"seconds": 1})
    assert purse.total_us == 1_000_000
    loader.close()


def test_arrays_are_the_callers_own(loader: Loader) -> None:
    clips = clips_of(loader, frames=2, pick="middle")
    first = clips.take([0, 1])
    first["frames_NTHWC"][:] = 0
    assert clips.take([0, 1])["frames_NTHWC"].any()
