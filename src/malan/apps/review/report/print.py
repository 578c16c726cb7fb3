"""The report as PDF, printed by Chromium where there is one: the same page people read on screen.

The page is our own file, shown without network and without scripts of others. Start at `print_pdf`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from malan.core.errors import MissingExtra

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_WAIT_S = 120
_DAY = b"20000101000000"


def find_browser() -> str | None:
    """A Chromium on this machine; `MALAN_CHROMIUM` names another."""
    named = os.environ.get("MALAN_CHROMIUM")
    return named or next((found for name in BROWSERS if (found := shutil.which(name))), None)


def print_pdf(html: Path, out: Path, language: str) -> Path:
    """Print a page.

    Raises:
        MissingExtra: There is no browser, or it did not print.
    """
    browser = find_browser()
    if browser is None:
        raise MissingExtra("review.no_browser")
    with tempfile.TemporaryDirectory(prefix="malan-print-") as home:
        command = [
            browser, "--headless", "--disable-gpu", "--no-first-run", "--no-default-browser-check",
            "--disable-extensions", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={home}", "--no-pdf-header-footer", f"--print-to-pdf={out.absolute()}",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            f"{html.absolute().as_uri()}#{language}",
        ]  # fmt: skip
        try:
            subprocess.run(command, check=True, timeout=_WAIT_S, capture_output=True)
        except (OSError, subprocess.SubprocessError):
            raise MissingExtra("review.no_browser") from None
    if not out.is_file():
        raise MissingExtra("review.no_browser")
    out.write_bytes(without_clock(out.read_bytes()))
    return out


def without_clock(data: bytes) -> bytes:
    """A PDF whose dates of making are all the same day, so that the same report gives the same bytes."""
    return re.sub(rb"/(CreationDate|ModDate) \(D:(\d{14})", lambda found: b"/" + found[1] + b" (D:" + _DAY, data)
