"""The files Vite built, by the names its manifest gives them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from malan.core.errors import NotFound

FOLDER = Path(__file__).parent / "static" / "built"
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
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise NotFound("web.not_built", path=str(folder))
    said = json.loads(manifest.read_text("utf-8"))[_ENTRY]
    return Built(f"/static/built/{said['file']}", tuple(f"/static/built/{css}" for css in said.get("css", ())))
