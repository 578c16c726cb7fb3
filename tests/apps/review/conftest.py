"""Episodes of the tests, drawn once."""

from __future__ import annotations

from pathlib import Path

import pytest
from caption_film import chinese_font
from episode_factory import NUMBER, Plan, Text, draw_episode

TITLE = "老地方见"
GOOD = (
    Text(TITLE, (0, 2.0), (0.5, 0.16), 0.07),
    Text(NUMBER, (0, 2.0), (0.5, 0.24), 0.045),
    Text("编剧 张三  导演 李四", (3.8, 5.0), (0.5, 0.5), 0.055),
)


@pytest.fixture(scope="session")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: `good.mkv`, and `bad.mkv` with a word, a black stretch and no number."""
    if chinese_font() is None:
        pytest.skip("no font with Chinese characters on this machine")
    folder = tmp_path_factory.mktemp("episodes")
    said = Text("他又去赌场了", (2.2, 3.6), height_share=0.07)
    draw_episode(folder / "good.mkv", Plan(seconds=5, size=(432, 768), texts=GOOD))
    draw_episode(folder / "bad.mkv", Plan(seconds=7, size=(432, 768), texts=(GOOD[0], said), black=(4.0, 6.4), seed=2))
    return folder
