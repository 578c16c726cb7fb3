"""The files Vite built, by the names its manifest gives them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from malan.core.errors import NotFound

FOLDER = Path(__file__).parent / "static" / "built"
MANIFEST = "manifest.json"
_ENTRY = "src/main.ts"


@dataclass(frozen=True, slots=True)
class Built:
    """Addresses of what a page loads."""

    script: str
    styles: tuple[str, ...]


def read_built(folder: Path = FOLDER) -> Built:
    """What the pages load.

    Raises:
        NotFound: The console has not been built.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise NotFound("web.not_built", path=str(folder))
    said = json.loads(manifest.read_text("utf-8"))[_ENTRY]
    return Built(f"/static/built/{said['file']}", tuple(f"/static/built/{css}" for css in said.get("css", ())))


class Fresh:
    """What the pages load, read again when it was built anew: a page never names files that are gone."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder, self._at, self._built = folder, 0, Built("", ())

    def __call__(self) -> Built:
        """Raises:
        NotFound: The console has not been built.
        """
        try:
            at = (self._folder / MANIFEST).stat().st_mtime_ns
        except FileNotFoundError:
            at = 0
        if at == 0 or at != self._at:
            self._built, self._at = read_built(self._folder), at
        return self._built
