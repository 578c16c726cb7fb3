"""Words written so that a list misses them are found, told how they are written, and left to a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.apps.review.facts import EpisodeFacts
from malan.apps.review.findings import findings_of
from malan.apps.review.judge import judge
from malan.apps.review.language.values import Moment
from malan.apps.review.measure.episode import Measured
from malan.apps.review.packs import Folder, load_pack, read_pack
from malan.apps.review.spelling import KINDS, sounds, spelling_of
from malan.apps.review.words import Lexicon
from malan.core.errors import UsageError

PACK = load_pack("cn-microdrama")
LISTS = {name: one for (kind, name), one in PACK.words.items() if kind == "lexicon" and isinstance(one, Lexicon)}
WAYS = LISTS["spellings"]
SPELLED_RULES = [rule for rule in PACK.rules if rule.id.startswith("SPL-")]
LOOKED_FOR = [
    name for name in LISTS if any(f'alike(texts, lexicon("{name}")' in r.source["find"] for r in SPELLED_RULES)
]


def spelled(text: str) -> set[tuple[str, str, str]]:
    """What is found in a text by any list: as written, as listed, and how."""
    found = ((name, one) for name in LOOKED_FOR for one in spelling_of(LISTS[name], WAYS).find(text))
    return {(text[one.start : one.end], one.word, one.kind) for _, one in found}


@pytest.mark.parametrize(
    ("text", "written", "word", "kind"),
    [
        ("加薇芯看全集", "加薇芯看全集", "加微信看全集", "sound"),
        ("想看加V信", "加V信", "加微信", "letters"),
        ("加 v x 领", "加 v x", "加微信", "letters"),
        ("我的wx：abc123", "wx", "微信", "letters"),
        ("绿泡泡联系", "绿泡泡", "微信", "byword"),
        ("看片加裙", "看片加裙", "看片加群", "sound"),
        ("他去赌bo了", "赌bo", "赌博", "letters"),
        ("wang赌害人", "wang赌", "网赌", "pinyin"),
        ("dubo", "dubo", "赌博", "pinyin"),
        ("du bo", "du bo", "赌博", "pinyin"),
        ("玩laohuji", "laohuji", "老虎机", "pinyin"),
        ("买六和彩", "六和彩", "六合彩", "sound"),
        ("他想弓虽女干她", "弓虽女干", "强奸", "parts"),
        ("弓虽，女干", "", "", ""),
        ("贝者 土专", "", "", ""),
        ("女票女昌", "女票女昌", "嫖娼", "parts"),
        ("你去卖读品", "读品", "毒品", "sound"),
        ("嗑💊了", "嗑💊", "嗑药", "sign"),
        ("溜❄️", "溜❄", "溜冰", "sign"),
        ("🔞电影", "🔞电影", "成人电影", "sign"),
        ("踏马的", "踏马的", "他妈的", "sound"),
        ("去踏麻的", "踏麻的", "他妈的", "sound"),
        ("曹尼玛", "曹尼玛", "草泥马", "sound"),
        ("cnm", "cnm", "草泥马", "letters"),
        ("C.N.M", "C.N.M", "草泥马", "letters"),
        ("caonima", "caonima", "草泥马", "pinyin"),
        ("你个煞b", "煞b", "傻逼", "letters"),
        ("沙比玩意", "沙比", "傻逼", "sound"),
        ("忘八蛋", "忘八蛋", "王八蛋", "sound"),
        ("人体诈弹", "人体诈弹", "人体炸弹", "sound"),
        ("同誠茭友", "同誠茭友", "同城交友", "sound"),
        ("他支持tai独", "tai独", "台独", "letters"),
    ],
)
def test_disguised_words_are_found_and_it_is_told_how(text: str, written: str, word: str, kind: str) -> None:
    found = spelled(text)
    assert ((written, word, kind) in found) if word else not found


@pytest.mark.parametrize(
    "line",
    [
        "你终于来了", "公司账户少了八百六十万", "她妈的病又重了", "他妈妈在医院", "大妈的菜摊", "这是病毒不是感冒",
        "你什么态度", "平台独播", "请付钱", "白金卡", "她是女干部", "他很要强女干事也服", "我先打骂他再说", "下周见",
        "夏主任好", "见人说人话", "坚韧不拔", "改名字了", "早练早好", "赵魂不守舍", "威信扫地", "他在加班",
        "喝紫砂壶泡的茶", "好几把椅子", "V领毛衣", "WiFi密码", "avx4 engine", "damage report", "he made a game",
        "machine", "dumb ox", "She began dancing", "吃 K 粉蒸肉", "买凶宅", "雪人化了", "这药很苦 💊",
        "牧马人的马 🐎", "鸡 🐔 汤", "三年之期已到", "恭迎龙王归位", "你敢动她一根头发试试", "总裁，夫人跑了",
        "我怀了你的孩子", "这门亲事我不同意", "从今天起，我和顾家再无关系", "妈，您先坐下，喝口水",
        "他从小连一只蚂蚁都舍不得踩", "别告诉任何人",
    ],
)  # fmt: skip
def test_everyday_lines_of_a_drama_are_left_alone(line: str) -> None:
    assert spelled(line) == set()


def test_words_as_they_are_listed_are_left_to_the_list() -> None:
    assert spelled("他去赌博，妈的智障，加微信看全集") <= {("加微信看全集", "加微信看全集", "")}


def _sound(word: str) -> str:
    return "".join(sounds().get(char, char) for char in word)


@pytest.mark.parametrize("name", LOOKED_FOR)
def test_every_word_is_found_when_it_is_written_in_pinyin(name: str) -> None:
    letters = {sound: syllable for syllable, sound in sounds().items() if syllable.isascii()}
    for word, _ in LISTS[name].entries:
        syllables = [letters.get(sounds().get(char, ""), "") for char in word]
        if len(word) > 1 and all(syllables):
            found = spelling_of(LISTS[name], WAYS).find(" ".join(syllables))
            assert any(_sound(word) in _sound(one.word) for one in found), word  # 煞笔 is found as 傻逼


@given(st.text(alphabet="加薇芯vx弓虽女干💊嗑dubo 他踏马的，\u200b\ufe0f", max_size=30))
def test_places_lie_in_the_text_whatever_it_is(text: str) -> None:
    for name in ("contact", "sexual", "drugs", "vulgar"):
        for one in spelling_of(LISTS[name], WAYS).find(text):
            assert 0 <= one.start < one.end <= len(text)
            assert one.kind in KINDS


def test_what_is_disguised_goes_to_a_person_and_weighs_less_than_the_word() -> None:
    assert {rule.decision for rule in SPELLED_RULES} == {"person"}
    assert not {rule.severity for rule in SPELLED_RULES} & {"block"}
    said = Moment(1.0, 2.0, "加薇芯看全集", source="caption")
    measured = Measured("a.mp4", "0" * 64, 60.0, captions=[said])  # type: ignore[arg-type]
    judged = judge(PACK, EpisodeFacts(measured, {"kind": "microdrama"}, "2026-10-01"), "2026-10-01")
    found = [one for one in findings_of(judged, "a.mp4", "0" * 64, "2026-10-01") if one.source == "caption"]
    assert [one.rule for one in found if one.hits] == ["SPL-03"]
    assert "加薇芯看全集 → 加微信看全集" in found[-1].measured["spelled.sound"]


GUESS = """\
pack: mine
version: "1"
title: {{zh: 我的, en: Mine}}
extends: [cn-microdrama]
rules:
  - id: MY-01
    title: {{zh: 测试, en: Test}}
    severity: minor
    decision: {decision}
    find: any_of(ocr, alike(texts, lexicon("drugs"), {ways}))
    cites:
      - {{text: house-technical, clause: "1", quote: 黑场持续时间不超过限值}}
"""


@pytest.mark.parametrize(
    ("decision", "ways", "code"),
    [
        ("machine", 'lexicon("spellings")', "review.rule.guess"),
        ("person", 'pattern("phone")', "review.rule.expression"),
        ("person", 'lexicon("none")', "review.rule.expression"),
    ],
)
def test_a_rule_that_lets_the_machine_decide_a_guess_is_refused(decision: str, ways: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_pack(GUESS.format(decision=decision, ways=ways).encode(), "mine.yaml", Folder())
    assert (caught.value.code, caught.value.values["line"]) == (code, 10)


def test_a_pack_of_ones_own_may_look_for_disguised_words() -> None:
    pack = read_pack(GUESS.format(decision="person", ways='lexicon("spellings")').encode(), "mine.yaml", Folder())
    assert pack.rule("MY-01").decision == "person"
