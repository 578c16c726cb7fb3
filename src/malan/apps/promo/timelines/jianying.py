"""A draft of 剪映 (5.9, which later versions open too): materials, and tracks of segments that point to them.

Two files make a draft: the cut itself, and what the list of drafts shows. Copied into the folder of drafts it opens
like any other. Times are microseconds. Start reading at `draft_files`.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from malan.apps.promo.captions import Line
from malan.apps.promo.timelines.edit import Cut, Edit, Reel, Track
from malan.apps.promo.writing import place_of

_LISTS = (
    "ai_translates", "audio_balances", "audio_effects", "audio_fades", "audio_track_indexes", "audios", "beats",
    "canvases", "chromas", "color_curves", "digital_humans", "drafts", "effects", "flowers", "green_screens",
    "handwrites", "hsl", "images", "log_color_wheels", "loudnesses", "manual_deformations", "masks",
    "material_animations", "material_colors", "multi_language_refs", "placeholders", "plugin_effects",
    "primary_color_wheels", "realtime_denoises", "shapes", "smart_crops", "smart_relights",
    "sound_channel_mappings", "speeds", "stickers", "tail_leaders", "text_templates", "texts", "time_marks",
    "transitions", "video_effects", "video_trackings", "videos", "vocal_beautifys", "vocal_separations",
)  # fmt: skip
_KEYFRAMES = ("adjusts", "audios", "effects", "filters", "handwrites", "stickers", "texts", "videos")
_TEXT_LAYER = 14_000  # what is written lies over everything else
_SIZES = {"Caption": 8.0, "Title": 18.0, "Ending": 15.0}  # as its own panel counts them
_FADE_US = 1_500_000


def draft_files(edit: Edit, seed: str) -> dict[str, str]:
    """`draft_content.json` and `draft_meta_info.json`.

    Args:
        seed: Names the draft; the same seed gives the same ids.
    """
    draft = _Draft(edit, seed)
    return {name: json.dumps(told, ensure_ascii=False, indent=1) + "\n" for name, told in draft.files().items()}


class _Draft:
    """Materials and segments as they are put together."""

    def __init__(self, edit: Edit, seed: str) -> None:
        self._edit, self._seed = edit, seed
        self._materials: dict[str, list[dict[str, Any]]] = {name: [] for name in _LISTS}

    def files(self) -> dict[str, dict[str, Any]]:
        edit = self._edit
        tracks = [self._track("video", "", [self._shot(number, cut) for number, cut in enumerate(edit.cuts)])]
        tracks += [self._track("audio", one.kind, [self._sound(one)]) for one in edit.tracks]
        for style, name in (("Caption", "字幕"), ("Title", "标题"), ("Ending", "片尾")):
            lines = [self._line(number, one) for number, one in enumerate(edit.lines) if one.style == style]
            tracks += [self._track("text", name, lines)] if lines else []
        return {"draft_content.json": self._content(tracks), "draft_meta_info.json": self._meta()}

    def _content(self, tracks: list[dict[str, Any]]) -> dict[str, Any]:
        edit = self._edit
        return {
            "canvas_config": {"width": edit.form.width, "height": edit.form.height, "ratio": "original"},
            "color_space": 0,
            "config": {"maintrack_adsorb": True, "subtitle_sync": True, "video_mute": False, "material_save_mode": 0},
            "cover": None,
            "create_time": 0,
            "duration": _us(Fraction(edit.frames, edit.rate)),
            "extra_info": None,
            "fps": float(edit.rate),
            "group_container": None,
            "id": self._id("draft"),
            "keyframe_graph_list": [],
            "keyframes": {name: [] for name in _KEYFRAMES},
            "materials": self._materials,
            "name": edit.title,
            "new_version": "110.0.0",
            "platform": {"app_id": 3704, "app_source": "lv", "app_version": "5.9.0", "os": "windows"},
            "relationships": [],
            "source": "default",
            "tracks": tracks,
            "update_time": 0,
            "version": 360000,
        }

    def _meta(self) -> dict[str, Any]:
        return {
            "draft_cover": "draft_cover.jpg",
            "draft_fold_path": "",
            "draft_id": self._id("draft"),
            "draft_is_invisible": False,
            "draft_materials": [{"type": number, "value": []} for number in (0, 1, 2, 3, 6, 7, 8)],
            "draft_name": self._edit.title,
            "draft_root_path": "",
            "draft_segment_extra_info": [],
            "draft_type": "",
            "tm_draft_removed": 0,
            "tm_duration": _us(Fraction(self._edit.frames, self._edit.rate)),
        }

    def _track(self, kind: str, name: str, segments: list[dict[str, Any]]) -> dict[str, Any]:
        held = {"attribute": 0, "flag": 0, "id": self._id("track", kind, name), "is_default_name": not name}
        return {**held, "name": name, "segments": segments, "type": kind}

    def _shot(self, number: int, cut: Cut) -> dict[str, Any]:
        rate, begin = self._edit.rate, _us(cut.first / cut.reel.rate)
        at = _us(Fraction(cut.at, rate))
        length = _us(Fraction(cut.at + cut.frames, rate)) - at  # segments meet to the microsecond
        scale = self._filling(cut)
        return {
            **self._segment(f"{number}", self._video(cut.reel), at, length),
            "clip": _placed(0.0, scale),
            "enable_adjust": True,
            "hdr_settings": {"intensity": 1.0, "mode": 1, "nits": 1000},
            "source_timerange": {"start": begin, "duration": length},
            "uniform_scale": {"on": True, "value": 1.0},
            "volume": 1.0 if cut.is_heard else 0.0,
        }

    def _filling(self, cut: Cut) -> float:
        """How much larger a picture of another shape is shown than it would fit."""
        if not cut.fills:
            return 1.0
        shape, wish = cut.reel.size[0] / cut.reel.size[1], float(self._edit.form.aspect)
        return max(shape / wish, wish / shape)

    def _sound(self, track: Track) -> dict[str, Any]:
        length = _us(min(Fraction(self._edit.frames, self._edit.rate), max(Fraction(0), track.length - track.start)))
        name = self._id("audio", str(track.path))
        held = {"id": name, "local_material_id": name, "music_id": name, "name": track.path.name}
        told = {
            "path": str(track.path),
            "type": "extract_music",
            "duration": _us(track.length),
            "category_name": "local",
        }
        self._materials["audios"].append({**held, **told, "check_flag": 1, "source_platform": 0, "wave_points": []})
        fade = self._extra("audio_fades", track.kind, fade_in_duration=0, fade_out_duration=_FADE_US, fade_type=0)
        segment = self._segment(track.kind, name, 0, length)
        segment["extra_material_refs"].append(fade)
        used = {"start": _us(track.start), "duration": length}
        return {**segment, "clip": None, "source_timerange": used, "volume": round(10 ** (track.gain_db / 20), 4)}

    def _line(self, number: int, line: Line) -> dict[str, Any]:
        name, at = self._id("text", f"{number}"), _us(line.begin)
        self._materials["texts"].append(_text(name, line))
        place = place_of(self._edit.form)
        up = 1 - 2 * (place.title if line.style != "Caption" else 1 - place.bottom)
        segment = self._segment(f"line {number}", name, at, _us(line.end) - at)
        return {**segment, "clip": _placed(up, 1.0), "render_index": _TEXT_LAYER, "source_timerange": None}

    def _segment(self, name: str, material: str, at: int, length: int) -> dict[str, Any]:
        speed = self._extra("speeds", name, mode=0, speed=1.0, curve_speed=None)
        return {
            "common_keyframes": [],
            "extra_material_refs": [speed],
            "id": self._id("segment", name),
            "keyframe_refs": [],
            "last_nonzero_volume": 1.0,
            "material_id": material,
            "render_index": 0,
            "reverse": False,
            "speed": 1.0,
            "target_timerange": {"start": at, "duration": length},
            "track_attribute": 0,
            "track_render_index": 0,
            "visible": True,
            "volume": 1.0,
        }

    def _extra(self, kind: str, name: str, **told: Any) -> str:
        """A material that only says more of a segment."""
        found = self._id(kind, name)
        self._materials[kind].append({"id": found, "type": kind.removesuffix("s"), **told})
        return found

    def _video(self, reel: Reel) -> str:
        """The material of a source; each once."""
        name = self._id("video", str(reel.path))
        if not any(one["id"] == name for one in self._materials["videos"]):
            self._materials["videos"].append(_video(name, reel))
        return name

    def _id(self, *parts: str) -> str:
        return str(uuid5(NAMESPACE_URL, "malan:" + ":".join((self._seed, *parts)))).upper()


def _video(name: str, reel: Reel) -> dict[str, Any]:
    corners = ((x, y) for y in ("upper", "lower") for x in ("left", "right"))
    crop = {
        f"{y}_{x}_{axis}": float(side in ("right", "lower")) for x, y in corners for axis, side in (("x", x), ("y", y))
    }
    return {
        "category_name": "local",
        "check_flag": 63487,
        "crop": crop,
        "crop_ratio": "free",
        "crop_scale": 1.0,
        "duration": _us(reel.frames / reel.rate),
        "has_audio": reel.channels > 0,
        "height": reel.size[1],
        "id": name,
        "local_material_id": "",
        "material_id": name,
        "material_name": reel.path.name,
        "path": str(reel.path),
        "source_platform": 0,
        "type": "video",
        "width": reel.size[0],
    }


def _text(name: str, line: Line) -> dict[str, Any]:
    white = {"content": {"render_type": "solid", "solid": {"alpha": 1.0, "color": [1.0, 1.0, 1.0]}}, "alpha": 1.0}
    edge = {"content": {"solid": {"alpha": 1.0, "color": [0.06, 0.06, 0.06]}}, "width": 0.06}
    utf16 = len(line.text.encode("utf-16-le")) // 2  # as the program counts characters
    style = {"range": [0, utf16], "size": _SIZES[line.style], "bold": True, "fill": white, "strokes": [edge]}
    return {
        "alignment": 1,
        "check_flag": 15,
        "content": json.dumps({"styles": [style], "text": line.text}, ensure_ascii=False),
        "id": name,
        "line_feed": 1,
        "line_max_width": 0.82,
        "line_spacing": 0.02,
        "type": "subtitle" if line.style == "Caption" else "text",
        "typesetting": 0,
    }


def _placed(up: float, scale: float) -> dict[str, Any]:
    """Where a segment lies: half heights above the middle, and how large."""
    return {
        "alpha": 1.0,
        "flip": {"horizontal": False, "vertical": False},
        "rotation": 0.0,
        "scale": {"x": round(scale, 6), "y": round(scale, 6)},
        "transform": {"x": 0.0, "y": round(up, 6)},
    }


def _us(seconds: Fraction | float) -> int:
    return round(seconds * 1_000_000)
