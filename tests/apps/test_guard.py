"""Rule packs over words alone: what rules find in a text, what they cannot know of it, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from malan.apps.builtin import app_named
from malan.apps.guard import MOST_LETTERS, check_words, judge_words, packs_of, texts_of
from malan.apps.running import read_request
from malan.core.errors import NotFound, Rejected, UsageError
from malan.workspace import Workspace

DAY = "2026-11-22"


def workspace(root: Path, *lines: str) -> Workspace:
    """A workspace with these settings."""
    Workspace.create(root)
    (root / "malan.toml").write_text("\n".join(lines), "utf-8")
    return Workspace(root)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace(tmp_path_factory.mktemp("guarded"), 'app_packs = "cn-microdrama"')


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("云雾缭绕的张家界", ""),
        ("城市夜景，航拍，暖色", ""),
        ("吸毒的细节", "CON-12"),
        ("吸 毒 的细节", "CON-12"),
        ("吸*毒", "CON-12"),
        ("臺獨", "CON-02"),
        ("ＫＩＮＧ 的 台独", "CON-02"),
    ],
)
def test_words_are_found_however_they_are_spelled(guarded: Workspace, words: str, rule: str) -> None:
    found = {hit.rule for hit in judge_words(packs_of(guarded), {"prompt": words}, DAY) if hit.severity == "block"}
    assert found == ({rule} if rule else set())


def test_what_a_text_cannot_tell_refuses_nothing(guarded: Workspace) -> None:
    """Rules about numbers in the opening, pictures, sound, submissions: of a text they are open, never broken."""
    assert judge_words(packs_of(guarded), {"prompt": "海边的日出", "title": "海"}, DAY) == []


def test_a_refusal_names_field_words_rule_and_clause(guarded: Workspace) -> None:
    with pytest.raises(Rejected) as refused:
        check_words(guarded, {"prompt": "海边", "tags": "明快\n冰毒"})
    said = refused.value
    assert said.code == "guard.refused_input"
    assert (said.values["field"], said.values["words"], said.values["rule"]) == ("tags", "冰毒", "CON-12")
    assert said.values["quote"] in "宣扬淫秽、赌博、吸毒，渲染暴力、恐怖，教唆犯罪或者传授犯罪方法的"
    assert "冰毒" in said.message("zh")
    assert "tags" in said.message("en")


def test_what_weighs_less_than_the_operator_refuses_is_told(guarded: Workspace) -> None:
    [hit] = check_words(guarded, {"title": "总裁夫人"})
    assert (hit.rule, hit.severity, hit.field) == ("TTL-02", "minor", "title")


def test_an_operator_may_refuse_more(tmp_path: Path) -> None:
    ws = workspace(tmp_path, 'app_packs = "cn-microdrama"', 'app_refuse = "minor"')
    with pytest.raises(Rejected):
        check_words(ws, {"title": "总裁夫人"}, where="output")


def test_nothing_is_switched_on_by_itself(tmp_path: Path) -> None:
    assert check_words(Workspace.create(tmp_path), {"prompt": "冰毒"}) == []
    assert check_words(None, {"prompt": "冰毒"}) == []


@pytest.mark.parametrize("line", ['app_packs = "nowhere"', 'app_packs = "mine.yaml"'])
def test_a_pack_that_is_not_there_lets_nothing_through(tmp_path: Path, line: str) -> None:
    with pytest.raises(NotFound):
        check_words(workspace(tmp_path, line), {"prompt": "海"})


def test_a_severity_that_is_none_lets_nothing_through(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        check_words(workspace(tmp_path, 'app_packs = "cn-microdrama"', 'app_refuse = "hard"'), {"prompt": "海"})


def test_a_text_too_long_to_look_at_is_refused_not_cut(guarded: Workspace) -> None:
    with pytest.raises(UsageError):
        check_words(guarded, {"prompt": "海" * MOST_LETTERS + "冰毒"})


def test_fields_of_a_request_are_looked_at_but_names_of_things_are_not() -> None:
    asked = {"query": "夜景", "title": "云海", "clips": ("a" * 64,), "music": "/m.wav", "grant": "f" * 64}
    texts = texts_of(read_request(app_named("promo"), asked))
    assert texts["query"] == "夜景"
    assert texts["title"] == "云海"
    assert not {"clips", "music", "grant", "board"} & texts.keys()
