"""Tags, Chinese or English, as wishes: style, mood, tempo, key, instruments. What contradicts itself is refused.

    ["忧伤", "钢琴", "慢", "A小调"] ─▶ Wishes(style="piano", moods=("sad",), pace=0.8, key=Key(9, "minor"), …)

Start reading at `read_tags`.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from malan.composing.theory import FIVE_TONE, NAMES, SCALES, Key
from malan.core.errors import UsageError

MOST_TAGS, MOST_LETTERS = 24, 400
SLOWEST, FASTEST = 40.0, 220.0

STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "pentatonic": ("pentatonic", "chinese", "guofeng", "oriental", "五声", "国风", "中国风", "古风", "民乐"),
    "jiangnan": ("jiangnan", "silk and bamboo", "sizhu", "silk-and-bamboo", "江南", "江南丝竹", "丝竹"),
    "luogu": ("luogu", "opera percussion", "peking opera", "beijing opera", "戏曲锣鼓", "锣鼓", "京剧", "京韵", "戏曲",
              "锣鼓经"),
    "huaguxi": ("huaguxi", "huagu", "hunan", "flower drum", "花鼓戏", "花鼓", "湖南", "湖湘", "长沙花鼓"),
    "ambient": ("ambient", "atmosphere", "soundscape", "drone", "meditation", "氛围", "环境音乐", "冥想"),
    "cinematic": ("cinematic", "trailer", "film", "soundtrack", "orchestral", "电影感", "电影", "史诗", "配乐", "交响",
                  "大气"),
    "pop": ("pop", "流行"),
    "lofi": ("lofi", "lo-fi", "chill", "chillhop", "低保真", "慵懒"),
    "electronic": ("electronic", "edm", "synthwave", "techno", "house", "tech", "电子", "科技", "科技感", "赛博"),
    "folk": ("folk", "acoustic", "country", "民谣", "乡村", "田园"),
    "strings": ("classical", "strings", "string quartet", "baroque", "chamber", "古典", "弦乐", "室内乐", "四重奏"),
    "piano": ("piano solo", "solo piano", "钢琴曲", "钢琴独奏"),
    "corporate": ("corporate", "business", "inspiring", "motivational", "企业", "商务", "宣传片", "励志", "正能量"),
    "rock": ("rock", "metal", "punk", "摇滚"),
    "jazz": ("jazz", "swing", "bossa", "爵士"),
    "news": ("news", "ident", "news ident", "jingle", "headline", "新闻", "片头", "新闻片头", "台标", "呼号"),
    "waltz": ("waltz", "圆舞曲", "华尔兹"),
}  # fmt: skip

MOODS: dict[str, tuple[str, ...]] = {
    "happy": ("happy", "cheerful", "joyful", "bright", "sunny", "欢快", "快乐", "开心", "明亮", "阳光", "喜悦"),
    "festive": ("festive", "celebration", "spring festival", "喜庆", "节日", "过年", "春节", "热闹"),
    "sad": ("sad", "melancholic", "melancholy", "sorrow", "忧伤", "悲伤", "伤感", "哀伤", "忧郁"),
    "calm": ("calm", "peaceful", "gentle", "relaxed", "soft", "quiet", "平静", "宁静", "舒缓", "轻柔", "安静", "柔和"),
    "epic": ("epic", "heroic", "majestic", "grand", "宏大", "壮阔", "激昂", "磅礴", "英雄", "恢弘"),
    "tense": ("tense", "suspense", "dark", "thriller", "紧张", "悬疑", "黑暗"),
    "dreamy": ("dreamy", "ethereal", "floating", "梦幻", "空灵", "飘渺", "云雾", "仙境"),
    "romantic": ("romantic", "love", "warm", "tender", "浪漫", "温暖", "温馨", "爱情"),
    "playful": ("playful", "funny", "quirky", "cute", "俏皮", "诙谐", "可爱", "童趣"),
    "mysterious": ("mysterious", "mystery", "神秘"),
    "hopeful": ("hopeful", "uplifting", "optimistic", "希望", "向上", "振奋", "昂扬"),
    "nostalgic": ("nostalgic", "vintage", "怀旧", "乡愁"),
    "solemn": ("solemn", "serious", "庄重", "肃穆", "严肃"),
    "energetic": ("energetic", "powerful", "dynamic", "活力", "动感", "有力", "热血"),
}  # fmt: skip

PACES: dict[float, tuple[str, ...]] = {
    0.0: ("very slow", "largo", "极慢", "很慢"),
    0.2: ("slow", "adagio", "慢", "慢速", "缓慢"),
    0.5: ("moderate", "andante", "medium", "中速", "适中"),
    0.8: ("fast", "allegro", "upbeat", "快", "快速", "快节奏"),
    1.0: ("very fast", "presto", "急速", "极快", "很快"),
}
INSTRUMENTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "piano": (0, ("piano", "钢琴")),
    "violin": (40, ("violin", "小提琴")),
    "cello": (42, ("cello", "大提琴")),
    "guitar": (24, ("guitar", "吉他", "木吉他")),
    "flute": (73, ("flute", "长笛")),
    "dizi": (73, ("dizi", "bamboo flute", "笛子", "竹笛")),
    "xiao": (77, ("xiao", "shakuhachi", "箫", "洞箫")),
    "erhu": (110, ("erhu", "二胡")),
    "guzheng": (107, ("guzheng", "zheng", "koto", "古筝")),
    "pipa": (106, ("pipa", "琵琶")),
    "yangqin": (15, ("yangqin", "dulcimer", "扬琴")),
    "zhongruan": (24, ("zhongruan", "ruan", "中阮", "阮", "阮咸")),
    "sanxian": (105, ("sanxian", "三弦")),
    "yueqin": (105, ("yueqin", "月琴")),
    "jinghu": (110, ("jinghu", "京胡")),
    "datong": (110, ("datong", "大筒")),
    "sheng": (20, ("sheng", "笙")),
    "suona": (111, ("suona", "唢呐")),
    "clarinet": (71, ("clarinet", "单簧管")),
    "oboe": (68, ("oboe", "双簧管")),
    "horn": (60, ("horn", "french horn", "圆号")),
    "trumpet": (56, ("trumpet", "小号")),
    "saxophone": (65, ("saxophone", "sax", "萨克斯")),
    "harp": (46, ("harp", "竖琴")),
    "vibraphone": (11, ("vibraphone", "颤音琴")),
    "marimba": (12, ("marimba", "马林巴")),
    "accordion": (21, ("accordion", "手风琴")),
    "organ": (19, ("organ", "管风琴")),
    "choir": (52, ("choir", "合唱")),
}
_NO_DRUMS = ("no drums", "without drums", "no percussion", "drumless", "无鼓", "不要鼓", "无打击乐")
_DRUMS = ("drums", "percussion", "beat", "鼓", "打击乐", "鼓点")
_MAJOR, _MINOR = ("major", "大调"), ("minor", "小调")
_MODES = {"gong": "宫", "shang": "商", "jue": "角", "zhi": "徵", "yu": "羽"}
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_KEY = re.compile(
    r"(?P<sign0>升|降)?(?P<name>[A-Ga-g])(?P<sign>#|♯|b|♭|sharp|flat)?\s*(?P<mode>major|minor|maj|min|m|大调|小调|"
    r"dorian|mixolydian|lydian|gong|shang|jue|zhi|yu|[宫商角徵羽]调?|调)?"
)
_BPM = re.compile(r"(?:bpm\s*)?(\d{1,4}(?:\.\d{1,2})?)\s*(?:bpm|拍/分|拍每分钟|拍)?")
_OPPOSITE_MOODS = ({"happy", "festive", "playful", "hopeful"}, {"sad", "tense", "solemn"}), (
    {"calm"}, {"energetic", "tense", "festive"})  # fmt: skip
_STYLE_OF_MOOD = {
    "sad": "piano", "romantic": "piano", "calm": "ambient", "dreamy": "ambient", "epic": "cinematic",
    "tense": "cinematic", "mysterious": "cinematic", "happy": "folk", "playful": "pop", "festive": "huaguxi",
    "hopeful": "corporate", "nostalgic": "lofi", "solemn": "strings", "energetic": "electronic",
}  # fmt: skip
_STYLE_OF_INSTRUMENT = {
    "piano": "piano", "violin": "strings", "cello": "strings", "guitar": "folk", "flute": "strings", "harp": "ambient",
    "dizi": "jiangnan", "xiao": "pentatonic", "erhu": "pentatonic", "guzheng": "pentatonic", "pipa": "pentatonic",
    "yangqin": "jiangnan", "zhongruan": "jiangnan", "sanxian": "jiangnan", "sheng": "jiangnan", "yueqin": "luogu",
    "jinghu": "luogu", "datong": "huaguxi", "suona": "huaguxi", "saxophone": "jazz", "vibraphone": "jazz",
    "trumpet": "news",
}  # fmt: skip


@dataclass(frozen=True)
class Wishes:
    """What tags ask for. `pace` lies between 0 (slow) and 1 (fast); `bpm` of 0 leaves the tempo free."""

    style: str
    moods: tuple[str, ...] = ()
    pace: float | None = None
    bpm: float = 0.0
    key: Key | None = None
    is_minor: bool | None = None
    instruments: tuple[str, ...] = ()
    drums: bool | None = None
    tags: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def read_tags(tags: Sequence[str], *, tempo: float = 0.0, key: str = "") -> Wishes:
    """Tags as wishes; a tag may hold several, set apart by commas.

    Raises:
        UsageError: None of them is known, two contradict each other, or there are too many.
    """
    said = _split(tags)
    found: dict[str, dict[object, str]] = {}
    unknown = [tag for tag in said if not _note(tag, found)]
    if not found and not key and not tempo:
        near = ", ".join(nearest_words(unknown)) or "–"
        raise UsageError(
            "music.no_tag", tags="、".join(unknown)[:80] or "–", known=", ".join(STYLE_WORDS), nearest=near
        )
    if tempo:
        _keep(found, "bpm", _checked_tempo(tempo), f"{tempo:g} BPM")
    if key:
        _keep(found, "key", _asked_key(key), key)
    style = _style(found)
    _check_moods(found)
    _check_pace(found)
    held_key, is_minor = _key(found)
    return Wishes(
        style, tuple(str(mood) for mood in found.get("mood", {})), _only(found, "pace"), _only(found, "bpm") or 0.0,
        held_key, is_minor, tuple(str(one) for one in found.get("instrument", {})), _only(found, "drums"), said,
        tuple(unknown),
    )  # fmt: skip


def nearest_words(tags: Sequence[str]) -> list[str]:
    """Known words that look like tags which were not understood: two for each, six at most."""
    known = [word for table in _tables() for word in table]
    found: list[str] = []
    for tag in tags[:MOST_TAGS]:
        is_latin = tag.isascii()
        alike = [word for word in known if word.isascii() == is_latin]
        found += difflib.get_close_matches(tag.casefold()[:40], alike, 2, 0.68 if is_latin else 0.45)
    return list(dict.fromkeys(found))[:6]


def _tables() -> list[tuple[str, ...]]:
    """Every row of words, whatever it is about."""
    instruments = (words for _, words in INSTRUMENTS.values())
    return [*STYLE_WORDS.values(), *MOODS.values(), *PACES.values(), *instruments, _NO_DRUMS, _DRUMS, _MAJOR, _MINOR]


def _split(tags: Sequence[str]) -> tuple[str, ...]:
    parts = [part.strip() for tag in tags for part in re.split(r"[,，、;；\n]", unicodedata.normalize("NFKC", tag))]
    said = tuple(dict.fromkeys(part for part in parts if part))
    longest = max((len(part) for part in said), default=0)
    if len(said) > MOST_TAGS or longest > MOST_LETTERS:
        raise UsageError("music.too_many_tags", most=MOST_TAGS, letters=MOST_LETTERS)
    return said


def _note(tag: str, found: dict[str, dict[object, str]]) -> bool:
    """Put what a tag says where it belongs; False where it says nothing. Of a sentence, known words count."""
    meant = [(tag, *one) for one in _meanings(tag.casefold(), tag)]
    if not meant:
        heard = [match[0] for match in _known().finditer(tag)]
        meant = [(word, *one) for word in heard for one in _meanings(word.casefold(), word)]
    for word, what, value in meant:
        _keep(found, what, value, word)
    return bool(meant)


def _meanings(word: str, tag: str) -> Iterable[tuple[str, object]]:
    for name, words in STYLE_WORDS.items():
        if word in words:
            yield "style", name
    for mood, words in MOODS.items():
        if word in words:
            yield "mood", mood
    for pace, words in PACES.items():
        if word in words:
            yield "pace", pace
    for name, (_, words) in INSTRUMENTS.items():
        if word in words:
            yield "instrument", name
    if word in _DRUMS or word in _NO_DRUMS:
        yield "drums", word in _DRUMS
    if word in _MAJOR or word in _MINOR:
        yield "minor", word in _MINOR
    if (match := _BPM.fullmatch(word)) and (len(word) > len(match[1]) or float(match[1]) >= SLOWEST):
        yield "bpm", _checked_tempo(float(match[1]))
    if held := parse_key(tag):
        yield "key", held


@lru_cache(maxsize=1)
def _known() -> re.Pattern[str]:
    """Every known word of more than one letter, a key with its mode, a tempo; the longest first."""
    words = {word for table in _tables() for word in table if len(word) > 1}
    plain = [
        rf"(?<![a-z]){re.escape(word)}(?![a-z])" if word.isascii() else re.escape(word)
        for word in sorted(words, key=lambda word: (-len(word), word))
    ]
    keys = r"(?<![A-Za-z])[升降]?[A-G][#b]?\s?(?:major|minor|大调|小调|[宫商角徵羽]调?)"
    return re.compile("|".join([keys, r"\d{2,3}\s?bpm", *plain]), re.IGNORECASE)


def parse_key(text: str) -> Key | None:
    """`C`, `F#m`, `降B大调`, `A minor`, `D徵调` as a key; None where it is none. Without a word it is major."""
    plain = text.strip()
    match = _KEY.fullmatch(plain) or _KEY.fullmatch(plain[:1] + plain[1:].casefold())
    if not match or (not match["mode"] and match["name"].islower()):
        return None
    sign, before = match["sign"] or "", match["sign0"]
    moved = 1 if sign in ("#", "♯", "sharp") or before == "升" else -1 if sign or before else 0
    return Key((_STEPS[match["name"].upper()] + moved) % 12, _mode_named(match["mode"] or ""))


def _mode_named(word: str) -> str:
    if word in ("m", "min", "minor", "小调"):
        return "minor"
    found = next((mode for mode, sign in _MODES.items() if word.startswith(sign)), word)
    return found if found in SCALES else "major"


def _asked_key(text: str) -> Key:
    held = parse_key(text[:MOST_LETTERS])
    if held is None:
        raise UsageError("music.bad_key", key=text[:40], known=", ".join(NAMES), modes=", ".join(SCALES))
    return held


def _checked_tempo(bpm: float) -> float:
    if not SLOWEST <= bpm <= FASTEST:
        raise UsageError("music.bad_tempo", tempo=f"{bpm:g}", least=f"{SLOWEST:g}", most=f"{FASTEST:g}")
    return bpm


def _keep(found: dict[str, dict[object, str]], what: str, value: object, tag: str) -> None:
    """Two answers to one question contradict each other, but for moods and instruments."""
    held = found.setdefault(what, {})
    if held and value not in held and what not in ("mood", "instrument"):
        _contradict(next(iter(held.values())), tag)
    held.setdefault(value, tag)


def _contradict(one: str, two: str) -> None:
    raise UsageError("music.contradiction", one=one[:40], two=two[:40])


def _only(found: dict[str, dict[object, str]], what: str) -> Any:
    return next(iter(found.get(what, {})), None)


def _style(found: dict[str, dict[object, str]]) -> str:
    """The style asked for, or the one that moods, modes or instruments suggest."""
    if style := _only(found, "style"):
        return str(style)
    key = _only(found, "key")
    if isinstance(key, Key) and key.mode in FIVE_TONE:
        return "pentatonic"
    named = [_STYLE_OF_INSTRUMENT[str(one)] for one in found.get("instrument", {}) if str(one) in _STYLE_OF_INSTRUMENT]
    felt = [_STYLE_OF_MOOD[str(one)] for one in found.get("mood", {})]
    return next(iter([*named, *felt]), "pop")


def _check_moods(found: dict[str, dict[object, str]]) -> None:
    moods = found.get("mood", {})
    for some, others in _OPPOSITE_MOODS:
        one = next((tag for mood, tag in moods.items() if mood in some), None)
        two = next((tag for mood, tag in moods.items() if mood in others), None)
        if one and two:
            _contradict(one, two)


def _check_pace(found: dict[str, dict[object, str]]) -> None:
    """A word and a number that exclude each other: slow and 160, fast and 60."""
    pace, bpm = _only(found, "pace"), _only(found, "bpm")
    if isinstance(pace, float) and isinstance(bpm, float) and ((pace < 0.5 and bpm > 110) or (pace > 0.5 and bpm < 90)):
        _contradict(next(iter(found["pace"].values())), next(iter(found["bpm"].values())))


def _key(found: dict[str, dict[object, str]]) -> tuple[Key | None, bool | None]:
    """Key and gender; a key without a word follows the gender that was said."""
    key, minor = _only(found, "key"), _only(found, "minor")
    if isinstance(key, Key) and isinstance(minor, bool):
        tag, is_bare = found["key"][key], len(found["key"][key]) <= 2
        if is_bare and not key.is_five_tone:
            key = Key(key.tonic, "minor" if minor else "major")
        elif key.is_five_tone or key.is_minor != minor:
            _contradict(tag, found["minor"][minor])
    held = key if isinstance(key, Key) else None
    return held, minor if isinstance(minor, bool) else None
