"""`models.toml` is read strictly; what is wrong in it is named by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from malan.core.errors import NotFound, StoreError, UsageError
from malan.services.engines.settings import EngineBook, parse_engines, read_engines
from malan.workspace import Workspace

GOOD = """
[engines.qwen]
kind = "chat"
backend = "openai"
url = "http://127.0.0.1:11434/v1"
model = "qwen3:8b"
key_env = "QWEN_KEY"
[engines.deepseek]
kind = "chat"
backend = "openai"
url = "https://api.deepseek.com/v1"
model = "deepseek-chat"
[engines.wan]
kind = "video"
backend = "diffusers"
model = "wan@1"
device = "cuda:0"
idle_s = 30
options = { precision = "bfloat16" }
[routes]
"gpt-4o" = ["qwen", "deepseek"]
"""


def _row(**more: object) -> str:
    said = {"kind": '"chat"', "backend": '"openai"', "url": '"https://a.example/v1"', "model": '"m"'} | more
    return "[engines.a]\n" + "\n".join(f"{key} = {value}" for key, value in said.items() if value is not None)


def test_what_is_written_is_read() -> None:
    book = parse_engines(GOOD)
    assert [row.name for row in book.routed("gpt-4o")] == ["qwen", "deepseek"]
    wan = book.row("wan")
    assert (wan.kind, wan.device, wan.idle_s, wan.options["precision"]) == ("video", "cuda:0", 30, "bfloat16")
    assert not wan.is_remote
    assert wan.is_commercial
    assert book.names == ("qwen", "deepseek", "wan", "gpt-4o")
    assert [row.name for row in book.of_kind("chat")] == ["qwen", "deepseek"]


def test_an_engine_is_asked_for_by_its_own_name_too() -> None:
    assert [row.name for row in parse_engines(GOOD).routed("deepseek")] == ["deepseek"]


def test_a_name_that_is_not_written_leads_nowhere() -> None:
    with pytest.raises(NotFound) as refused:
        parse_engines(GOOD).routed("gpt-5")
    assert refused.value.code == "engines.none"


def test_a_workspace_without_the_file_has_no_engines(tmp_path: Path) -> None:
    assert read_engines(Workspace.create(tmp_path)) == EngineBook({}, {})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("engines = 3", "engines"),
        ("[engine.a]", "engine"),
        ("[engines]\na = 1", "engines.a"),
        ('[engines."a b"]', "engines.a b"),
        ("[engines.a]\nbackend = 'openai'", "engines.a.kind"),
        (_row(kind='"poem"'), "engines.a.kind"),
        (_row(kind="1"), "engines.a.kind"),
        (_row(backend=None), "engines.a.backend"),
        (_row(colour='"red"'), "engines.a.colour"),
        (_row(model='""'), "engines.a.model"),
        (_row(url='"ftp://a"'), "engines.a.url"),
        (_row(url='"https://user:word@a.example/v1"'), "engines.a.url"),
        (_row(url='"https://[::1"'), "engines.a.url"),
        (_row(device='"../../etc"'), "engines.a.device"),
        (_row(idle_s='"long"'), "engines.a.idle_s"),
        (_row(idle_s="-1"), "engines.a.idle_s"),
        (_row(idle_s="nan"), "engines.a.idle_s"),
        (_row(timeout_s="0"), "engines.a.timeout_s"),
        (_row(timeout_s="inf"), "engines.a.timeout_s"),
        (_row(memory_mb="1.5"), "engines.a.memory_mb"),
        (_row(memory_mb="true"), "engines.a.memory_mb"),
        (_row(purpose='"fun"'), "engines.a.purpose"),
        (_row(territory='"Mars"'), "engines.a.territory"),
        (_row(key_env='"a b"'), "engines.a.key_env"),
        (_row(url=None, key_env='"KEY"'), "engines.a.key_env"),
        (_row(options="[]"), "engines.a.options"),
        (_row() + "\n[routes]\nx = []", "routes.x"),
        (_row() + '\n[routes]\nx = "a"', "routes.x"),
        (_row() + '\n[routes]\nx = ["b"]', "routes.x"),
        (_row() + '\n[routes]\nx = ["a", "a"]', "routes.x"),
        (GOOD + '"mixed" = ["qwen", "wan"]', "routes.mixed"),
        ("[engines", "–"),
        ("\x00", "–"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_engines(text)
    assert (refused.value.code, refused.value.values["place"]) == ("engines.bad_settings", place)


@pytest.mark.parametrize("name", ["key", "api_key", "token", "password"])
def test_a_key_in_plain_text_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_engines(_row(**{name: '"sk-very-secret"'}))
    assert refused.value.code == "engines.secret"
    assert "very-secret" not in str(refused.value)


def test_a_file_that_is_no_text_or_no_file_is_refused(tmp_path: Path) -> None:
    ws = Workspace.create(tmp_path)
    (tmp_path / "models.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError):
        read_engines(ws)
    (tmp_path / "models.toml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(UsageError):
        read_engines(ws)
    (tmp_path / "models.toml").unlink()
    (tmp_path / "models.toml").mkdir()
    with pytest.raises(StoreError):
        read_engines(ws)
