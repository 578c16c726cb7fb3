"""Music from tags: composed by rules or written by a model, played, mastered, labelled; exactly as long as asked.

    tags ─ plan ─▶ score ─ play, mix, master ─▶ WAV, M4A, MP3 · MIDI · stems · score.json

Start reading at `app.py`. Music under a film in one call: `bed.py`.
"""

from malan.apps.music.app import APP

__all__ = ["APP"]
