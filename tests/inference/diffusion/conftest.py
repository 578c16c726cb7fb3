"""Tiny pipelines of every family, made once. Left out where torch is not installed: `make test-train` runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from malan.inference.opening import Opening

sys.path.insert(0, str(Path(__file__).parent))
HAS_TORCH = find_spec("torch") is not None
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]
if HAS_TORCH:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ[name] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Libraries warn of one another; only our own warnings count here."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny base by the name of its family; made when it is first asked for."""
    from diffusion_bases import save_base

    made: dict[str, Path] = {}

    def find(family: str) -> Path:
        if family not in made:
            made[family] = save_base(family, tmp_path_factory.mktemp("bases") / family)
        return made[family]

    return find


@pytest.fixture
def opening(base: Callable[[str], Path]) -> Callable[..., Opening]:
    """What an engine of a family is opened with."""
    from diffusion_bases import opening_of

    def make(family: str, **more: Any) -> Opening:
        return opening_of(family, base(family), **more)

    return make
