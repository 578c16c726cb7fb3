"""What needs torch is skipped where it is not, with the reason; where it is, one thread and no bars of progress."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

HAS_TORCH = find_spec("torch") is not None
if HAS_TORCH:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for one another burn time on a shared machine
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ[name] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Libraries warn of one another; only our own warnings count here."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base of every family."""
    from tiny_models import (
        VIDEO_FAMILIES,
        save_flux_base,
        save_image_base,
        save_language_base,
        save_video_base,
    )

    folder = tmp_path_factory.mktemp("bases")
    for family in VIDEO_FAMILIES:
        save_video_base(family, folder / family)
    save_image_base(folder / "stable-diffusion")
    save_image_base(folder / "stable-diffusion-v", prediction="v_prediction")
    save_flux_base(folder / "flux")
    save_language_base(folder / "language")
    return folder
