"""A preview copy is there whole, or nothing of it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from media_factory import draw_film

from malan.services.footage.assets import add_assets
from malan.services.footage.playback import proxy_path
from malan.services.footage.previews import KIND, resume_preview
from malan.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = Workspace.create(tmp_path / "workspace")
    yield ws
    ws.database.dispose()


def test_a_preview_that_ends_early_leaves_nothing(ws: Workspace, tmp_path: Path) -> None:
    draw_film(tmp_path / "a.mkv", (30, 20), size=(160, 96))
    asset_id = add_assets(ws, [tmp_path / "a.mkv"], owner="湖南台").added[0].asset_id
    job = ws.jobs.create(KIND, {"asset_id": asset_id, "file": "a.mkv"}, [asset_id])
    folder = proxy_path(ws, asset_id).parent

    def stop(_done: int, _total: int, _name: str) -> None:
        assert list(folder.rglob("*"))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        resume_preview(ws, job.id, stop)
    assert list(folder.rglob("*")) == []
    again = ws.jobs.create(KIND, {"asset_id": asset_id, "file": "a.mkv"}, [asset_id])
    assert resume_preview(ws, again.id).is_file()
    assert list(folder.rglob("*")) == [proxy_path(ws, asset_id)]
