"""The trusted face: a dataset of this process, as PyTorch's loader takes it."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn_footage import DrawnFootage, draw_footage
from media_factory import read_number

from malan.core.errors import MediaError, Rejected
from malan.training.loader import ClipDataset, Holdings

WINDOW = {"frames": 3, "size_px": 128, "fit": "stretch", "pick": "middle"}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> DrawnFootage:
    return draw_footage(tmp_path_factory.mktemp("footage"), audio=True)


@pytest.fixture
def data(footage: DrawnFootage) -> Iterator[ClipDataset]:
    shots = footage.shots()
    holdings = Holdings(shots, labels=[["day"], ["night"]] * 3, captions=["夜景"] * 6, footage=footage)
    found = ClipDataset(holdings, ("labels", "captions", "frames", "audio"), window=WINDOW, audio={"seconds": 0.1})
    yield found
    found.close()


def test_an_item_is_one_clip_without_the_axis_of_clips(data: ClipDataset) -> None:
    item = data[1]
    assert [read_number(picture) for picture in item["frames_THWC"]] == [51, 52, 53]
    assert (item["clip"], item["label"], item["caption"]) == (1, 1, "夜景")
    assert item["labels_C"].tolist() == [0, 1]
    assert item["audio_S"].shape == (1600,)
    assert data.classes == ["day", "night"]
    assert data.clip(1).asset_id == "one"


def test_it_has_a_length_an_end_and_an_order(data: ClipDataset) -> None:
    assert len(data) == 6
    assert [item["clip"] for item in data] == [0, 1, 2, 3, 4, 5]
    assert data[-1]["clip"] == 5
    with pytest.raises(IndexError):
        data[6]


def test_random_windows_follow_the_epoch(footage: DrawnFootage) -> None:
    data = ClipDataset(Holdings(footage.shots(), footage=footage), ("frames",), window=WINDOW | {"pick": "random"})

    def first(epoch: int) -> int:
        data.epoch = epoch
        return read_number(data[0]["frames_THWC"][0])

    assert first(0) == first(0)
    assert len({first(epoch) for epoch in range(6)}) > 1
    data.close()


def test_batches_are_those_of_a_run(data: ClipDataset) -> None:
    batches = list(data.batches(4, shuffle=True))
    assert sorted(np.concatenate([batch["clip_N"] for batch in batches]).tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning")  # it is here from other tests, and not used
def test_it_goes_into_forked_and_spawned_workers(data: ClipDataset) -> None:
    expected = data[2]["frames_THWC"].tobytes()
    again = pickle.loads(pickle.dumps(data))
    assert again[2]["frames_THWC"].tobytes() == expected
    again.close()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert [item["frames_THWC"].tobytes() for item in pool.map(data.__getitem__, [2, 2])] == [expected] * 2


def test_a_file_that_is_gone_says_so(footage: DrawnFootage, tmp_path: Path) -> None:
    gone = DrawnFootage(footage.films)
    shots = gone.shots()
    del gone.films["one"]
    data = ClipDataset(Holdings(shots, footage=gone), ("frames",), window=WINDOW)
    with pytest.raises(MediaError, match="gone"):
        data[0]
    assert data[3]["clip"] == 3
    data.close()


def test_what_is_not_there_is_refused_at_once(footage: DrawnFootage) -> None:
    with pytest.raises(Rejected):
        ClipDataset(Holdings(footage.shots(), footage=footage), ("descriptor",))


def test_torchs_own_loader_takes_it(data: ClipDataset) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    loader = torch_data.DataLoader(data, batch_size=3, num_workers=0)
    shapes = [tuple(batch["frames_THWC"].shape) for batch in loader]
    assert shapes == [(3, 3, 128, 128, 3)] * 2
