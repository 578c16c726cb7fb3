"""What is cut or copied plays and seeks to every frame in a real browser, whose decoder is not ours."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media_factory import draw_film

from malan.media.cut import cut
from malan.media.index import build_index
from malan.media.proxy import make_proxy

CLOSED = {"preset": "veryfast", "g": "20", "bf": "3", "sc_threshold": "0"}

# Seeks to each time and reads the 16 blocks of the drawn number from the picture.
READ_NUMBERS = """async ([film, times]) => {
  const video = document.createElement('video'), canvas = document.createElement('canvas')
  const bytes = Uint8Array.from(atob(film), c => c.charCodeAt(0))
  video.muted = true
  video.src = URL.createObjectURL(new Blob([bytes], {type: 'video/mp4'}))
  await new Promise((done, fail) => { video.onloadeddata = done; video.onerror = () => fail(video.error.message) })
  canvas.width = video.videoWidth; canvas.height = video.videoHeight
  const context = canvas.getContext('2d', {willReadFrequently: true}), numbers = []
  for (const time of times) {
    await new Promise(done => { video.onseeked = done; video.currentTime = time })
    let row, number = 0
    do {  // a browser may say that it has found a picture before it can paint it: then nothing is painted
      await new Promise(requestAnimationFrame)
      context.clearRect(0, 0, canvas.width, canvas.height)
      context.drawImage(video, 0, 0)
      row = context.getImageData(0, 6, canvas.width, 1).data
    } while (row[3] === 0)
    for (let i = 0; i < 16; i++) number = 2 * number + (row[4 * Math.floor((i + .5) * canvas.width / 16)] > 128)
    numbers.push(number)
  }
  return numbers
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    path = os.environ.get("MALAN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine (set MALAN_CHROMIUM)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


def numbers_in(page: Any, film: Path, times: list[float]) -> list[int]:
    return page.evaluate(READ_NUMBERS, [base64.b64encode(film.read_bytes()).decode(), times])


def test_cuts_show_every_frame_on_both_sides_of_each_seam(page: Any, tmp_path: Path) -> None:
    film = draw_film(tmp_path / "film.mp4", (30, 25, 35), options=CLOSED, audio=True)
    index = build_index(film.path)
    done = cut(film.path, index, [index.span(5, 48), index.span(61, 88)], tmp_path / "cut.mp4")
    assert done.mode == "smart"
    wanted = [*range(5, 48), *range(61, 88)]
    looked_at = [0, 1, 13, 14, 15, 16, 34, 35, 36, 40, 41, 42, 43, 44, 45, 60, 61, 62, 63, 68, 69]
    assert numbers_in(page, done.path, [(i + 0.5) / 25 for i in looked_at]) == [wanted[i] for i in looked_at]


def test_browser_copies_show_every_frame_at_the_time_it_has_in_the_film(page: Any, tmp_path: Path) -> None:
    slots = [0, 1, 2, 5, 6, 9, 10, 11, 12, 20, 21, 22, 30]
    film = draw_film(tmp_path / "film.mkv", (13,), options=CLOSED, slots=slots)
    made = make_proxy(film.path, tmp_path / "copy.mp4")
    assert numbers_in(page, made.path, [(slot + 0.5) / 25 for slot in slots]) == list(range(13))
