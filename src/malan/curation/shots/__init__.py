"""Shot detection from the packet index: packets and key frames propose, short decodes decide.

Start at `detect_shots`.
"""

from malan.curation.shots.detect import detect_shots
from malan.curation.shots.report import Shot, ShotReport, Transition

__all__ = ["Shot", "ShotReport", "Transition", "detect_shots"]
