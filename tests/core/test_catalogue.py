import re
import string

import pytest

from malan.core.catalogue import LANGUAGES, catalogue, entry
from malan.core.errors import MalanError, MediaError


def test_every_message_is_there_in_both_languages_with_the_same_values() -> None:
    for code, message in catalogue().items():
        for part in ("", "hint_"):
            texts = [message.words.get(f"{part}{lang}") for lang in LANGUAGES]
            assert all(texts) or (part and not any(texts)), f"{code}: {part or 'text'} lacks a language"
            if all(texts):
                names = [{name for _, name, _, _ in string.Formatter().parse(text or "") if name} for text in texts]
                assert names[0] == names[1], f"{code}: the languages name different values"


def test_chinese_texts_are_chinese() -> None:
    """What is left of a text without its values may be the same in both (a unit) or hold no words (a slash)."""
    for code, message in catalogue().items():
        texts = {re.sub(r"{\w+}", "", message.words[lang]) for lang in LANGUAGES}
        has_chinese = any("\u4e00" <= letter <= "\u9fff" for text in texts for letter in text)
        has_words = any(letter.isalpha() for letter in re.sub(r"{\w+}", "", message.words["zh"]))
        assert has_chinese or len(texts) == 1 or not has_words, f"{code}: {texts}"


def test_an_error_speaks_the_language_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    error = MediaError("media.no_video", path="a.wav")
    assert error.message() == "a.wav has no picture."
    monkeypatch.setenv("MALAN_LANG", "zh_CN.UTF-8")
    assert error.message() == "a.wav 中没有画面。"


def test_a_missing_value_shows_as_a_question_mark_and_does_not_fail() -> None:
    assert "?" in MediaError("media.no_video").message()


def test_values_are_said_in_words_of_the_language_one_or_several() -> None:
    error = MalanError("access.denied", action="jobs.see", name="湖南台", roles=("owner", "buyer"), able=["operator"])
    assert error.message("en") == "湖南台 may not do this: see jobs. Roles held: Owner, Buyer."
    assert error.message("zh") == "湖南台 无权执行此操作：查看任务。当前角色：权利人、采购方。"
    assert "运营方" in error.hint("zh")


def test_a_value_without_words_says_itself() -> None:
    error = MalanError("access.denied", action="{no.such}", name="x", roles="–")
    assert error.message("en") == "x may not do this: {no.such}. Roles held: –."
    assert "?" in error.hint("en")


def test_an_error_without_a_message_is_a_defect() -> None:
    with pytest.raises(KeyError):
        entry("no.such_code")
    assert isinstance(MalanError("media.no_video"), Exception)
