"""What CONTRIBUTING.md tells a newcomer to write really is an operator, an app, a rule pack and a backend."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from services.tagged_library import stored
from view_factory import batch, flat, view

from malan.apps import running
from malan.apps.review.packs import Folder, read_pack
from malan.apps.running import run_app
from malan.core.errors import UsageError
from malan.curation.operator import Operator
from malan.inference.backends import Engine
from malan.inference.opening import Opening
from malan.workspace import Workspace

PAGES = [Path(__file__).resolve().parents[1] / name for name in ("CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def block(language: str, word: str) -> str:
    """The one block of code in a language that has this word."""
    found = [code for kind, code in BLOCK.findall(PAGES[0].read_text("utf-8")) if kind == language and word in code]
    assert len(found) == 1, word
    return str(found[0])


def module(word: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A block of Python as the module it would be."""
    made = ModuleType("contributed")
    monkeypatch.setitem(sys.modules, "contributed", made)
    exec(compile(block("python", word), "CONTRIBUTING.md", "exec"), made.__dict__)
    return made


def test_both_languages_hold_the_same_code() -> None:
    english, chinese = (BLOCK.findall(page.read_text("utf-8")) for page in PAGES)
    without_comments = [[(kind, re.sub(r" +#.*", "", code)) for kind, code in page] for page in (english, chinese)]
    assert without_comments[0] == without_comments[1]


def test_the_operator_keeps_the_protocol_and_its_test_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = module("class Tint", monkeypatch)
    assert isinstance(made.Tint(), Operator)
    names = {"Tint": made.Tint, "batch": batch, "view": view, "flat": flat}
    exec(block("python", "def test_a_picture_without_colour_is_grey"), names)
    names["test_a_picture_without_colour_is_grey"]()


def test_the_app_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = module("class Count", monkeypatch)
    monkeypatch.setattr(running, "app_named", lambda _name: made.APP)
    ws = Workspace.create(tmp_path / "ws")
    clips = stored(ws)
    run_app(ws, "count", {"query": ""}, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "count.json").read_text("utf-8"))["clips"] == len(clips)


def test_the_rule_pack_is_accepted() -> None:
    pack = read_pack(block("yaml", "our-platform").encode(), "our-platform.yaml", Folder())
    assert "OUR-01" in {rule.id for rule in pack.rules}


def test_the_backend_opens_an_engine_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = module("class Slope", monkeypatch).open_slope(Opening("slope", "depth"))
    assert isinstance(engine, Engine)
    near = engine.depth(np.zeros((4, 6, 3), np.uint8))
    assert (near.shape, near.min(), near.max()) == ((4, 6), 0, 1)
    with pytest.raises(UsageError):
        engine.depth(np.zeros((4, 6), np.uint8))
