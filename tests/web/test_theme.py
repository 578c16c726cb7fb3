"""Text keeps the contrast that WCAG 2.2 (1.4.3) asks for, in the dark and in the light theme."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_TOKENS = Path(__file__).parents[2] / "frontend" / "src" / "styles" / "tokens.css"


def _theme(name: str) -> dict[str, str]:
    dark, light = _TOKENS.read_text("utf-8").split("@media (prefers-color-scheme: light)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))
    return found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light)) if name == "light" else found


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("ink", ["text", "dim", "faint", "accent", "bad", "warn", "dissolve", "fade", "cut"])
@pytest.mark.parametrize("ground", ["ground", "surface", "raised"])
def test_text_stands_out_from_its_ground(theme: str, ink: str, ground: str) -> None:
    colours = _theme(theme)
    assert _contrast(colours[ink], colours[ground]) >= 4.5


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize(("ink", "ground"), [("accent-ink", "accent"), ("mark-ink", "mark")])
def test_text_on_colour_stands_out(theme: str, ink: str, ground: str) -> None:
    colours = _theme(theme)
    assert _contrast(colours[ink], colours[ground]) >= 4.5
