"""A composer: tags become a plan, a plan harmony, voices, melody, bass and rhythm, and those a score.

    tags ─ read_tags ─▶ Wishes ─ make_plan ─▶ Plan ─ compose ─▶ Score ─ check ─▶ violations (none)

Everything is drawn from one seed, so the same wishes give the same score. Nothing is rendered here: a score becomes a
MIDI file by `to_midi`. Start reading at `compose`.
"""

from malan.composing.checker import Violation, check
from malan.composing.compose import compose
from malan.composing.forms import Section
from malan.composing.plan import Plan, make_plan
from malan.composing.score import Note, Part, Score, describe, to_midi
from malan.composing.sound import Rendered, bed, render
from malan.composing.styles import STYLES, Style
from malan.composing.words import Wishes, read_tags

__all__ = [
    "STYLES",
    "Note",
    "Part",
    "Plan",
    "Rendered",
    "Score",
    "Section",
    "Style",
    "Violation",
    "Wishes",
    "bed",
    "check",
    "compose",
    "describe",
    "make_plan",
    "read_tags",
    "render",
    "to_midi",
]
