"""A description is read as a person means it: what is to be seen, in order, how long, in what shape, at what pace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malan.apps.video.prompt import LONGEST, MOST_BEATS, read_prompt
from malan.apps.video.script import NoPlan, read_plan
from malan.apps.video.wording import expand
from malan.core.errors import UsageError


def terms(prompt: str) -> list[tuple[str, ...]]:
    return [beat.terms for beat in read_prompt(prompt).beats]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("云雾缭绕的张家界", [("云雾缭绕", "张家界")]),
        ("一个云海张家界高清视频快速构建", [("云海张家界",)]),
        ("云雾缭绕的张家界，然后是日出，最后游客走过玻璃桥", [("云雾缭绕", "张家界"), ("日出",), ("游客走过玻璃桥",)]),
        ("请帮我制作一条橘子洲和岳麓山的宣传片", [("橘子洲", "岳麓山")]),
        ("a video of mountains in the mist, then a sunrise", [("mountains", "mist"), ("sunrise",)]),
        ("Zhangjiajie 云海 drone", [("zhangjiajie", "云海", "drone")]),
        ("ＡＩ　长沙", [("ai", "长沙")]),
        ("中国红 与 中秋", [("中国红", "中秋")]),
    ],
)
def test_what_is_to_be_seen_is_found_in_order(prompt, expected):
    assert terms(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "seconds", "shape", "style"),
    [
        ("10秒竖屏，长沙夜景", 10, "9:16", ""),
        ("快节奏的长沙，1分钟", 60, "", "lively"),
        ("a calm 15 second square film of rivers", 15, "1:1", "calm"),
        ("12s widescreen documentary of old streets", 12, "16:9", "documentary"),
        ("长沙", 0, "", ""),
    ],
)
def test_length_shape_and_pace_are_taken_from_the_words(prompt, seconds, shape, style):
    brief = read_prompt(prompt)
    assert (brief.seconds, brief.shape, brief.style) == (seconds, shape, style)
    assert not any(
        word in " ".join(" ".join(one) for one in terms(prompt)) for word in ("秒", "second", "竖屏", "square")
    )


def test_a_look_is_a_wish_as_well_as_a_word():
    assert read_prompt("长沙夜景").beats[0].labels == ("scene.light=night",)
    assert read_prompt("streets at night").beats[0].labels == ("scene.light=night",)


def test_each_sentence_of_a_script_is_a_beat_that_lasts_as_long_as_it_reads():
    brief = read_prompt("湖南", "这里是张家界。云海翻涌，群峰如剑！\n欢迎。")
    assert [beat.caption for beat in brief.beats] == ["这里是张家界。", "云海翻涌，群峰如剑！", "欢迎。"]
    assert brief.beats[1].weight > brief.beats[2].weight


@pytest.mark.parametrize("prompt", ["", "   ", "，。！", "10秒竖屏视频", "\x00\x07", "🙂🙂", "the of and"])
def test_a_prompt_that_names_nothing_is_refused(prompt):
    with pytest.raises(UsageError) as caught:
        read_prompt(prompt)
    assert caught.value.code == "video.no_words"


def test_an_enormous_prompt_is_refused():
    with pytest.raises(UsageError) as caught:
        read_prompt("山" * (LONGEST + 1))
    assert caught.value.code == "video.long_prompt"


@given(st.text(max_size=400))
def test_any_text_is_read_or_refused_and_never_breaks(text):
    try:
        brief = read_prompt(text)
    except UsageError:
        return
    assert 1 <= len(brief.beats) <= MOST_BEATS
    assert all(beat.terms or beat.labels for beat in brief.beats)
    assert not any(char in term for beat in brief.beats for term in beat.terms for char in '\n\r\t "=<>')


def test_a_plan_of_a_model_is_taken_as_data():
    said = """Sure! Here it is:
    ```json
    {"shots": [{"words": ["云海", "owner=湖南台 \\"x\\""], "text": "群峰", "weight": 2}, {"words": ["日出"]}]}
    ```"""
    beats = read_plan(said)
    assert [beat.terms for beat in beats] == [("云海", "owner 湖南台 x"), ("日出",)]
    assert beats[0].caption == "群峰"
    assert beats[0].weight == 2


@pytest.mark.parametrize(
    "said",
    ["", "no", "{", '{"shots": []}', '{"shots": [{"words": []}]}', '{"shots": [{"words": ["=="], "weight": 1}]}',
     '{"shots": [{"words": ["a"], "weight": 1e999}]}', "[" * 5000, '{"a":' * 3000],
)  # fmt: skip
def test_what_is_no_plan_is_no_plan(said):
    with pytest.raises(NoPlan):
        read_plan(said)


def test_a_long_prompt_keeps_the_words_and_adds_what_they_leave_open():
    brief = read_prompt("一只猫走过村庄")
    words = expand(brief)
    assert words.startswith("一只猫走过村庄，")
    assert "镜头" in words
    assert "光" in words
    full = "a cat walks through a village at dawn, close-up, soft light"
    assert expand(read_prompt(full)) == full + "."


def test_english_sentences_of_a_script_are_beats_of_their_own():
    brief = read_prompt("", "A dog runs. Mr. Li walks 3.5 miles home. 夜色降临。Then rain? Yes.")
    assert [beat.caption for beat in brief.beats] == [
        "A dog runs.", "Mr. Li walks 3.5 miles home.", "夜色降临。", "Then rain?", "Yes.",
    ]  # fmt: skip


def test_words_that_count_are_no_words_to_look_for():
    assert read_prompt("一只兔子，两名医生", "").beats[0].terms == ("兔子",)
