"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def footage() -> Path:
    """The folder of real, licensed footage; tests that need it are skipped, with the reason, where it is not."""
    default = Path(__file__).resolve().parents[2] / "shared" / "footage"
    folder = Path(os.environ.get("MALAN_FOOTAGE", default))
    if not (folder / "README.md").is_file():
        pytest.skip(f"real footage is not on this machine (looked in {folder}; set MALAN_FOOTAGE)")
    return folder


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages in tests are English unless a test says otherwise."""
    monkeypatch.setenv("MALAN_LANG", "en")
