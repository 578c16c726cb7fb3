"""Word lists find what is hidden, at its place; number formats do not care about width and brackets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.apps.review.packs import load_pack
from malan.apps.review.words import Automaton, Lexicon, Pattern, make_plain, read_lexicon
from malan.core.errors import UsageError

PACK = load_pack("cn-microdrama")
ONLY_DISGUISED = ("contact", "masked", "spellings")  # say nothing as they are listed
BAD = Lexicon("bad", [("赌博", ("赌博危害",)), ("自制枪支", ()), ("sb", ()), ("爸爸", ())])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("他去赌博了", "赌博"),
        ("他去賭博了", "賭博"),
        ("赌.博", "赌.博"),
        ("赌 * 博", "赌 * 博"),
        ("赌赌赌博", "赌赌赌博"),
        ("赌\u200b博", "赌\u200b博"),
        ("赌🎲博", "赌🎲博"),
        ("自製槍支", "自製槍支"),
        ("你个ＳＢ", "ＳＢ"),
        ("S-B", "S-B"),
        ("爸爸", "爸爸"),
    ],
)
def test_hidden_words_are_found_where_they_stand(text: str, found: str) -> None:
    start, end, _ = BAD.find(text)[0]
    assert text[start:end] == found


@pytest.mark.parametrize(
    "text", ["他赌。博士来了", "赌，博览会", "赌\n博", "asb", "sbx", "说说赌博危害", "爸", "", "。。"]
)
def test_words_across_sentences_parts_and_harmless_phrases_are_not_found(text: str) -> None:
    assert BAD.find(text) == []


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=6), st.text("abc", max_size=30))
def test_the_automaton_finds_exactly_what_a_search_finds(words: list[str], text: str) -> None:
    expected = {(at, at + len(word)) for word in words for at in range(len(text)) if text.startswith(word, at)}
    assert set(Automaton(words).find(text)) == expected


@given(st.text(max_size=60))
def test_places_lead_back_to_the_original(text: str) -> None:
    plain = make_plain(text)
    assert len(plain.text) == len(plain.places)
    assert list(plain.places) == sorted(plain.places)
    assert all(0 <= place < len(text) for place in plain.places)


@given(st.text(max_size=60))
def test_hits_lie_inside_the_text(text: str) -> None:
    assert all(0 <= start < end <= len(text) for start, end, _ in BAD.find(text))


NUMBER = Pattern("n", ["({name})网微剧备字({year})第{digits}号"])


@pytest.mark.parametrize(
    "text",
    [
        "（马栏）网微剧备字（2026）第012号",
        "(马栏)网微剧备字〔2026〕第12号",
        "【京】網微劇備字【2026】第 012 号",
        "本剧 （马栏）网微剧备字\n（２０２６）第０１２号",
    ],
)
def test_numbers_are_known_in_any_width_and_brackets(text: str) -> None:
    assert len(NUMBER.find(text)) == 1


@pytest.mark.parametrize(
    "text", ["网微剧备字（2026）第012号", "（马栏）网微剧审字（2026）第012号", "（马栏）网微剧备字（26）第1号", "1号"]
)
def test_other_numbers_are_not(text: str) -> None:
    assert NUMBER.find(text) == []


def test_a_phone_number_is_one_however_it_is_parted() -> None:
    phone = Pattern("phone", ["{phone}"])
    for text in ("电话13800138000", "138-0013-8000", "138 0013 8000", "１３８００１３８０００"):
        assert len(phone.find(text)) == 1
    for text in ("第113800138000号", "1380013800", "23800138000"):
        assert phone.find(text) == []


@given(st.text("（(马栏)网微剧备字2026第号1", max_size=200))
def test_number_formats_are_matched_in_time(text: str) -> None:
    assert isinstance(NUMBER.find(text), list)


@pytest.mark.parametrize("line", ["。。。", "词" * 80])
def test_a_line_that_is_no_word_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_lexicon("bad", f"# list\n赌博\n{line}\n".encode())
    assert caught.value.values["line"] == 3


@pytest.mark.parametrize(
    "said",
    [
        "平台独家播出", "西藏独特的风光", "香港独立电影节", "新疆独有的美食", "妈妈的手术费", "其他妈妈的话",
        "等一下注意安全", "命中注定天下注目", "这是个大麻烦", "喝点蛋白粉", "我很同情妇女", "请求支援交给我",
        "带有感情色彩", "起床照镜子", "长春药厂", "更改命令", "呼吸毒气", "最早恋上他的人", "野蛮子孙",
        "这支那么好的队伍", "生活埋没了我", "神圣战争", "崇拜金庸", "预约炮制药材", "我操你的心", "面包养胃",
        "嘉宾K粉丝见面",
    ],
)  # fmt: skip
def test_everyday_sentences_are_not_taken_for_forbidden_words(said: str) -> None:
    lists = {name: one for (kind, name), one in PACK.words.items() if kind == "lexicon" and name not in ONLY_DISGUISED}
    assert {name: one.find(said) for name, one in lists.items() if one.find(said)} == {}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("他支持台独立场", "separatism"), ("他鼓吹臺獨", "separatism"), ("香港 港独 分子", "separatism"),
        ("一下注就是十万", "gambling"), ("他抽大麻", "drugs"), ("大 麻", "drugs"), ("強姦", "sexual"),
        ("他妈的", "vulgar"), ("逆天改命中了奖", "superstition"),
    ],
)  # fmt: skip
def test_harmless_phrases_do_not_hide_the_words_themselves(said: str, name: str) -> None:
    assert PACK.words["lexicon", name].find(said)


@pytest.mark.parametrize("said", ["本片非AI生成", "未使用人工智能生成"])
def test_a_label_that_denies_is_no_label(said: str) -> None:
    assert PACK.words["lexicon", "ai-label"].find(said) == []


def test_the_number_of_an_episode_is_no_age_hint() -> None:
    hint = PACK.words["pattern", "age.hint"]
    assert [hint.find(said) for said in ("第8集", "2026第012号")] == [[], []]
    assert [bool(hint.find(said)) for said in ("适龄 8+", "12＋")] == [True, True]


def test_traditional_characters_of_every_listed_word_are_known() -> None:
    """臺, 賭, 槍 and their like: what is written in them is found in the words as listed."""
    pairs = {"臺獨": "台独", "賭債": "赌债", "販毒": "贩毒", "養小鬼": "养小鬼", "殺你全家": "杀你全家", "凌遲": "凌迟"}
    assert {make_plain(old).text for old in pairs} == set(pairs.values())
