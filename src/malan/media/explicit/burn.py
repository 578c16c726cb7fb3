"""Give a finished file its explicit label: drawn into film and picture, heard in front of sound. Start at `burn_label`.

First of three steps when something is published: explicit label, implicit label, credential.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from malan.core.errors import StoreError, UsageError
from malan.media.explicit.burn_film import burn_film
from malan.media.explicit.burn_picture import FORMATS as PICTURES
from malan.media.explicit.burn_picture import burn_picture
from malan.media.explicit.burn_sound import FORMATS as SOUNDS
from malan.media.explicit.burn_sound import Notice, burn_sound
from malan.media.explicit.overlay import DEFAULT_S, TEXTS, Corner, Overlay, overlay_for
from malan.media.sniff import shown

FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


def check_extension(out: str | Path) -> None:
    """Refuse a name whose kind of file `burn_label` cannot write, before there is anything to label.

    Raises:
        UsageError: Says which kinds there are.
    """
    allowed = (*FILMS, *PICTURES, *SOUNDS)
    if Path(out).suffix.lower() not in allowed:
        raise UsageError("explicit.bad_extension", path=shown(out), allowed=", ".join(allowed))


@dataclass(frozen=True)
class Burned:
    """What was done. `mode`: `smart` (only the opening encoded anew), `encode` (all of it) or `join` (sound).

    `letters_px` is the height of the smallest letter in the picture; 0 for sound.
    """

    path: Path
    kind: str
    mode: str
    text: str
    seconds: float
    letters_px: int
    frames_encoded: int
    notes: tuple[str, ...] = ()


def burn_label(
    source: str | Path,
    out: str | Path,
    *,
    text: str = TEXTS["zh"],
    corner: Corner = "top-right",
    seconds: Fraction = DEFAULT_S,
    notice: Notice = "rhythm",
) -> Burned:
    """Write a copy that carries the explicit label, and check that it does (GB 45438-2025, 5.2 to 5.4).

    The ending of `out` chooses the container; film stays film, and so on. Film: text in the opening for `seconds`,
    whole groups of pictures behind it copied bit for bit. Picture: text in a corner. Sound: `notice` in front of the
    programme. `out` may be the source itself. Tags of the container may not survive: write the implicit label after.

    Raises:
        UsageError: A kind of file, text, corner, size or duration that will not do.
        MediaError: The source cannot be read, or the label is not there when read back.
        StoreError: It could not be written; nothing is left of it.
    """
    source, out = Path(source), Path(out)
    check_extension(out)
    suffix = out.suffix.lower()
    part = out.with_name(f".malan-{os.getpid()}-{abs(hash(out.name)):x}.part{suffix}")
    overlay_of = partial(overlay_for, text=text, corner=corner, seconds=seconds)
    try:
        done = _burn(source, part, suffix, overlay_of, notice, out)
        part.replace(out)
    except OSError as error:
        raise StoreError("explicit.not_written", path=shown(out), detail=error.strerror or str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return done


def _burn(source: Path, part: Path, suffix: str, overlay_of: partial[Overlay], notice: Notice, out: Path) -> Burned:
    if suffix in FILMS:
        film, label = burn_film(source, part, overlay_of, suffix)
        return Burned(
            out, "film", film.mode, label.text, float(label.seconds), label.letters_px, film.frames_encoded, film.notes
        )
    if suffix in PICTURES:
        label = burn_picture(source, part, overlay_of, suffix)
        return Burned(out, "picture", "encode", label.text, 0.0, label.letters_px, 1)
    sound = burn_sound(source, part, suffix, notice)
    notes = () if sound.is_lossless else ("the programme was encoded anew: its codec loses a little each time",)
    return Burned(out, "sound", "join", sound.notice, sound.seconds, 0, 0, notes)
