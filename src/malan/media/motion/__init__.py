"""A picture set in motion: read safely, framed, taken apart into layers, seen by a camera that moves, encoded.

    file ─ read_photo ─▶ pixels ─ weight_of ─▶ where to look ─┐
    depth, mask, model or subject ─▶ relief ──────────────────┴ make_scene ─▶ Stage, path ─ shoot ─▶ film

What needs a whole picture is done once; a frame costs a few look-ups. OpenCV is imported in here and nowhere else.
Start at `scene.py`, then `warp.py`.
"""

from malan.media.motion.camera import MOVES, Move
from malan.media.motion.framing import Wish
from malan.media.motion.photo import Photo, read_photo, read_plane, read_with_map, without_bars
from malan.media.motion.relief import ENOUGH, Relief, flat, relief_from_map, relief_from_mask, relief_from_subject
from malan.media.motion.scene import Scene, framed_still, make_scene
from malan.media.motion.shoot import shoot
from malan.media.motion.subject import find_subject, weight_of, with_faces

__all__ = [
    "ENOUGH",
    "MOVES",
    "Move",
    "Photo",
    "Relief",
    "Scene",
    "Wish",
    "find_subject",
    "flat",
    "framed_still",
    "make_scene",
    "read_photo",
    "read_plane",
    "read_with_map",
    "relief_from_map",
    "relief_from_mask",
    "relief_from_subject",
    "shoot",
    "weight_of",
    "with_faces",
    "without_bars",
]
