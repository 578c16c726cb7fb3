"""Music by a model: notes of a music-lm of the registry, played as a composer's are, or the sound of an engine.

Start reading at `written_by_model` and `played_by_engine`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from malan.composing.plan import Plan
from malan.composing.score import QUARTER, Note, Part, Score, Span
from malan.composing.theory import Key
from malan.core.errors import NotFound, Rejected
from malan.inference.music_lm import DRUMS, DrawnNote, MusicModel
from malan.inference.music_lm import QUARTER as DRAWN_QUARTER
from malan.media.mastering import RATE_HZ, Sound, faded

if TYPE_CHECKING:
    from malan.apps.frame import Work
    from malan.services.models.rows import ModelRow

_RING_S, _FADE_S = 2.0, 1.5
_BPM = 100.0
_PANS = (0.0, -0.3, 0.3, -0.15, 0.2, -0.45, 0.45)
_FAMILY = "music-lm"


def find_music_model(work: Work, name: str) -> ModelRow | None:
    """A music-lm of the registry by this name; None where `models.toml` has an engine of that name.

    Raises:
        NotFound: Neither has it.
        Rejected: A model of this name writes no music.
        NotGranted: It may not be used so.
    """
    from malan.services.engines.settings import read_engines
    from malan.services.models.registry import get_model
    from malan.services.models.rights import require_model_use

    if name in read_engines(work.library).engines:
        return None
    row = get_model(work.library, name, caller=work.caller)
    if row.run.get("algorithm") != _FAMILY:
        raise Rejected("music.wrong_model", model=row.title)
    require_model_use(work.library, row, "apply", caller=work.caller)
    return row


def written_by_model(work: Work, row: ModelRow, plan: Plan) -> Score:
    """A score by a model: as long as the plan, in its tempo, each group of instruments a part.

    Raises:
        NotFound: It wrote nothing.
        Rejected: Its weights are no music-lm.
    """
    from malan.inference.tensors import parse_tensors
    from malan.services.models.registry import weights_bytes

    tensors = parse_tensors(weights_bytes(work.library, row)).tensors
    weights = {one.name: np.asarray(one.values(), np.float32) for one in tensors.values()}
    heads = int(row.run.get("parameters", {}).get("heads", 4))
    quarters = (plan.seconds - _RING_S) * plan.bpm / 60
    notes = MusicModel(weights, heads).compose(quarters, plan.seed, stop=work.stop_if_asked)
    if not notes:
        raise NotFound("music.nothing_written", model=row.title)
    return _score(plan, notes, row.title)


def _score(plan: Plan, drawn: list[DrawnNote], title: str) -> Score:
    end = round(plan.seconds * plan.bpm / 60 * QUARTER)
    groups: dict[int, list[Note]] = defaultdict(list)
    for note in drawn:
        start = note.start * QUARTER // DRAWN_QUARTER
        length = min(note.length * QUARTER // DRAWN_QUARTER, end - start)
        if length > 0:
            groups[note.group].append(Note(start, length, note.pitch, 84))
    parts = tuple(_part(number, group, notes) for number, (group, notes) in enumerate(sorted(groups.items())))
    return Score(
        title=title, style="model", seed=plan.seed, seconds=plan.seconds, key=Key(0, "major"), bpm=plan.bpm, beats=4,
        tempos=plan.tempos, form=(Span("model", 0, round(end - _RING_S * plan.bpm / 60 * QUARTER), 0.7),), harmony=(),
        parts=parts, end=end, tags=plan.wishes.tags, room_s=1.6,
    )  # fmt: skip


def _part(number: int, group: int, notes: list[Note]) -> Part:
    is_drums = group == DRUMS
    name, role = ("drums", "drums") if is_drums else (f"instruments {group * 8}", "hits")
    return Part(
        name, role, 0 if is_drums else group * 8, tuple(sorted(notes)), 0, 127,
        _PANS[number % len(_PANS)], -23.0, 0.2, is_drums=is_drums,
    )  # fmt: skip


def played_by_engine(work: Work, name: str, prompt: str, seconds: float, seed: int) -> Sound:
    """The sound of an engine, two channels at 48 kHz, exactly so long.

    Raises:
        NotFound, UsageError, NotGranted, MissingExtra: As `open_engine` says.
    """
    from malan.inference.backends import MusicAsk, Musician
    from malan.services.engines.opening import open_engine

    ask, stop = MusicAsk(prompt, seconds, seed), work.stop_if_asked
    with open_engine(work.library, name, "music", caller=work.caller, stop=stop, amount=ask.amount) as engine:
        musician: Musician = engine  # type: ignore[assignment]  # its kind says so
        sound = musician.play(ask, stop=stop)
    return fitted(sound.samples_NC, sound.rate_hz, seconds)


def fitted(samples_NC: Sound, rate_hz: int, seconds: float) -> Sound:
    """Two channels at 48 kHz, cut or filled with silence to a length, with an end that fades."""
    two = np.repeat(samples_NC, 2, axis=1) if samples_NC.shape[1] == 1 else samples_NC[:, :2]
    count, made = round(seconds * RATE_HZ), resampled(np.ascontiguousarray(two, np.float32), rate_hz)
    ended = faded(made[:count], _FADE_S)
    return np.pad(ended, ((0, count - len(ended)), (0, 0)))


def resampled(samples: Sound, rate_hz: int) -> Sound:
    """The same at 48 kHz, through libswresample."""
    if rate_hz == RATE_HZ:
        return samples
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout="stereo")
    frame.sample_rate = rate_hz
    resampler = av.AudioResampler("fltp", "stereo", RATE_HZ)
    pieces = [piece.to_ndarray() for given in (frame, None) for piece in resampler.resample(given)]
    return np.ascontiguousarray(np.concatenate(pieces, axis=1).T)
