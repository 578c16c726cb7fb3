"""Captions spoken by a voice of `models.toml`, each when it stands in the picture; the film then carries the AI label.

Start reading at `with_voice`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from malan.apps.frame import Work
from malan.apps.promo.board import Storyboard
from malan.apps.promo.build import lay
from malan.apps.promo.request import PromoRequest
from malan.core.catalogue import entry
from malan.core.errors import UsageError

if TYPE_CHECKING:
    from malan.services.outputs.publish import AiPart

VOICE = "voice.wav"
_LATE_S = 0.3


def with_voice(board: Storyboard, request: PromoRequest, work: Work) -> tuple[Storyboard, AiPart | None]:
    """The storyboard with its captions spoken, where a speaker was asked for.

    Raises:
        UsageError: There is nothing to say, or a recorded voice as well.
        NotGranted: The licence of the model forbids it.
    """
    if not request.speaker:
        return board, None
    from malan.services.engines.voice import speak_script

    lines = lay(board, request.script, work).captions
    if board.voice or not lines:
        raise UsageError("promo.speaker_alone" if board.voice else "promo.speaker_silent")
    said = speak_script(
        work.library, [line.text for line in lines], work.out / VOICE, starts_s=[float(line.begin) for line in lines],
        engine=request.speaker, voice=request.speaker_voice, language=board.language, caller=work.caller,
        stop=work.stop_if_asked,
    )  # fmt: skip
    late = [one for one in said.lines if one.late_s > _LATE_S]
    notes = [_note(board, "promo.late", text=one.text[:20], seconds=one.late_s) for one in late]
    if said.unspoken:
        notes.append(_note(board, "promo.unspoken", words=", ".join(said.unspoken[:8])))
    changed = {"voice": str(said.path), "is_spoken": True, "notes": (*board.notes, *notes)}
    return board.model_copy(update=changed), said.ai


def _note(board: Storyboard, code: str, **values: object) -> str:
    return entry(code).text(board.language, values)
