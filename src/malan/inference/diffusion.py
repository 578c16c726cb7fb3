"""Diffusion pipelines as engines: text, or text and a picture, to film; text to picture; sub-models per request.

    VideoAsk ─ checked, rounded to what the family can make ─▶ sub-models attached ─▶ steps, told and stoppable ─▶ Film

Same ask, same device, same bytes: noise is drawn on the processor from the seed. Needs the extra `train`. Start reading
at `open_diffusion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import Rejected, RetryLater, UsageError
from malan.inference.backends import Engine, Film, ImageAsk, Kind, Stop, Tell, VideoAsk, go_on, say_nothing
from malan.inference.diffusion_adapters import Attached, check_weights
from malan.inference.diffusion_families import FAMILIES, MOST_PIXELS, MOST_SIDE_PX, Family
from malan.inference.diffusion_parts import check_options, let_go, library, load_pipeline, read_index
from malan.inference.opening import Opening

MOST_PROMPT = 20_000  # characters; how many of its words are read is asked of the model
MOST_STEPS, MOST_GUIDANCE, MOST_PICTURES = 1000, 100.0, 16
LAST_SEED = 2**63 - MOST_PICTURES


def open_diffusion(opening: Opening) -> Engine:
    """The pipeline of a base, loaded.

    Raises:
        ModuleNotFoundError: The libraries are not installed.
        Rejected: It is no pipeline of a known family, brings code, or lacks weights.
        UsageError: Options that mean nothing, or an engine of another kind than the pipeline.
    """
    check_options(opening)
    diffusers = library("diffusers")
    index = read_index(opening)
    family = family_of(opening, str(index["_class_name"]))
    pipeline = load_pipeline(opening, index, getattr(diffusers, index["_class_name"]))
    return (DiffusionFilmer if family.kind == "video" else DiffusionPainter)(pipeline, family, opening)


def family_of(opening: Opening, name: str) -> Family:
    """The family of a base by the class it was saved as.

    Raises:
        Rejected: None that is known, or another than it was registered as.
        UsageError: It makes pictures where films were asked for, or the other way round.
    """
    family = FAMILIES.get(name)
    if family is None:
        raise Rejected("engines.unknown_family", name=opening.name, found=name[:60], known=", ".join(FAMILIES))
    if opening.family and opening.family != family.family:
        raise Rejected("engines.other_family", name=opening.name, found=family.family, said=opening.family)
    if opening.kind != family.kind:
        raise UsageError("engines.not_its_kind", name=opening.name, backend=name, kind=opening.kind, known=family.kind)
    return family


class Pipeline:
    """What films, pictures and music by diffusion share."""

    def __init__(self, pipeline: Any, family: Family, opening: Opening) -> None:
        self._pipe, self._family, self._opening = pipeline, family, opening
        self._attached = Attached(pipeline, opening.find_adapter)
        self._tokens = int(opening.options.get("prompt_tokens") or family.tokens(pipeline))
        self._most_pixels = int(opening.options.get("most_pixels") or MOST_PIXELS)
        self._grid = family.grid(pipeline)

    @property
    def pipeline(self) -> Any:
        """The pipeline itself, for comparisons."""
        return self._pipe

    def close(self) -> None:
        """Give back memory and device. May be called twice."""
        if self._pipe is not None:
            self._pipe = None
            self._attached = Attached(None, self._opening.find_adapter)
            let_go()

    def _ready(self) -> Any:
        if self._pipe is None:
            raise UsageError("engines.closed", name=self._opening.name)
        return self._pipe

    def _check(self, ask: VideoAsk | ImageAsk, frames: int) -> tuple[int, int]:
        """What can be refused before anything is computed; the size that will be made."""
        wrong = {
            "prompt": not ask.prompt.strip() or len(ask.prompt) > MOST_PROMPT or len(ask.negative) > MOST_PROMPT,
            "width": not 0 < ask.width <= MOST_SIDE_PX,
            "height": not 0 < ask.height <= MOST_SIDE_PX,
            "frames": frames < 1,
            "seed": not 0 <= ask.seed < LAST_SEED,
            "steps": not 0 <= ask.steps <= MOST_STEPS,
            "guidance": ask.guidance is not None and not 0 <= ask.guidance <= MOST_GUIDANCE,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                raise UsageError("engines.bad_ask", name=self._opening.name, field=name)
        check_weights(ask.adapters)
        width, height = self._grid.size(ask.width, ask.height)
        if width * height * frames > self._most_pixels:
            raise UsageError(
                "engines.too_large", name=self._opening.name, size=f"{width}×{height}×{frames}", most=self._most_pixels
            )
        for words in filter(None, (ask.prompt, ask.negative)):
            self._check_words(words)
        return width, height

    def _check_words(self, words: str) -> None:
        """What the text encoder would leave out without a word is refused."""
        count = len(self._ready().tokenizer(words, truncation=False, verbose=False).input_ids)
        if count > self._tokens:
            raise UsageError("engines.long_prompt", name=self._opening.name, tokens=count, most=self._tokens)

    def _asked(self, ask: VideoAsk | ImageAsk, width: int, height: int, rate: float = 0.0) -> dict[str, Any]:
        """What every call takes; what is left to the model is not named."""
        said = {"tokens": self._tokens, "rate": rate, "negative": ask.negative}
        call = {"prompt": ask.prompt, "width": width, "height": height, "output_type": "np"}
        call |= {"negative_prompt": ask.negative} if ask.negative else {}
        call |= {"num_inference_steps": ask.steps} if ask.steps else {}
        call |= {"guidance_scale": ask.guidance} if ask.guidance is not None else {}
        return call | self._family.call(self._ready(), said)

    def _run(self, pipe: Any, call: Mapping[str, Any], tell: Tell, stop: Stop) -> Any:
        """Raises:
        RetryLater: The device has too little memory for it.
        """
        torch = library("torch")

        def after_step(made: Any, step: int, _time: Any, held: dict[str, Any]) -> dict[str, Any]:
            stop()
            tell(step + 1, int(made.num_timesteps))
            return held

        stop()
        try:
            with torch.inference_mode():
                return pipe(**call, callback_on_step_end=after_step)
        except BaseException as error:
            pipe.maybe_free_model_hooks()  # what was brought onto the device for a step goes back
            if not isinstance(error, torch.OutOfMemoryError):
                raise
            let_go()
            raise RetryLater("engines.out_of_memory", name=self._opening.name, device=self._opening.device) from error

    def _noise(self, seed: int) -> Any:
        return library("torch").Generator("cpu").manual_seed(seed)

    def _pictures(self, made: Any) -> NDArray[np.uint8]:
        """Numbers between 0 and 1 as bytes.

        Raises:
            Rejected: They are no numbers: the precision does not suit the model.
        """
        numbers = np.asarray(made, np.float32)
        if not np.isfinite(numbers).all():
            raise Rejected("engines.no_numbers", name=self._opening.name)
        return (numbers * 255).round().clip(0, 255).astype(np.uint8)


class DiffusionFilmer(Pipeline):
    """A `Filmer`."""

    @property
    def kind(self) -> Kind:
        return "video"

    def film(self, ask: VideoAsk, *, tell: Tell = say_nothing, stop: Stop = go_on) -> Film:
        """A film of the nearest size and length the model can make, at the rate it was made for.

        Raises:
            UsageError: An ask that means nothing to it, or a picture missing or too many.
            Rejected: A sub-model does not fit.
            RetryLater: Too little memory at the moment.
        """
        frames = self._grid.frames(min(ask.frames, self._most_pixels))
        width, height = self._check(ask, frames if ask.frames >= 1 else 0)
        rate = float(self._opening.options.get("rate") or self._family.rate(self._ready()) or ask.rate)
        if not 1 <= rate <= 240:
            raise UsageError("engines.bad_ask", name=self._opening.name, field="rate")
        pipe, image = self._with_picture(ask, width, height)
        stop()
        self._attached.only(ask.adapters)
        call = (
            self._asked(ask, width, height, rate) | image | {"num_frames": frames, "generator": self._noise(ask.seed)}
        )
        made = self._run(pipe, call, tell, stop)
        return Film(self._pictures(made.frames[0])[:frames], rate)

    def _with_picture(self, ask: VideoAsk, width: int, height: int) -> tuple[Any, dict[str, Any]]:
        pipe = self._ready()
        if ask.image_HWC is None:
            if self._family.needs_image:
                raise UsageError("engines.needs_image", name=self._opening.name)
            return pipe, {}
        if not (self._family.needs_image or self._family.with_image):
            raise UsageError("engines.no_image", name=self._opening.name)
        if self._family.with_image:
            pipe = getattr(library("diffusers"), self._family.with_image)(**pipe.components)
            pipe.set_progress_bar_config(disable=True)
        return pipe, {"image": fit_picture(ask.image_HWC, width, height)}


class DiffusionPainter(Pipeline):
    """A `Painter`."""

    @property
    def kind(self) -> Kind:
        return "image"

    def paint(self, ask: ImageAsk, *, tell: Tell = say_nothing, stop: Stop = go_on) -> NDArray[np.uint8]:
        """Pictures of the nearest size the model can make; the n-th is that of the seed n further on.

        Raises:
            MalanError: See `DiffusionFilmer.film`.
        """
        if not 1 <= ask.count <= MOST_PICTURES:
            raise UsageError("engines.bad_ask", name=self._opening.name, field="count")
        width, height = self._check(ask, ask.count)
        pipe = self._ready()
        stop()
        self._attached.only(ask.adapters)
        noise = [self._noise(ask.seed + number) for number in range(ask.count)]
        call = self._asked(ask, width, height) | {"num_images_per_prompt": ask.count, "generator": noise}
        return self._pictures(self._run(pipe, call, tell, stop).images)


def fit_picture(image_HWC: NDArray[np.uint8], width: int, height: int) -> Any:
    """A picture of exactly this size: its middle, as large as it fits the shape; never stretched.

    Raises:
        UsageError: It is no picture of three colours.
    """
    from PIL import Image, ImageOps

    if image_HWC.ndim != 3 or image_HWC.shape[2] != 3 or image_HWC.dtype != np.uint8 or not image_HWC.size:
        raise UsageError("engines.bad_picture", shape=str(image_HWC.shape)[:40])
    picture = Image.fromarray(np.ascontiguousarray(image_HWC))
    if picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
