"""Real Chromium on the console, and reading the frame number drawn into the picture it shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)

# The 16 blocks along the top edge of the video, most significant bit first, from the pixels the element shows.
_READ = """
() => {
  const video = document.querySelector("malan-player video");
  const canvas = document.createElement("canvas");
  canvas.width = 160; canvas.height = 90;
  const pen = canvas.getContext("2d");
  pen.drawImage(video, 0, 0, 160, 90);
  const row = pen.getImageData(0, 3, 160, 1).data;
  let number = 0;
  for (let bit = 0; bit < 16; bit++) number = number * 2 + (row[(bit * 10 + 5) * 4] > 128 ? 1 : 0);
  return number;
}
"""

_IS_SETTLED = """
() => {
  const video = document.querySelector("malan-player video");
  return video && !video.seeking && video.readyState >= 2;
}
"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped, with the reason, where there is none."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("MALAN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine (set MALAN_CHROMIUM)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def picture_number(page: Any) -> int:
    """The number drawn into the frame that is on the screen once the seek has ended."""
    page.wait_for_function(
        "() => { const v = document.querySelector('malan-player video'); return v && !v.seeking && v.readyState >= 2; }"
    )
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return int(page.evaluate(_READ))


def told_frame(page: Any) -> int:
    """The frame number the player tells."""
    return int(page.locator("malan-player [data-frame]").get_attribute("data-frame") or -1)
