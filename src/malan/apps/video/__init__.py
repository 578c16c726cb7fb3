"""Text to video: assembled from cleared footage by default, or made by a video model with a sub-model attached.

Start reading at `app.py`.
"""

from malan.apps.video.app import APP

__all__ = ["APP"]
