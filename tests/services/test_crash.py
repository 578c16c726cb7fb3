"""Killed with SIGKILL at any moment and run again: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from library_portrait import portrait
from media_factory import draw_film

from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.workspace import Workspace

FILMS = 5
KILLS = 6
# One process that adds and scans, committing after every file so that kills fall into commits too.
WORK = """
import sys
from pathlib import Path
from malan.services.footage import assets, scan
from malan.workspace import Workspace
assets._BATCH_S = scan._BATCH_S = 0
ws = Workspace(Path(sys.argv[1]))
assets.add_assets(ws, [sys.argv[2]], owner="湖南台")
print("added", flush=True)
scan.scan_assets(ws, captions=False)
print("scanned", flush=True)
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for number in range(FILMS):
        draw_film(folder / f"{number}.mp4", (12, 9), size=(128, 80), seed=10 * number, audio=number == 0)
    (folder / "copy of 1.mp4").write_bytes((folder / "1.mp4").read_bytes())
    (folder / "bad.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def undisturbed(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The same work, never interrupted."""
    ws = workspace(tmp_path_factory.mktemp("undisturbed"))
    add_assets(ws, [films], owner="湖南台")
    scan_assets(ws, captions=False)
    yield ws
    ws.database.dispose()


def workspace(root: Path) -> Workspace:
    root.mkdir(exist_ok=True)
    (root / "malan.toml").write_text("workers = 1\n", "utf-8")
    return Workspace(root)


def work(root: Path, films: Path, kill_after_s: float | None) -> bool:
    """Run until the end, or until it is killed; whether it came to its end."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", WORK, str(root), str(films)], env=env, stdout=subprocess.PIPE)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_the_library_ends_up_the_same(
    seed: int, films: Path, undisturbed: Workspace, tmp_path: Path
) -> None:
    ws = workspace(tmp_path / "killed")
    moments = random.Random(seed)
    for _ in range(KILLS):
        work(ws.root, films, moments.uniform(0.6, 2.5))
    assert work(ws.root, films, None)
    assert portrait(ws) == portrait(undisturbed)
    assert not [job for job in ws.jobs.list() if job.state == "running"]
    ws.database.dispose()
