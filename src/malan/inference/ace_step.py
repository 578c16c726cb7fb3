"""ACE-Step as an engine: tags, words to be sung and a length to music, by its pipeline in diffusers.

Same ask, same device, same samples. What it makes is cut to the length that was asked for. Needs the extra `train`.
Start reading at `open_ace_step`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from malan.core.errors import Rejected, UsageError
from malan.inference.backends import Engine, Kind, MusicAsk, Sound, Stop, Tell, go_on, say_nothing
from malan.inference.diffusion import LAST_SEED, MOST_PROMPT, MOST_STEPS, Pipeline, family_of
from malan.inference.diffusion_parts import check_options, library, load_pipeline, read_index
from malan.inference.opening import Opening

LONGEST_S = 600.0
_EXTRA: dict[str, tuple[str, Any]] = {
    "tempo": ("bpm", lambda value: isinstance(value, int) and 20 <= value <= 400),
    "key": ("keyscale", lambda value: isinstance(value, str) and 0 < len(value) <= 40),
    "beats": ("timesignature", lambda value: isinstance(value, str) and value.isdecimal() and len(value) <= 2),
    "language": ("vocal_language", lambda value: isinstance(value, str) and value.isalpha() and len(value) <= 8),
    "steps": ("num_inference_steps", lambda value: isinstance(value, int) and 1 <= value <= MOST_STEPS),
    "guidance": ("guidance_scale", lambda value: isinstance(value, int | float) and 0 <= value <= 100),
}
"""What `MusicAsk.extra` may say: its name here → that of the pipeline, and whether a value fits."""


def open_ace_step(opening: Opening) -> Engine:
    """The pipeline of a base, loaded.

    Raises:
        MalanError: See `open_diffusion`.
    """
    check_options(opening)
    index = read_index(opening)
    family = family_of(opening, str(index["_class_name"]))
    pipeline = load_pipeline(opening, index, getattr(library("diffusers"), index["_class_name"]))
    return AceStepMusician(pipeline, family, opening)


class AceStepMusician(Pipeline):
    """A `Musician`."""

    @property
    def kind(self) -> Kind:
        return "music"

    def play(self, ask: MusicAsk, *, tell: Tell = say_nothing, stop: Stop = go_on) -> Sound:
        """Music of exactly the length asked for, at the rate of the model, stereo where it is.

        Args:
            ask: `extra` may say tempo (beats a minute), key ("C major"), beats ("4"), language ("zh"), steps, guidance.
            tell: Told each step.
            stop: Asked after each step.

        Raises:
            UsageError: An ask that means nothing to it.
            RetryLater: Too little memory at the moment.
        """
        pipe = self._ready()
        call = self._call(ask)
        made = self._run(pipe, call | {"generator": self._noise(ask.seed), "output_type": "np"}, tell, stop)
        samples_NC = np.asarray(made.audios[0], np.float32).T
        if not np.isfinite(samples_NC).all():
            raise Rejected("engines.no_numbers", name=self._opening.name)
        rate = int(pipe.sample_rate)
        return Sound(np.ascontiguousarray(samples_NC[: round(ask.seconds * rate)]), rate)

    def _call(self, ask: MusicAsk) -> dict[str, Any]:
        wrong = {
            "prompt": not ask.prompt.strip() or len(ask.prompt) > MOST_PROMPT,
            "lyrics": len(ask.lyrics) > MOST_PROMPT,
            "seconds": not 0.1 <= ask.seconds <= LONGEST_S,
            "seed": not 0 <= ask.seed < LAST_SEED,
        }
        wrong |= {
            name: name not in _EXTRA or isinstance(value, bool) or not _EXTRA[name][1](value)
            for name, value in ask.extra.items()
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise UsageError("engines.bad_ask", name=self._opening.name, field=str(name)[:40])
        self._check_words(ask.prompt)
        more = {_EXTRA[name][0]: value for name, value in ask.extra.items()}
        # a frame of latents more than needed: the length asked for is cut from it
        longer = math.ceil(ask.seconds * self._ready().latents_per_second + 1) / self._ready().latents_per_second
        return {"prompt": ask.prompt, "lyrics": ask.lyrics, "audio_duration": longer, **more}
