"""A library of a million clips that nobody shot: words, owners, lengths and measures as a broadcaster's archive has them.

Words follow a Zipf law, so that there are words on every tenth clip and words on one. Same seed, same library.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from malan.core import Clip, Span
from malan.core.ids import digest_bytes
from malan.store import ClipRow, Library, tables
from malan.store.tending import make_indexes, tend

PLACES = "北京 上海 长沙 广州 深圳 成都 重庆 杭州 西安 武汉 南京 苏州 青岛 大连 厦门 昆明 拉萨 桂林 张家界 岳麓山 湘江 洞庭湖 长江 黄河 西湖 故宫 长城 外滩 陆家嘴 橘子洲".split()
TIMES = "夜景 清晨 黄昏 日出 日落 正午 雨天 雪天 春天 夏天 秋天 冬天 凌晨 傍晚 晴天 阴天 雾天".split()
VIEWS = "航拍 特写 全景 中景 近景 延时 慢动作 俯拍 仰拍 跟拍 摇镜头 推镜头 固定机位 手持 水下 鱼眼".split()
THINGS = "街道 车流 人群 高楼 桥梁 河流 山脉 森林 田野 海滩 船只 火车 高铁 地铁 机场 飞机 市场 美食 茶叶 瓷器 舞蹈 音乐会 运动员 孩子 老人 医生 老师 农民 工人 警察 记者 主持人 新闻 采访 演播室 体育场 学校 医院 工厂 实验室 机器人 无人机 灯光 烟花 节日 春节 龙舟 熊猫 丹顶鹤 荷花 樱花 梅花".split()
SAYINGS = "欢迎收看今天的节目 记者在现场为您报道 这座城市正在苏醒 他从来没有想过会离开家乡 我们明天再见 经济增长超过百分之五 雨下了整整三天 请大家系好安全带 这是一个古老的传说 你为什么不告诉我 母亲做的饭最香 比赛进入最后一分钟 观众朋友们晚上好 山的那边是海 科学家发现了新的物种 孩子们在操场上奔跑 列车即将到站 火锅的香味飘满了整条街".split()
ENGLISH = "night city aerial drone street traffic crowd skyline bridge river mountain forest beach boat train airport market food tea dance concert athlete child doctor teacher farmer worker reporter interview studio stadium school hospital factory laboratory robot light firework festival panda crane lotus sunrise sunset rain snow spring summer autumn winter slow motion timelapse close wide".split()
SPOKEN = "welcome to the programme|our reporter is on the scene|this city is waking up|he never thought he would leave home|see you again tomorrow|the economy grew by five percent|it rained for three whole days|please fasten your seat belts|this is an old legend|why did you not tell me|the match is in its final minute|good evening everyone|scientists have found a new species|children are running in the yard".split(
    "|"
)
OWNERS = [f"{place}台" for place in PLACES] + [f"owner-{i}" for i in range(30)]
MOTIONS = ("static", "pan", "tilt", "zoom", "handheld", "fast")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "black", "white", "grey")
CLIPS_PER_ASSET = 250
TIMEBASE = Fraction(1, 25)


class Zipf:
    """Words of a list, the first often, the last seldom."""

    def __init__(self, words: list[str], dice: random.Random) -> None:
        self._words, self._dice = words, dice
        self._bounds = list(np.cumsum(1 / np.arange(1, len(words) + 1)))

    def one(self) -> str:
        return self._dice.choices(self._words, cum_weights=self._bounds)[0]


def clip_rows(count: int, seed: int = 1) -> Iterator[ClipRow]:
    """The clips, asset by asset."""
    dice = random.Random(seed)
    place, moment, view, thing = (Zipf(words, dice) for words in (PLACES, TIMES, VIEWS, THINGS))
    saying, english, spoken = Zipf(SAYINGS, dice), Zipf(ENGLISH, dice), Zipf(SPOKEN, dice)
    for number in range(count):
        if number % CLIPS_PER_ASSET == 0:
            asset_id = digest_bytes(f"asset {seed} {number}".encode())
            owner, terms, start = dice.choice(OWNERS), digest_bytes(b"terms %d" % dice.randrange(60)), 0
            title = (
                f"{place.one()}{moment.one()} {thing.one()}"
                if dice.random() < 0.7
                else f"{english.one()} {english.one()}"
            )
            name = f"{dice.randrange(1990, 2026)}{dice.randrange(1, 13):02d}_{dice.choice(('A', 'B', 'C'))}{number // CLIPS_PER_ASSET:06d}"
            added = 1.6e9 + number * 100.0
        length = max(8, round(dice.lognormvariate(4.4, 0.8)))
        lines = []
        if dice.random() < 0.6:
            lines.append(saying.one() + thing.one() if dice.random() < 0.75 else spoken.one())
            if dice.random() < 0.3:
                lines.append(f"{place.one()}的{thing.one()}{saying.one()}")
        tags = [
            w
            for w, p in ((view.one(), 0.5), (thing.one(), 0.6), (moment.one(), 0.4), (english.one(), 0.3))
            if dice.random() < p
        ]
        measures = {
            "blur": dice.random(),
            "exposure": dice.random(),
            "motion": dice.random() ** 2,
            "loudness_lufs": -40 + 30 * dice.random(),
        }
        if dice.random() < 0.4:
            measures["speech_share"] = dice.random()
        labels = [
            "shot.transition",
            "quality.technical",
            f"motion.class={dice.choice(MOTIONS)}",
            f"colour.dominant={dice.choice(COLOURS)}",
        ]
        clip = Clip(asset_id, 0, Span(start, start + length, TIMEBASE))
        start += length
        yield ClipRow(
            clip,
            owner,
            terms,
            title,
            name,
            "\n".join(lines),
            tuple(dict.fromkeys(tags)),
            tuple(labels),
            measures,
            added,
        )


def build(root: Path, count: int, seed: int = 1) -> Library:
    """The library below a folder; built once, taken as it is the next time."""
    library = Library(root)
    if library.count_clips() == count:
        return library
    began, batch, done = time.perf_counter(), [], 0
    with library._tables.change() as change:
        for row in clip_rows(count, seed):
            batch.append(tables.clip_to_arrow(row))
            if len(batch) == 50_000 or done + len(batch) == count:
                change.append("clips", tables.table_of("clips", batch), None)
                done, batch = done + len(batch), []
                print(f"  {done:,} clips written, {time.perf_counter() - began:.0f} s", file=sys.stderr)
        change.edit("clips", make_indexes("clips"))
        change.edit("clips", tend)
    print(f"  indexed, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return library
