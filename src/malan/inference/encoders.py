"""Texts and pictures in one space: encoders of the CLIP kind, as ONNX.

    config.json, preprocessor_config.json, tokenizer.json,
    text_model.onnx + vision_model.onnx, or model.onnx with both towers (also below onnx/)

Pictures are prepared as the model's files say, texts by its own tokenizer. What the towers answer is brought to length
1, so that likeness is a product. Start reading at `OnnxEncoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malan.core.errors import MissingExtra, Rejected, UsageError
from malan.inference.backends import Kind
from malan.inference.depth import files_below, one_of
from malan.inference.onnx_guard import open_session, run_session
from malan.inference.opening import Opening
from malan.inference.picture_prep import read_preparation, read_words

_BOTH = ("model.onnx", "onnx/model.onnx")
_TEXT = ("text_model.onnx", "onnx/text_model.onnx", *_BOTH)
_VISION = ("vision_model.onnx", "onnx/vision_model.onnx", *_BOTH)
_TEXT_OUT = ("text_embeds", "text_embeddings", "sentence_embedding", "pooler_output")
_VISION_OUT = ("image_embeds", "image_embeddings", "pooler_output")
_AT_ONCE = 16  # pictures or texts in one run: bounds its memory
_LONGEST_TEXT, _MOST_TOKENS = 4000, 512
_PADDED_ALWAYS = ("siglip",)  # trained on texts of full length only

Float32 = NDArray[np.float32]


class OnnxEncoder:
    """An encoder that stands ready.

    Args:
        files: Of the model, by their names in its folder; or the folder itself.
        threads: Inside one run; 0: as many as there are cores.
        device: `cpu`, or `cuda:0` where a runtime for it is installed.

    Raises:
        NotFound: A tower, the tokenizer or a configuration is missing.
        Rejected: A file is damaged or foreign.
        MissingExtra: The reader of tokenizers is not installed.
    """

    kind: Kind = "encoder"

    def __init__(self, files: Mapping[str, Path] | Path, *, threads: int = 0, device: str = "cpu") -> None:
        held = files_below(files) if isinstance(files, Path) else files
        text, vision = one_of(held, _TEXT), one_of(held, _VISION)
        self._prepare = read_preparation(held)
        self._words = _Words(held)
        self._text = open_session(text, threads=threads, device=device)
        self._vision = self._text if vision == text else open_session(vision, threads=threads, device=device)
        self._side = self._prepare.crop or self._prepare.target(64, 64)
        self._width = int(self.encode_texts(["a"]).shape[1])
        seen = int(self.encode_pictures(np.zeros((1, 8, 8, 3), np.uint8)).shape[1])
        if seen != self._width:
            raise Rejected("encoder.towers", text=self._width, picture=seen)

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return self._width

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """(N, D), each of length 1. What is longer than the model can read is cut.

        Raises:
            UsageError: A text is empty.
        """
        if not all(text.strip() for text in texts):
            raise UsageError("encoder.empty_text")
        return self._in_parts(texts, self._texts)

    def encode_pictures(self, pictures_NHWC: NDArray[np.uint8]) -> Float32:
        """(N, D), each of length 1; pictures of any size.

        Raises:
            UsageError: They are no RGB pictures.
        """
        if pictures_NHWC.ndim != 4 or pictures_NHWC.shape[3] != 3 or 0 in pictures_NHWC.shape[1:3]:
            raise UsageError("encoder.no_picture", shape=str(pictures_NHWC.shape))
        return self._in_parts(pictures_NHWC, self._pictures)

    def close(self) -> None:
        """Give the memory back. May be called twice."""
        self._text = self._vision = None

    def _in_parts(self, given: Any, work: Any) -> Float32:
        parts = [work(given[at : at + _AT_ONCE]) for at in range(0, len(given), _AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros((0, self._width), np.float32)

    def _texts(self, texts: Sequence[str]) -> Float32:
        ids, mask = self._words.of(texts)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return _units(self._run(self._text, given, _TEXT_OUT))

    def _pictures(self, pictures_NHWC: NDArray[np.uint8]) -> Float32:
        made = np.stack([self._prepare.apply(picture) for picture in pictures_NHWC])
        return _units(self._run(self._vision, {"pixel_values": made}, _VISION_OUT))

    def _run(self, session: Any, given: dict[str, NDArray[Any]], outputs: tuple[str, ...]) -> NDArray[Any]:
        """Run one tower; a file that holds both gets something for the other to look at."""
        known = {one.name for one in session.get_outputs()}
        wanted = next((name for name in outputs if name in known), None)
        if wanted is None:
            raise Rejected("encoder.no_output", found=", ".join(sorted(known))[:120], wanted=", ".join(outputs))
        fed = {}
        for one in session.get_inputs():
            kind = _NUMPY.get(one.type)
            values = given[one.name] if one.name in given else self._idle(one.name)
            if kind is None or values is None:
                raise Rejected("encoder.bad_input", name=one.name, type=one.type)
            fed[one.name] = values.astype(kind, copy=False)
        return np.asarray(run_session(session, [wanted], fed)[0], np.float32)

    def _idle(self, name: str) -> NDArray[Any] | None:
        """What the tower that is not asked is given."""
        if name == "pixel_values":
            return np.zeros((1, 3, *self._side), np.float32)
        return np.ones((1, 2), np.int64) if name in ("input_ids", "attention_mask", "token_type_ids") else None


_NUMPY: Mapping[str, Any] = {
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}  # fmt: skip


def open_encoder(opening: Opening) -> OnnxEncoder:
    """The backend `onnx`, kind encoder."""
    return OnnxEncoder(opening.files, device=opening.processor)


class _Words:
    """Texts as numbers, by the model's own `tokenizer.json`."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        path = one_of(files, ("tokenizer.json",))
        if find_spec("tokenizers") is None:
            raise MissingExtra("extra.missing", extra="meaning")
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the wheel raises Exception itself
            raise Rejected("encoder.bad_config", name=path.name, detail=str(error)[:120]) from error
        config, said = (read_words(files[n]) if n in files else {} for n in ("config.json", "tokenizer_config.json"))
        length = _longest(config, said)
        self._tokenizer.enable_truncation(length)
        always = str(config.get("model_type", "")).startswith(_PADDED_ALWAYS)
        pad = said.get("pad_token")
        pad = pad.get("content") if isinstance(pad, dict) else pad
        number = self._tokenizer.token_to_id(pad) if isinstance(pad, str) else None
        self._tokenizer.enable_padding(pad_id=number or 0, pad_token=pad or "[PAD]", length=length if always else None)

    def of(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(N, tokens) and which of them count."""
        read = self._tokenizer.encode_batch([text[:_LONGEST_TEXT] for text in texts])
        ids = np.array([one.ids for one in read], np.int64)
        return ids, np.array([one.attention_mask for one in read], np.int64)


def _longest(config: Mapping[str, Any], said: Mapping[str, Any]) -> int:
    """Tokens a text may have: as many as there are positions."""
    inner = config.get("text_config")
    told = [inner.get("max_position_embeddings") if isinstance(inner, dict) else None, said.get("model_max_length")]
    numbers = [int(one) for one in told if isinstance(one, int | float) and 0 < one < 10**6]
    return min([*numbers, _MOST_TOKENS])


def _units(vectors_ND: NDArray[Any]) -> Float32:
    """Each at length 1.

    Raises:
        Rejected: They are no vectors.
    """
    if vectors_ND.ndim != 2 or not np.isfinite(vectors_ND).all():
        raise Rejected("onnx.failed", detail=f"{vectors_ND.shape}")
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return np.asarray(vectors_ND / np.maximum(lengths, 1e-12), np.float32)
