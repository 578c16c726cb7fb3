"""What the demo's library holds: two owners, a dozen films in the codecs archives really have, and one broken file.

A table, no behaviour. Shot lengths are in frames, so the truth is exact: see `Film.cuts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ARCHIVE = "湘江影像资料馆"
STUDIO = "橘洲短剧工作室"


@dataclass(frozen=True)
class Shot:
    """One shot: which scene, from which seed, for how many frames, how fast the camera travels, and how it begins.

    `enters` is `cut`, `dissolve` or `fade`; the last two overlap the end of the shot before by `OVERLAP` frames.
    """

    scene: str
    seed: int
    frames: int
    travel_px: float = 1.5
    enters: str = "cut"


OVERLAP = 14


@dataclass(frozen=True)
class Film:
    """One file of the demo."""

    owner: str
    name: str
    shots: tuple[Shot, ...] = ()
    size: tuple[int, int] = (640, 360)
    rate: int = 25
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    sound: str = "aac"
    captions: tuple[str, ...] = ()
    chord_hz: tuple[float, ...] = (110.0, 164.8, 220.0)
    drawn_size: tuple[int, int] | None = None  # painted at this size, then scaled: a copy for the web
    is_broken: bool = False

    @property
    def frame_count(self) -> int:
        return sum(s.frames for s in self.shots) - OVERLAP * sum(s.enters != "cut" for s in self.shots)

    @property
    def cuts(self) -> tuple[int, ...]:
        """The first frame of every shot that begins with a hard cut."""
        found, at = [], 0
        for number, shot in enumerate(self.shots):
            at -= OVERLAP if shot.enters != "cut" else 0
            if number and shot.enters == "cut":
                found.append(at)
            at += shot.frames
        return tuple(found)


X264 = {"preset": "veryfast", "crf": "21"}
FIXED_GOP = X264 | {"g": "50", "sc_threshold": "0", "bf": "3"}
CLOUDS = (
    Shot("karst_peaks", 11, 90, 1.0),
    Shot("karst_peaks", 12, 70, -1.4, "dissolve"),
    Shot("forest_light", 13, 60, 2.0),
    Shot("karst_peaks", 14, 84, 0.8),
    Shot("snow_ridge", 15, 70, 1.2, "dissolve"),
    Shot("karst_peaks", 16, 76, 1.6),
)

FILMS: tuple[Film, ...] = (
    Film(
        ARCHIVE,
        "长沙夜景航拍.mp4",
        options=X264,
        shots=(
            Shot("night_city", 1, 75, 2.2),
            Shot("dusk_river", 2, 60, 1.0),
            Shot("night_city", 3, 68, -1.6),
            Shot("neon_rain", 4, 52, 0.8),
            Shot("night_city", 5, 80, 3.0, "dissolve"),
        ),
        captions=("夜幕下的长沙", "湘江两岸灯火通明"),
        chord_hz=(98.0, 146.8, 233.1),
    ),
    Film(
        ARCHIVE,
        "张家界云海.mp4",
        options=FIXED_GOP,
        shots=CLOUDS,
        captions=("云雾缭绕的张家界", "三千奇峰拔地而起", "每一秒都是风景"),
        chord_hz=(130.8, 196.0, 261.6),
    ),
    Film(
        ARCHIVE,
        "张家界云海_网络版.mp4",
        size=(384, 216),
        options={"preset": "veryfast", "crf": "32"},
        shots=CLOUDS,
        chord_hz=(130.8, 196.0, 261.6),
        drawn_size=(640, 360),
    ),
    Film(
        ARCHIVE,
        "洞庭日出.mkv",
        codec="libx265",
        options={"preset": "ultrafast", "crf": "24", "x265-params": "log-level=none"},
        shots=(
            Shot("sea_sunrise", 21, 90, 0.5),
            Shot("dusk_river", 22, 64, 1.4),
            Shot("sea_sunrise", 23, 80, -0.8, "fade"),
        ),
        chord_hz=(87.3, 130.8, 174.6),
    ),
    Film(
        ARCHIVE,
        "茶山四季.ts",
        codec="mpeg2video",
        options={"b": "3M", "g": "12", "bf": "2"},
        sound="mp2",
        shots=(
            Shot("tea_hills", 31, 60, 1.6),
            Shot("tea_hills", 32, 56, -1.0),
            Shot("forest_light", 33, 60, 1.2),
            Shot("snow_ridge", 34, 66, 0.8),
            Shot("tea_hills", 35, 50, 2.2),
        ),
        captions=("采茶时节", "一芽一叶，都是春天"),
        chord_hz=(146.8, 220.0, 293.7),
    ),
    Film(
        ARCHIVE,
        "城市日记.avi",
        codec="mpeg4",
        options={"b": "2M", "g": "250"},
        sound="libmp3lame",
        shots=(
            Shot("street_day", 41, 50, 2.0),
            Shot("street_day", 42, 44, -2.0),
            Shot("room", 43, 55, 0.2),
            Shot("street_day", 44, 46, 1.0),
            Shot("dusk_river", 45, 60, 1.0),
        ),
        chord_hz=(123.5, 185.0, 246.9),
    ),
    Film(
        ARCHIVE,
        "雪线.webm",
        size=(480, 270),
        codec="libvpx-vp9",
        options={"deadline": "realtime", "cpu-used": "8", "b": "900k"},
        sound="libopus",
        shots=(Shot("snow_ridge", 51, 76, 1.0), Shot("karst_peaks", 52, 64, 0.8), Shot("snow_ridge", 53, 70, -1.4)),
        chord_hz=(103.8, 155.6, 207.7),
    ),
    Film(
        ARCHIVE,
        "林间晨光_母带.mov",
        codec="prores_ks",
        options={"profile": "0"},
        pixel_format="yuv422p10le",
        sound="pcm_s16le",
        shots=(Shot("forest_light", 61, 60, 1.8), Shot("tea_hills", 62, 50, 1.0), Shot("forest_light", 63, 54, -1.0)),
        chord_hz=(116.5, 174.6, 233.1),
    ),
    Film(
        STUDIO,
        "雨夜来信_第1集.mp4",
        size=(360, 640),
        options=X264,
        shots=(
            Shot("neon_rain", 71, 66, 0.6),
            Shot("room", 72, 58, 0.1),
            Shot("room", 73, 62, 0.2),
            Shot("neon_rain", 74, 48, 1.0),
            Shot("room", 75, 70, 0.1),
            Shot("night_city", 76, 50, 2.0),
        ),
        captions=("你终于来了", "三年前的事，你真的都忘了吗", "我没忘，只是不敢提", "有人在骗我们"),
        chord_hz=(82.4, 98.0, 123.5),
    ),
    Film(
        STUDIO,
        "雨夜来信_第2集.mp4",
        size=(360, 640),
        options=FIXED_GOP,
        shots=(
            Shot("room", 81, 60, 0.1),
            Shot("neon_rain", 82, 54, 0.8),
            Shot("room", 83, 66, 0.2),
            Shot("street_day", 84, 48, 1.4),
            Shot("room", 85, 64, 0.1),
        ),
        captions=("合同上写的是你的名字", "等等，先别走", "妈，您先坐下，喝口水"),
        chord_hz=(82.4, 110.0, 130.8),
    ),
    Film(
        STUDIO,
        "幕后访谈.mp4",
        options=X264,
        shots=(
            Shot("room", 91, 110, 0.0),
            Shot("street_day", 92, 48, 1.6),
            Shot("room", 93, 96, 0.0),
            Shot("neon_rain", 94, 52, 0.6),
        ),
        captions=("拍摄一共用了十二天", "雨都是真的下的"),
        chord_hz=(110.0, 138.6, 164.8),
    ),
    Film(
        STUDIO,
        "预告片.mkv",
        size=(480, 270),
        rate=24,
        codec="libsvtav1",
        options={"preset": "10", "crf": "36", "svtav1-params": "fast-decode=1"},
        sound="libopus",
        shots=(
            Shot("night_city", 101, 44, 3.0),
            Shot("neon_rain", 102, 40, 1.0),
            Shot("room", 103, 44, 0.2, "fade"),
            Shot("street_day", 104, 36, 2.0),
            Shot("dusk_river", 105, 60, 1.2, "fade"),
        ),
        chord_hz=(73.4, 110.0, 146.8),
    ),
    Film(STUDIO, "损坏的素材.mp4", is_broken=True),
)
"""Every file; `fmt: skip` keeps a row a row."""

TERMS = {
    ARCHIVE: 'name = "资料馆：检索与训练"\nuses = ["retrieve", "derive", "publish", "export", "train"]\n'
    'egress = ["metrics", "adapter", "weights"]\nattribution = "湘江影像资料馆"\nends = 2030-12-31\n\n'
    '[price]\nminor = 250\ncurrency = "CNY"\n',
    STUDIO: 'name = "短剧：检索、导出与训练，不得改编"\nuses = ["retrieve", "export", "train"]\ntiers = ["recipe"]\n'
    'egress = ["metrics", "weights"]\nattribution = "橘洲短剧工作室"\n',
}
