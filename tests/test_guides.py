"""The guides for owners and buyers are run line by line, as a new user would type them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from caption_film import chinese_font
from episode_factory import Plan, Text, draw_episode
from media_factory import draw_film
from typer.testing import CliRunner

from malan.cli.main import app

GUIDES = Path(__file__).resolve().parents[1] / "docs" / "guides"
BLOCKS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Shell:
    """Runs the lines of a guide: `malan` in this process, everything else in a shell."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        monkeypatch.chdir(folder)
        monkeypatch.delenv("MALAN_WORKSPACE", raising=False)

    def run(self, line: str) -> str:
        line = re.sub(r'"\$\((malan [^)]*)\)"', lambda found: shlex.quote(self.run(found[1]).strip()), line)
        words = [self._filled(word) for word in shlex.split(line, comments=True)]
        if words[0] == "cd":
            self._monkeypatch.chdir(words[1])
            return ""
        if words[0] != "malan":
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout
        done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{line}\n{done.output}"
        return done.output

    def _filled(self, word: str) -> str:
        """The names that a guide says are printed, as they were printed."""
        known = {
            "$CONTRACT": ("contract list", "contracts", "contract"),
            "$GRANT": ("grant list", "grants", "grant"),
            "$ASSET": ("asset list", "assets", "id"),
            "$RUN": ("run list", "runs", "run"),
        }
        if word not in known:
            return word
        command, several, one = known[word]
        listed = json.loads(self.run(f"malan {command} --json"))[several]
        return str(listed[0][one])[:16]


def lines_of(name: str) -> list[str]:
    return [line for block in BLOCKS.findall((GUIDES / name).read_text("utf-8")) for line in block.splitlines()]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    (tmp_path / "Footage").mkdir()
    draw_film(tmp_path / "Footage" / "night.mp4", (14, 12), seed=8, audio=True)
    return Shell(tmp_path, monkeypatch)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_guide_for_owners_runs(shell: Shell, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setenv("MALAN_LANG", language)
    told = [shell.run(line) for line in lines_of("owner.md")]
    assert len(told) > 25
    assert os.path.isfile("dossier/README.zh-CN.html")  # noqa: PTH113


def test_the_guide_for_buyers_runs(shell: Shell) -> None:
    for line in lines_of("owner.md")[:9]:
        shell.run(line)
    shown = [shell.run(line) for line in lines_of("buyer.md")]
    assert "✓ train" in shown[-1]


def test_the_guide_for_promos_runs(shell: Shell) -> None:
    draw_film(Path("Footage/day.mp4"), (60,) * 9, size=(320, 180), seed=3, audio=True)
    Path("terms.toml").write_text(shell.run("malan terms new promo"))
    for line in ("malan init", "malan asset add Footage --owner 湖南台 --terms terms.toml", "malan asset scan"):
        shell.run(line)
    shown = [shell.run(line) for line in lines_of("promo.md")]
    assert "promo-9x16.mp4" in shown[0]
    assert Path("promo/jianying/draft_content.json").is_file()


def test_the_guide_for_reviewers_runs(shell: Shell) -> None:
    if chinese_font() is None:
        pytest.skip("no font with Chinese characters on this machine")
    Path("Episodes").mkdir()
    said = Text("他又去赌场了", (0.4, 2.4), height_share=0.07)
    draw_episode(Path("Episodes/第1集.mkv"), Plan(seconds=3, size=(360, 640), texts=(said,)))
    assert lines_of("review.md") == lines_of("review.zh-CN.md")
    shown = [shell.run(line) for line in lines_of("review.md")]
    assert "CON-13" in shown[1]
    assert json.loads(shown[4])["labels"][0]["value"]["rule"] == "CON-13"
    assert json.loads(Path("second/review.json").read_text())["diff"]["kept"]


def test_the_guide_for_authors_of_algorithms_runs(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALAN_LANG", "zh")
    _draw_lights(Path("Footage"))
    assert lines_of("algorithm-author.md") == lines_of("algorithm-author.zh-CN.md")
    told = {line: shell.run(line) for line in lines_of("algorithm-author.zh-CN.md")}
    assert "lights-" in told["malan model list"]
    assert "0.2.0" in told['malan algorithm diff lights --as "湖南台"']


def _draw_lights(folder: Path) -> None:
    """Films of two kinds that anything can tell apart."""
    import av
    import numpy as np
    from media_factory import pictures

    (folder / "night.mp4").unlink()
    for number in range(8):
        name, light = ("night", 0.25) if number % 2 else ("day", 0.95)
        with av.open(str(folder / f"{name}-{number // 2}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            for picture in pictures((25,) * 8, (160, 96), 100 * number):
                dark = (picture * light).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(dark, format="rgb24")))
            container.mux(stream.encode(None))
