"""A description as video models like it: long, with subject, motion, scene, camera and light, none of them left out.

What the description says stands first and unchanged; only what it is silent about is added, and the same words come of
the same description. Start reading at `expand`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from malan.apps.video.prompt import Brief

_LONGEST = 1200  # characters; text encoders of video models read 226 to 512 tokens


@dataclass(frozen=True)
class _Aspect:
    """One thing a description may speak of: words that mean it does, and what is said for it otherwise."""

    words: str
    zh: str
    en: str


_MOTION = _Aspect(
    r"走|跑|飞|飘|流|转|摇|动|翻|升|落|游|跳|舞|驶|walk|run|fly|drift|flow|turn|mov|rise|fall|swim|jump|danc|driv|wav",
    "画面中的事物自然、连贯地运动",
    "natural, continuous movement",
)
_SCENE = _Aspect(
    r"山|水|城|街|海|湖|江|河|林|村|室|天空|背景|mountain|river|city|street|sea|lake|forest|village|room|sky|background",
    "环境完整，前景、中景、远景层次分明",
    "a complete setting with clear foreground, middle ground and distance",
)
_CAMERA = _Aspect(
    r"镜头|特写|近景|中景|全景|远景|航拍|俯拍|仰拍|推|拉|跟拍|"
    r"camera|close-?up|wide shot|aerial|drone|dolly|pan|tilt|zoom|tracking",
    "",
    "",
)
_LIGHT = _Aspect(
    r"光|夜|晨|黄昏|日落|日出|阴|晴|light|night|dawn|dusk|sunset|sunrise|sunny|overcast|backlit",
    "柔和的自然光，色彩真实",
    "soft natural light, true colours",
)
_CAMERAS = {
    "lively": ("跟随主体的运动镜头，节奏明快", "a tracking camera that follows the subject, brisk pace"),
    "calm": ("镜头缓慢平稳推进", "a slow, steady push-in"),
    "documentary": ("平视机位，镜头稳定", "an eye-level camera, held still"),
}


def expand(brief: Brief, style: str = "") -> str:
    """What is to be seen, with what that leaves open, in the language of the description."""
    is_chinese = brief.language == "zh"
    text = ("，" if is_chinese else ", ").join(beat.caption.rstrip("。.") or beat.text for beat in brief.beats)
    camera = _CAMERAS[style or brief.style or "calm"]
    added = []
    for aspect in (_MOTION, _SCENE, _CAMERA, _LIGHT):
        if not re.search(aspect.words, text, re.IGNORECASE):
            zh, en = camera if aspect is _CAMERA else (aspect.zh, aspect.en)
            added.append(zh if is_chinese else en)
    joined = "，".join([text, *added]) + "。" if is_chinese else ", ".join([text, *added]) + "."
    return joined if len(joined) <= _LONGEST else text[:_LONGEST]
