"""A full disk ends a promo with a clear message: nothing is left behind, nothing is charged, and later it works.

A real full disk: a small tmpfs, mounted for the command alone by bubblewrap.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from media_factory import draw_film

from malan.apps.running import run_app
from malan.rights import load_terms
from malan.services.footage.assets import add_assets
from malan.services.footage.scan import scan_assets
from malan.services.settlement.app_bills import list_bills
from malan.workspace import Workspace

MALAN = Path(sys.executable).with_name("malan")
PATIENCE_S = 300
WALL = ("--dev-bind", "/", "/")


def command(ws: Workspace, out: Path) -> list[str]:
    asked = ["--length", "4", "--format", "16:9", "--format", "9:16", "--lines", "360", "--title", "马栏"]
    return [str(MALAN), "app", "run", "promo", *asked, "--workspace", str(ws.root), "--out", str(out), "--json"]


@pytest.fixture(scope="module", autouse=True)
def _can_be_full(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whether a small disk can be had here."""
    bubblewrap, place = shutil.which("bwrap"), tmp_path_factory.mktemp("mount")
    if bubblewrap is None:
        pytest.skip("bubblewrap is not on this machine, so no small disk can be mounted for a command")
    tried = subprocess.run(
        [bubblewrap, *WALL, "--size", "65536", "--tmpfs", str(place), "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"no small disk can be mounted here: {tried.stderr.strip()[:200]}")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("full")
    ws = Workspace.create(root / "ws")
    (root / "terms.toml").write_text('uses = ["retrieve", "derive", "export", "publish"]\n')
    film = draw_film(root / "a.mp4", (45,) * 4, options={"preset": "veryfast", "g": "50"}, audio=True)
    add_assets(ws, [film.path], owner="湖南台", terms=load_terms(root / "terms.toml", "湖南台"))
    scan_assets(ws, captions=False)
    return ws


def on_small_disk(ws: Workspace, out: Path, place: Path, size_bytes: int) -> tuple[int, str, list[str]]:
    """Exit code, what was said, and what was left at the place, of a promo while that is a small disk."""
    place.mkdir(parents=True, exist_ok=True)
    script = '"$@"; code=$?; echo "@@ $code" >&2; cd "$PLACE" && find . -mindepth 1 >&2'
    done = subprocess.run(
        ["bwrap", *WALL, "--size", str(size_bytes), "--tmpfs", str(place), "sh", "-c", script, "sh", *command(ws, out)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env={**os.environ, "MALAN_LANG": "en", "PLACE": str(place)},
    )  # fmt: skip
    said, _, rest = done.stderr.partition("@@ ")
    code, *left = rest.splitlines()
    return int(code), done.stdout + said, left


@pytest.mark.parametrize("size_bytes", [65_536, 360_448], ids=["at once", "when nearly done"])
def test_a_full_disk_leaves_nothing_behind_and_charges_nothing(library: Workspace, tmp_path: Path, size_bytes: int):
    disk = tmp_path / "disk"
    code, said, left = on_small_disk(library, disk / "promo", disk, size_bytes)
    assert code == 1, said
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert left == []
    assert list_bills(library) == []


def test_a_full_cache_ends_it_too_and_the_folder_asked_for_stays_as_it_was(library: Workspace, tmp_path: Path):
    out = tmp_path / "promo"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    code, said, _ = on_small_disk(library, out, library.folder("cache") / "render", 65_536)
    assert code == 1, said
    assert "No space left on device" in said
    assert [one.name for one in out.iterdir()] == ["notes.txt"]
    assert list_bills(library) == []


def test_with_room_again_the_same_request_is_made_and_charged_once(library: Workspace, tmp_path: Path):
    asked = {"length": 4, "format": ("16:9", "9:16"), "lines": 360, "title": "马栏"}
    told = run_app(library, "promo", asked, tmp_path / "promo")[1]
    assert (tmp_path / "promo" / "promo-9x16.mp4").is_file()
    assert len(list_bills(library)) == 1
    assert json.loads((tmp_path / "promo" / "report.json").read_text("utf-8"))["seconds"] == told["seconds"] == 4
