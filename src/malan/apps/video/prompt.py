"""Reads a description by rules: what is to be seen, one after the other; how long, in what shape, at what pace.

    做一个10秒的竖屏视频：云雾缭绕的张家界，然后是日出
        └ 10 s, 9:16      └ [云雾缭绕, 张家界]      └ [日出]

Nothing is guessed: what is no such word is a word to look for. Start reading at `read_prompt`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

from malan.core.errors import UsageError

LONGEST = 4000  # characters
MOST_BEATS = 24
_MOST_TERMS = 12

_CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_RUN = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+(?:['’-][^\W_{_CJK}]+)*")
_BREAK = re.compile(
    r"[。！？!?；;\n\r→|]+|[,，、]+|(?<!\d)\.(?!\d)|(?:然后是?|接着是?|随后|最后是?|再到|紧接着)|"
    r"\b(?:and then|then|followed by|after that|finally|cut to)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(  # no sentence ends at “Mr.” or within “3.5”
    r"(?<=[。！？!?；;])|(?<=\w[.])(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)\s+(?=[^\W\d_a-z])|\n"
)
_JOINTS = re.compile(
    "的|和|与|及|以及|还有|着|在|被|把|里|中(?!国|央|华|秋|学|心)|[一两](?:个|条|段|片|座|位|群|些|种|场|只|头|匹|辆|朵|棵|艘|架|栋|道|阵|对|轮|缕|丛|张|名)"
)
_SECONDS = re.compile(r"(\d{1,4}(?:\.\d+)?)\s*(秒钟?|分钟?|seconds?|secs?|s\b|minutes?|mins?)", re.IGNORECASE)
_SHAPES = {
    "9:16": r"竖屏|竖版|竖幅|抖音|快手|\bvertical\b|\bportrait\b|9\s*[:：]\s*16",
    "16:9": r"横屏|横版|宽屏|\blandscape format\b|\bwidescreen\b|16\s*[:：]\s*9",
    "1:1": r"方形|方版|\bsquare\b|1\s*[:：]\s*1",
    "4:5": r"4\s*[:：]\s*5",
}
_PACES = {
    "lively": r"快节奏|节奏明快|动感|激情|燃|活力|欢快|\bfast[- ]paced\b|\blively\b|\benergetic\b|\bupbeat\b",
    "calm": r"慢节奏|舒缓|宁静|安静|唯美|治愈|悠然|\bslow\b|\bcalm\b|\bpeaceful\b|\bserene\b|\brelaxing\b",
    "documentary": r"纪实|纪录片|\bdocumentary\b",
}
_WRAPPERS = tuple(
    re.compile(text, re.IGNORECASE)
    for text in (
        r"^(?:请|麻烦|帮我|帮忙|给我|为我|我想要?|我要|来)*(?:做|制作|生成|剪辑?|构建|创建|拍|输出|来)(?:一|个|条|段|部|支)*",
        r"^(?:关于|有关)",
        r"(?:的)?(?:高清|超清|4k|2k|1080p|720p)*(?:短|小|宣传|宣发)?(?:视频|短片|影片|片子|宣传片)"
        r"(?:快速)?(?:构建|制作|生成|剪辑)?$",
        r"^(?:please\s+)?(?:make|create|generate|build|cut|give)\s+(?:me\s+)?(?:(?:a|an|the|some)\s+)?",
        r"^(?:short\s+|hd\s+|high[- ]definition\s+|4k\s+)*(?:video|film|clip|movie|footage|shot)s?\s+"
        r"(?:of|about|showing|with)\s+",
        r"\s+(?:video|film|clip|movie|footage)s?$",
    )
)
_SMALL_WORDS = (
    "a an the of in on at to for with and or by from as is are be was were been into over under out up down off "
    "i you he she it we they me him her us them my your his its our their this that these those there here "
    "who what when where which while just only also not no nobody nothing never always ever so than too very some "
    "has have had do does did will would can could may goes go going gets get like "
    "video film clip shot scene footage please make create generate hd 4k quality high"
)
_STOP = frozenset(_SMALL_WORDS.split())
_LOOKS = (
    (r"夜景|夜晚|夜色|夜间|深夜|\bnight\b|\bnighttime\b", "scene.light=night"),
    (r"白天|日间|\bdaytime\b|\bdaylight\b", "scene.light=day"),
)


@dataclass(frozen=True)
class Beat:
    """One thing to be seen.

    Args:
        text: As it was said.
        terms: Words to look for.
        labels: Looks that are wished for (`scene.light=night`), by words that mean them.
        caption: What is written over it.
        weight: Its share of the time, beside the others'.
    """

    text: str
    terms: tuple[str, ...]
    labels: tuple[str, ...] = ()
    caption: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Brief:
    """A description as data. What it does not say is empty."""

    beats: tuple[Beat, ...]
    seconds: float = 0.0
    shape: str = ""
    style: str = ""
    language: str = "zh"


def read_prompt(prompt: str, script: str = "") -> Brief:
    """What a description asks for; with a script, what is to be seen with each of its lines.

    Raises:
        UsageError: There are no words in it, or too many.
    """
    if max(len(prompt), len(script)) > LONGEST:
        raise UsageError("video.long_prompt", length=max(len(prompt), len(script)), most=LONGEST)
    text, script = _plain(prompt), _plain(script)
    found = _settings(text)
    if script.strip():
        beats = _beats_of_script(script, _terms(_unwrapped(found.left)))
    else:
        beats = [beat for part in _BREAK.split(found.left) if (beat := _beat(part)).terms or beat.labels]
    if not beats:
        raise UsageError("video.no_words")
    language = "zh" if re.search(f"[{_CJK}]", text + script) else "en"
    return Brief(tuple(beats[:MOST_BEATS]), found.seconds, found.shape, found.style, language)


@dataclass(frozen=True)
class _Settings:
    left: str
    seconds: float = 0.0
    shape: str = ""
    style: str = ""


def _settings(text: str) -> _Settings:
    """What is said about the film rather than about what it shows, taken out of the text."""
    found = _Settings(text)
    if match := _SECONDS.search(text):
        is_minutes = match[2].lower().startswith(("分", "m"))
        found = replace(found, seconds=float(match[1]) * (60 if is_minutes else 1), left=text.replace(match[0], " ", 1))
    for shape, pattern in _SHAPES.items():
        if re.search(pattern, found.left, re.IGNORECASE):
            found = replace(found, shape=shape, left=re.sub(pattern, " ", found.left, flags=re.IGNORECASE))
            break
    for style, pattern in _PACES.items():
        if re.search(pattern, found.left, re.IGNORECASE):
            found = replace(found, style=style, left=re.sub(pattern, " ", found.left, flags=re.IGNORECASE))
            break
    return replace(found, left=found.left.replace("：", "\n").replace(": ", "\n"))


def _beat(part: str) -> Beat:
    text = _unwrapped(part)
    labels = tuple(label for pattern, label in _LOOKS if re.search(pattern, text, re.IGNORECASE))
    return Beat(text, _terms(text), labels)


def _beats_of_script(script: str, common: tuple[str, ...]) -> list[Beat]:
    """A beat a sentence, as long as it takes to read; where the script gives no words, those of the prompt."""
    sentences = [one.strip() for one in _SENTENCE.split(script) if one.strip()]
    beats = []
    for one in sentences:
        beat = _beat(one)
        beats.append(replace(beat, caption=one[:200], weight=max(2.0, len(one)), terms=beat.terms or common))
    return beats


def _unwrapped(part: str) -> str:
    """Without the words that only ask for a film."""
    text = part.strip(" \t\"'“”‘’《》「」『』()（）[]【】-—·:：")
    for _ in range(2):
        for wrapper in _WRAPPERS:
            text = wrapper.sub("", text).strip(" \t\"'“”‘’《》「」")
    return text.removeprefix("的").strip()


def _terms(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for run in _RUN.findall(text):
        if re.match(f"[{_CJK}]", run):
            found += [part for part in _JOINTS.split(run) if len(part) > 1 or part == run]
        elif run.lower() not in _STOP and len(run) > 1:
            found.append(run.lower())
    return tuple(dict.fromkeys(found))[:_MOST_TERMS]


def _plain(text: str) -> str:
    """Width and compatibility forms made equal; what cannot be seen is a space. Marks of Chinese stay as they are."""
    kept = "，。！？；：（）“”‘’、"
    made = "".join(one if one in kept else unicodedata.normalize("NFKC", one) for one in text)
    hidden = ("Cc", "Cf", "Cs", "Co")
    return "".join(" " if unicodedata.category(one) in hidden and one != "\n" else one for one in made)
