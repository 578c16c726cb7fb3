"""Renders a timeline: pieces of footage, cropped, joined, captioned, mixed, in several formats from one decode.

    Timeline ─ mix_sound ─▶ one WAV at its loudness ─┐
             ─ render ─▶ one ffmpeg process ─────────┴▶ a film a format; pieces that were rendered before are copied

Start reading at `timeline.py`, then `films.py`.
"""

from malan.media.render.films import Rendered, render
from malan.media.render.sound import Mixed, Music, mix_sound
from malan.media.render.timeline import Cover, Format, Key, Piece, Timeline, View
from malan.media.render.tone import is_hdr, matrix_of, primaries_of

__all__ = [
    "Cover",
    "Format",
    "Key",
    "Mixed",
    "Music",
    "Piece",
    "Rendered",
    "Timeline",
    "View",
    "is_hdr",
    "matrix_of",
    "mix_sound",
    "primaries_of",
    "render",
]
