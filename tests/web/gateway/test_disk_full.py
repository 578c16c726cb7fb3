"""A full disk at the gateway: a typed answer, nothing left, nothing charged, and the service goes on.

A real full disk: the server runs with small tmpfs, mounted for it alone by bubblewrap, where jobs and uploads lie.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from gateway_factory import Gateway, upstream_server, write_models
from PIL import Image

from malan.services.access import COMMAND_LINE
from malan.services.accounts.parties import add_party
from malan.services.gateway.keys import Allowance, make_gateway_key
from malan.services.jobs.queue import get_job
from malan.web.built import FOLDER
from malan.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
WALL = ("bwrap", "--die-with-parent", "--dev-bind", "/", "/")
SMALL = 131_072
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    """A server whose folders of jobs and uploads are small disks, and those as it sees them."""
    root = tmp_path_factory.mktemp("full") / "ws"
    (root / "jobs").mkdir(parents=True)
    (root / "uploads").mkdir()
    disks = (
        "--size",
        str(SMALL),
        "--tmpfs",
        str(root / "jobs"),
        "--size",
        str(SMALL),
        "--tmpfs",
        str(root / "uploads"),
    )
    _skip_without(disks)
    (root / "malan.toml").write_text('producer_code = "001191110000802100433B10001"\n')
    ws = Workspace(root)
    add_party(ws, COMMAND_LINE, "湖南台", kind="organisation", has=("buyer",))
    key = make_gateway_key(ws, COMMAND_LINE, "湖南台", Allowance("desk", budget_minor=100_000))
    command = [*WALL, *disks, sys.executable, "-m", "malan", "up", "--workspace", str(root), "--port", "0"]
    with upstream_server() as upstream:
        write_models(ws, upstream)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "MALAN_LANG": "en"}
        ) as server:
            assert server.stdout is not None
            url = re.findall(r"http://127\.0\.0\.1:\d+", server.stdout.readline())[0]
            found = Gateway(ws, url, upstream, key)
            yield found, Path(f"/proc/{server.pid}/root{root}")
            for client in found.clients:
                client.close()
            server.terminate()
    ws.log.close()
    ws.database.dispose()


def _skip_without(disks: tuple[str, ...]) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not on this machine, so no small disk can be mounted for a server")
    if not (FOLDER / "manifest.json").is_file():
        pytest.skip("the console is not built")
    tried = subprocess.run([*WALL, *disks, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no small disk can be mounted here: {tried.stderr.strip()[:200]}")


def noise_png() -> bytes:
    """A picture that takes more than the small disk has."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (320, 320, 3), np.uint8)).save(out, "PNG")
    assert len(out.getvalue()) > SMALL
    return out.getvalue()


def money(served: Gateway) -> tuple[int, int]:
    shown = served.shown(served.key)
    return shown["spent"]["micro"], shown["held"]["micro"]


def answers(served: Gateway) -> bool:
    said = [{"role": "user", "content": "云海"}]
    found = served.official().chat.completions.create(model="chat-ok", messages=said)
    return found.choices[0].message.content == "you said: 云海"


def left(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def test_a_picture_that_finds_no_room_is_refused_and_no_job_is_written(place: tuple[Gateway, Path]) -> None:
    served, seen = place
    with pytest.raises(openai.InternalServerError) as refused:
        served.official().videos.create(
            model="malan-motion", prompt="推近", input_reference=("a.png", noise_png(), "image/png")
        )
    assert (refused.value.status_code, refused.value.code) == (507, "gateway.disk_full")
    assert served.official().videos.list().data == []
    assert left(seen / "jobs") == []
    assert money(served) == (0, 0)
    assert answers(served)


def test_a_job_whose_file_finds_no_room_fails_is_not_charged_and_leaves_nothing(place: tuple[Gateway, Path]) -> None:
    served, seen = place
    client = served.official()
    asked = {"model": "malan-compose", "prompt": "pop", "seconds": 12}
    job = client.post("/music", body=asked, cast_to=object)
    deadline = time.monotonic() + PATIENCE_S
    while (found := client.get(f"/music/{job['id']}", cast_to=object))["status"] in ("queued", "in_progress"):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert found["status"] == "failed"
    assert get_job(served.ws, job["id"]).code not in ("", "web.defect", "runtime.worker_died", "gateway.worker_died")
    assert "space" in found["error"]["message"].lower() or "full" in found["error"]["message"].lower()
    assert left(seen / "jobs") == []
    assert money(served) == (0, 0)
    assert answers(served)


def test_a_file_brought_to_the_console_that_finds_no_room_is_refused(place: tuple[Gateway, Path]) -> None:
    served, seen = place
    files, headers = {"file": ("a.png", noise_png(), "image/png")}, {"origin": served.url}
    reply = httpx.post(f"{served.url}/api/uploads", files=files, headers=headers, timeout=60)
    assert reply.status_code >= 400
    assert "No space left on device" in reply.text
    assert left(seen / "uploads") == []
    assert httpx.get(f"{served.url}/readyz", timeout=60).status_code == 200
