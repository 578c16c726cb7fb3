"""Picture to video: a photograph, or a frame of the library, set in motion.

    picture ─ relief: map, mask, depth model, or found in it ─▶ a move through it ─▶ films, labelled
        └─ diffuse: picture, prompt ─▶ image-to-video model ─▶ films, labelled

Start reading at `app.py`.
"""

from malan.apps.picture.app import APP

__all__ = ["APP"]
