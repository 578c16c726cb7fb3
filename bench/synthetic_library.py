"""A library of a million clips that nobody shot: words, owners, lengths and measures as in a broadcaster's archive.

Words follow a Zipf law, so that there are words on every tenth clip and words on one. Same seed, same library.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from malan.core import Asset, Clip, Span
from malan.core.ids import digest_bytes
from malan.store import AssetRow, ClipRow, Library, tables
from malan.store.rows import SCANNED
from malan.store.tending import make_indexes, tend


def _words(text: str) -> list[str]:
    return text.split()


PLACES = _words(
    "北京 上海 长沙 广州 深圳 成都 重庆 杭州 西安 武汉 南京 苏州 青岛 大连 厦门 昆明 拉萨 桂林 张家界 岳麓山 湘江 "
    "洞庭湖 长江 黄河 西湖 故宫 长城 外滩 陆家嘴 橘子洲"
)
TIMES = _words("夜景 清晨 黄昏 日出 日落 正午 雨天 雪天 春天 夏天 秋天 冬天 凌晨 傍晚 晴天 阴天 雾天")
VIEWS = _words("航拍 特写 全景 中景 近景 延时 慢动作 俯拍 仰拍 跟拍 摇镜头 推镜头 固定机位 手持 水下 鱼眼")
THINGS = _words(
    "街道 车流 人群 高楼 桥梁 河流 山脉 森林 田野 海滩 船只 火车 高铁 地铁 机场 飞机 市场 美食 茶叶 瓷器 舞蹈 音乐会 "
    "运动员 孩子 老人 医生 老师 农民 工人 警察 记者 主持人 新闻 采访 演播室 体育场 学校 医院 工厂 实验室 机器人 无人机 "
    "灯光 烟花 节日 春节 龙舟 熊猫 丹顶鹤 荷花 樱花 梅花"
)
SAYINGS = _words(
    "欢迎收看今天的节目 记者在现场为您报道 这座城市正在苏醒 他从来没有想过会离开家乡 我们明天再见 经济增长超过百分之五 "
    "雨下了整整三天 请大家系好安全带 这是一个古老的传说 你为什么不告诉我 母亲做的饭最香 比赛进入最后一分钟 "
    "观众朋友们晚上好 山的那边是海 科学家发现了新的物种 孩子们在操场上奔跑 列车即将到站 火锅的香味飘满了整条街"
)
ENGLISH = _words(
    "night city aerial drone street traffic crowd skyline bridge river mountain forest beach boat train airport market "
    "food tea dance concert athlete child doctor teacher farmer worker reporter interview studio stadium school "
    "hospital factory laboratory robot light firework festival panda crane lotus sunrise sunset rain snow spring "
    "summer autumn winter slow motion timelapse close wide"
)
SPOKEN = [
    "-",
    " welcome to the programme",
    "our reporter is on the scene",
    "this city is waking up",
    "he never thought he would leave home",
    "see you again tomorrow",
    "the economy grew by five percent",
    "it rained for three whole days",
    "please fasten your seat belts",
    "this is an old legend",
    "why did you not tell me",
    "the match is in its final minute",
    "good evening everyone",
    "scientists have found a new species",
    "children are running in the yard",
]
OWNERS = [f"{place}台" for place in PLACES] + [f"owner-{number}" for number in range(30)]
TERMS = [digest_bytes(b"terms %d" % number) for number in range(60)]
MOTIONS = ("static", "pan", "tilt", "zoom", "handheld", "action")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "black", "white", "grey")
CLIPS_PER_ASSET = 250
VECTOR_SIZE = 192  # as the built-in descriptor
TIMEBASE = Fraction(1, 25)
_AT_ONCE = 50_000


class Zipf:
    """Words of a list, the first often, the last seldom."""

    def __init__(self, words: list[str], dice: random.Random) -> None:
        self._words, self._dice = words, dice
        self._bounds = list(np.cumsum(1 / np.arange(1, len(words) + 1)))

    def one(self) -> str:
        return self._dice.choices(self._words, cum_weights=self._bounds)[0]


@dataclass(frozen=True)
class _Film:
    """What the clips of one asset have in common."""

    id: str
    owner: str
    terms: str
    title: str
    file_name: str


class Archive:
    """Draws clips, asset by asset."""

    def __init__(self, seed: int = 1) -> None:
        self._dice = dice = random.Random(seed)
        self._seed = seed
        self.place, self.moment, self.view = Zipf(PLACES, dice), Zipf(TIMES, dice), Zipf(VIEWS, dice)
        self.thing, self.saying = Zipf(THINGS, dice), Zipf(SAYINGS, dice)
        self.english, self.spoken = Zipf(ENGLISH, dice), Zipf(SPOKEN, dice)

    def clips(self, count: int) -> Iterator[ClipRow]:
        for number in range(count):
            if number % CLIPS_PER_ASSET == 0:
                film, start = self._film(number // CLIPS_PER_ASSET), 0
            length = max(8, round(self._dice.lognormvariate(4.4, 0.8)))
            span = Span(start, start + length, TIMEBASE)
            start += length
            yield self._clip(film, span, 1.6e9 + number // CLIPS_PER_ASSET * 3600.0)

    def _film(self, number: int) -> _Film:
        dice = self._dice
        chinese = f"{self.place.one()}{self.moment.one()} {self.thing.one()}"
        title = chinese if dice.random() < 0.7 else f"{self.english.one()} {self.english.one()}"
        name = f"{dice.randrange(1990, 2026)}{dice.randrange(1, 13):02d}_{dice.choice('ABC')}{number:06d}"
        id = digest_bytes(f"asset {self._seed} {number}".encode())
        return _Film(id, dice.choice(OWNERS), dice.choice(TERMS), title, name)

    def _clip(self, film: _Film, span: Span, added_s: float) -> ClipRow:
        dice = self._dice
        measures = {name: dice.random() for name in ("blur", "exposure", "motion")}
        if dice.random() < 0.4:
            measures["speech_share"] = dice.random()
        return ClipRow(
            Clip(film.id, 0, span), film.owner, film.terms, film.title, film.file_name, "\n".join(self._lines()),
            tuple(dict.fromkeys(self._tags())),
            ("shot.transition", f"motion.class={dice.choice(MOTIONS)}", f"colour.dominant={dice.choice(COLOURS)}"),
            measures, added_s, self._look(),
        )  # fmt: skip

    def _lines(self) -> Iterator[str]:
        if self._dice.random() < 0.6:
            yield self.saying.one() + self.thing.one() if self._dice.random() < 0.75 else self.spoken.one()
        if self._dice.random() < 0.2:
            yield f"{self.place.one()}的{self.thing.one()}{self.saying.one()}"

    def _look(self) -> tuple[str, ...]:
        return "固定镜头", "static shot", *self._dice.choice((("夜景", "night"), ("日景", "day"), ()))

    def _tags(self) -> Iterator[str]:
        for words, share in ((self.view, 0.5), (self.thing, 0.6), (self.moment, 0.4), (self.english, 0.3)):
            if self._dice.random() < share:
                yield words.one()


def build(root: Path, count: int, seed: int = 1) -> tuple[Library, float]:
    """The library below a folder and the seconds it took; built once, taken as it is the next time."""
    library, began = Library(root), time.perf_counter()
    if library.count_clips() == count:
        return library, 0.0
    clips, noise = Archive(seed).clips(count), np.random.default_rng(seed)
    looks = noise.standard_normal((2000, VECTOR_SIZE), np.float32)
    assets: dict[str, AssetRow] = {}
    with library._tables.change() as change:
        change.delete("clips", "true")
        while batch := list(islice(clips, _AT_ONCE)):
            assets |= {row.clip.asset_id: _asset(row) for row in batch}
            vectors_ND = looks[noise.integers(0, len(looks), len(batch))]
            vectors_ND = vectors_ND + 0.4 * noise.standard_normal(vectors_ND.shape, np.float32)
            vectors = dict(zip((row.id for row in batch), vectors_ND, strict=True))
            change.append("clips", tables.clips_table(batch, vectors, VECTOR_SIZE))
            print(f"  {time.perf_counter() - began:.0f} s, up to {batch[-1].file_name}", file=sys.stderr)
        change.edit("clips", make_indexes("clips"))
        change.append("assets", tables.table_of("assets", map(tables.asset_to_arrow, assets.values())))
        change.edit("clips", tend("clips"))
    return library, time.perf_counter() - began


def _asset(row: ClipRow) -> AssetRow:
    asset = Asset(row.clip.asset_id, 1, "mp4", Fraction(1), (), row.owner_id, row.terms_id)
    return AssetRow(asset, SCANNED, title=row.title, added_s=row.added_s)
