"""The loader over a real meter, killed and raced; and the dataset an owner opens of its own footage."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from market_place import STATION, party
from media_factory import draw_film, read_number
from run_place import OWNER, grant_on
from sqlalchemy import select

from malan.core.errors import NotGranted, Rejected, RetryLater
from malan.rights.meter import CLIP_SECONDS
from malan.rights.meter_tables import USAGE
from malan.rights.terms import party_id
from malan.runtime.database import reading
from malan.services.clips.where import condition
from malan.services.datasets.freezing import freeze_snapshot
from malan.services.datasets.loading import open_dataset
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.footage.withdrawal import withdraw_asset
from malan.services.market.grants import granted_clips, revoke_grant
from malan.services.runs.meter import GrantCounter, release_holds
from malan.services.settlement.metering import meter
from malan.training.loader import Allowed, Holdings, Loader
from malan.workspace import Workspace

RUN = "ab" * 32
CLIP_US = 2_000_000
LIMIT_S = 100


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Workspace, str]]:
    """A grant of a hundred clip-seconds, fifty clips, and its workspace."""
    ws = Workspace.create(tmp_path / "ws")
    limits = {"clip_seconds": LIMIT_S, "runs": 5, "output_bytes": 1_000_000}
    yield ws, grant_on(ws, limits=limits)
    ws.database.dispose()


def loader_on(ws: Workspace, grant: str, run_id: str = RUN) -> Loader:
    """The labels of every clip of a grant, counted."""
    entries = list(granted_clips(ws, grant, "train"))
    snapshot = ws.root.joinpath("snapshots").iterdir().__next__().name
    counter = GrantCounter(
        ws,
        run_id=run_id,
        grant_id=grant,
        snapshot_id=snapshot,
        owners={one.clip.asset_id: one.owner_id for one in entries},
        allowed=lambda: None,
    )
    clips = tuple(one.clip for one in entries)
    holdings = Holdings(clips, labels=[["x"]] * len(clips))
    return Loader(holdings, Allowed(frozenset({"labels"})), counter=counter)


def take(loader: Loader, epoch: int, clips: int = 4) -> Any:
    asked = {"do": "take", "of": "data", "clips": list(range(clips)), "epoch": epoch, "deliver": ["labels"]}
    return loader.serve(asked)


def account(ws: Workspace, grant: str) -> tuple[int, int]:
    """Held and consumed clip-microseconds."""
    (one,) = (one for one in meter(ws).accounts(grant) if one.unit == CLIP_SECONDS)
    return one.reserved, one.consumed


def rows_us(ws: Workspace) -> int:
    """What the rows of usage add up to, in runs."""
    with reading(ws.database) as connection:
        rows = connection.execute(select(USAGE)).mappings().all()
    assert all(row["work"].startswith("run:") for row in rows)
    return sum(int(row["amount"]) for row in rows)


# --- the meter -------------------------------------------------------------------------------------------------------


def test_every_delivery_is_in_the_meter_and_in_the_rows(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    loader = loader_on(ws, grant)
    for epoch in range(3):
        take(loader, epoch)
        assert account(ws, grant)[1] == rows_us(ws) == loader.counted_us == (epoch + 1) * 4 * CLIP_US
    loader.close()
    assert account(ws, grant) == (0, 12 * CLIP_US)


def test_a_grant_gives_exactly_what_it_says(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    loader = loader_on(ws, grant)
    for epoch in range(12):
        take(loader, epoch)
    with pytest.raises(NotGranted):
        take(loader, 12)
    take(loader, 13, clips=2)
    loader.close()
    assert account(ws, grant) == (0, LIMIT_S * 1_000_000)
    assert rows_us(ws) == LIMIT_S * 1_000_000


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_loading import loader_on, take
from malan.rights.meter import Meter
from malan.workspace import Workspace
loader = loader_on(Workspace(Path({root!r})), {grant!r})
take(loader, 0); take(loader, 1)
consume = Meter.consume
def die(*arguments, **more):
    if {late}: consume(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)
Meter.consume = die
take(loader, 2)
"""


@pytest.mark.parametrize("late", [False, True])
def test_a_loader_that_is_killed_leaves_a_hold_and_nothing_else(place: tuple[Workspace, str], late: bool) -> None:
    ws, grant = place
    here = Path(__file__).resolve().parent
    program = KILLED.format(paths=[*map(str, [here, *here.parents[:2]])], root=str(ws.root), grant=grant, late=late)
    killed = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    held, consumed = account(ws, grant)
    assert consumed == rows_us(ws) == (3 if late else 2) * 4 * CLIP_US  # counted before it is handed over
    assert held == (0 if late else 4 * CLIP_US)  # of a grant with less left than what is held ahead
    release_holds(ws, RUN)
    assert account(ws, grant) == (0, consumed)


def test_loaders_that_race_for_the_last_second_never_take_more(place: tuple[Workspace, str]) -> None:
    ws, grant = place

    def drain(number: int) -> int:
        loader = loader_on(ws, grant, f"{number:064x}")
        for epoch in range(50):
            try:
                take(loader, epoch, clips=3)
            except (NotGranted, RetryLater):
                break
        loader.close()
        return loader.counted_us

    with ThreadPoolExecutor(3) as pool:
        counted = sum(pool.map(drain, range(3)))
    assert account(ws, grant) == (0, counted)
    assert counted == rows_us(ws) <= LIMIT_S * 1_000_000
    assert counted > LIMIT_S * 1_000_000 - 3 * 3 * CLIP_US


def test_a_withdrawn_clip_stops_at_the_next_request(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    loader = loader_on(ws, grant)
    (gone,) = {loader._holdings.clips[clip].asset_id for clip in (40,)}
    take(loader, 0, clips=2)
    withdraw_asset(ws, gone, "taken back", caller=OWNER)
    found = loader.serve({"do": "take", "of": "data", "clips": [40, 0], "epoch": 1, "deliver": ["labels"]})
    assert found is not None
    assert found["clip_N"].tolist() == ([0] if loader._holdings.clips[0].asset_id != gone else [])
    loader.close()


def test_a_grant_that_is_taken_back_counts_nothing_more(place: tuple[Workspace, str]) -> None:
    ws, grant = place
    loader = loader_on(ws, grant)
    take(loader, 0)
    revoke_grant(ws, grant, "over", caller=OWNER)
    with pytest.raises(NotGranted):
        take(loader, 1)
    loader.close()
    assert account(ws, grant)[1] == rows_us(ws) == 4 * CLIP_US


# --- an owner's own --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Films of two owners, cut into shots and frozen together."""
    root = tmp_path_factory.mktemp("films")
    ws = Workspace.create(root / "ws")
    options = {"preset": "ultrafast", "g": "12"}
    for name, owner in (("a", STATION), ("b", STATION), ("c", "别人")):
        film = draw_film(root / f"{name}.mp4", (30, 26), seed=ord(name), options=options, audio=True)
        add_assets(ws, [film.path], owner=owner)
    scan_assets(ws, captions=False)
    freeze_snapshot(ws, "all", condition(""))
    return ws


def test_an_owner_opens_its_own_clips_and_no_others(films: Workspace) -> None:
    window = {"frames": 4, "size_px": 128, "fit": "stretch", "pick": "middle"}
    deliver = ("frames", "audio", "descriptor", "captions")
    with_sound = {"seconds": 0.5, "rate_hz": 8000}
    data = open_dataset(films, "all", owner=STATION, deliver=deliver, window=window, audio=with_sound)
    assert len(data) >= 4
    assert {films.library.asset(data.clip(n).asset_id).asset.owner_id for n in range(len(data))} == {party_id(STATION)}
    spans = [data.clip(number).span for number in range(len(data))]
    for number, item in enumerate(data):
        first = (
            round(float(spans[number].start * spans[number].timebase * 25))
            + max(0, round(float(spans[number].duration * 25)) - 4) // 2
        )
        last = round(float(spans[number].end * spans[number].timebase * 25)) - 1
        shown = [read_number(picture) for picture in item["frames_THWC"]]
        assert shown == [min(frame, last) for frame in range(first, first + 4)]
        assert item["audio_S"].shape == (min(4000, round(8000 * float(spans[number].duration))),)
        assert item["descriptor_D"].ndim == 1
    data.close()


def test_nobody_else_opens_them(films: Workspace) -> None:
    for caller in (party("别人"), party("某模型公司")):
        with pytest.raises(NotGranted):
            open_dataset(films, "all", owner=STATION, deliver=("frames",), caller=caller)
    with pytest.raises(NotGranted, match="belongs to"):
        open_dataset(films, "all", owner="nobody", deliver=("frames",))
    assert len(open_dataset(films, "all", owner=STATION, deliver=("frames",), caller=party(STATION))) >= 4


def test_clips_without_what_is_asked_for_are_none(films: Workspace) -> None:
    with pytest.raises(Rejected, match="everything"):
        open_dataset(films, "all", owner=STATION, deliver=("labels",), labels="shot-size")


def test_what_its_owner_took_back_is_not_in_it(films: Workspace) -> None:
    data = open_dataset(films, "all", owner="别人", deliver=("frames",))
    withdraw_asset(films, data.clip(0).asset_id, "taken back")
    with pytest.raises(NotGranted):
        open_dataset(films, "all", owner="别人", deliver=("frames",))
