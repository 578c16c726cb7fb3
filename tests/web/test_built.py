"""What a page loads follows what was built last."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from malan.core.errors import NotFound
from malan.web.built import MANIFEST, Fresh


def build(folder: Path, name: str, at_s: int) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / MANIFEST
    file.write_text(json.dumps({"src/main.ts": {"file": f"assets/{name}.js", "css": [f"assets/{name}.css"]}}))
    os.utime(file, (at_s, at_s))


def test_a_console_that_is_built_anew_while_it_serves_names_the_new_files(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    fresh = Fresh(folder)
    with pytest.raises(NotFound):
        fresh()
    build(folder, "first", 1000)
    assert fresh().script == "/static/built/assets/first.js"
    build(folder, "second", 2000)
    assert fresh().styles == ("/static/built/assets/second.css",)
    (folder / MANIFEST).unlink()
    with pytest.raises(NotFound):
        fresh()
