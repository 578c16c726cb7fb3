"""Promo: from words to a 30-second film in every format, from footage whose owners allow it.

    query ─ choose ─▶ storyboard (edit it) ─ frame, write, mix ─▶ films, covers, subtitles, timelines

Start reading at `app.py`.
"""

from malan.apps.promo.app import APP

__all__ = ["APP"]
