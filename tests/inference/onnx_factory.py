"""Tiny ONNX models whose right answers are known by construction.

    depth      how bright a place is, is how near it is
    encoder    a picture is the share of each colour in it; a word is its colour
    listener   each letter of its alphabet is a pure tone
    voice      each letter is spoken as a pure tone

Nothing is trained: the weights are written down here. Start reading at `write_encoder`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper, save_model

OPSET, IR_VERSION = 17, 8
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 50, 220), "yellow": (235, 215, 40),
    "purple": (150, 40, 190), "orange": (240, 130, 20), "white": (245, 245, 245), "black": (10, 10, 10),
}  # fmt: skip
CHINESE: Mapping[str, str] = {
    "红": "red", "绿": "green", "蓝": "blue", "黄": "yellow",
    "紫": "purple", "橙": "orange", "白": "white", "黑": "black",
}  # fmt: skip
SYNONYMS: Mapping[str, str] = {
    "crimson": "red", "forest": "green", "ocean": "blue", "sand": "yellow", "violet": "purple", "sunset": "orange",
    "snow": "white", "night": "black", "海": "blue", "雪": "white", "林": "green", "夜": "black",
}  # fmt: skip

TONES: Mapping[str, float] = {"马": 3600.0, "栏": 4400.0, "山": 5300.0, "水": 6400.0}


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    tensors: Mapping[str, NDArray[Any]],
    **said: str,
) -> ModelProto:
    """A model from its nodes; `said` is its metadata."""
    held = [numpy_helper.from_array(np.asarray(values), name) for name, values in tensors.items()]
    graph = helper.make_graph(list(nodes), "drawn", list(inputs), list(outputs), held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(made, {name: str(value) for name, value in said.items()})
    return made


def takes(name: str, kind: int, *sides: int | str) -> Any:
    return helper.make_tensor_value_info(name, kind, list(sides))


def node(kind: str, inputs: Sequence[str], output: str, **more: Any) -> Any:
    return helper.make_node(kind, list(inputs), [output], **more)


# Depth ----------------------------------------------------------------------------------------------------------------


def write_depth(folder: Path, *, side: int = 56, metric: bool = False) -> Path:
    """A depth model that takes bright for near (or, in metres, for far), on pictures of sides that 14 divides."""
    folder.mkdir(parents=True, exist_ok=True)
    brightness = model(
        [
            node("ReduceMean", ["pixel_values"], "plane", axes=[1], keepdims=0),
            node("Mul", ["plane", "scale"], "scaled"),
            node("Add", ["scaled", "offset"], "predicted_depth"),
        ],
        [takes("pixel_values", FLOAT, 1, 3, "height", "width")],
        [takes("predicted_depth", FLOAT, 1, "height", "width")],
        {"scale": np.float32(7.0), "offset": np.float32(20.0)},
    )
    save_model(brightness, folder / "model.onnx")
    plain = {"do_normalize": False, "size": {"height": side, "width": side}, "keep_aspect_ratio": True}
    (folder / "preprocessor_config.json").write_text(json.dumps({**plain, "ensure_multiple_of": 14, "resample": 3}))
    (folder / "config.json").write_text(
        json.dumps({"model_type": "depth_anything", "depth_estimation_type": "metric" if metric else "relative"})
    )
    return folder


# Encoder --------------------------------------------------------------------------------------------------------------


def write_encoder(folder: Path, *, side: int = 32, split: bool = True) -> Path:
    """An encoder whose two towers agree: both answer with one number a colour."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [*COLOURS, *CHINESE, *SYNONYMS]
    vision, text = _vision(), _text(len(words) + 2, words)
    if split:
        (folder / "onnx").mkdir(exist_ok=True)
        save_model(vision, folder / "onnx" / "vision_model.onnx")
        save_model(text, folder / "onnx" / "text_model.onnx")
    else:
        save_model(_joined(vision, text), folder / "model.onnx")
    write_tokenizer(folder, words)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "clip", "text_config": {"max_position_embeddings": 24}})
    )
    prepared = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}, "resample": 3}
    switches = {"do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True}
    normal = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps({**prepared, **switches, **normal}))
    return folder


def _vision() -> ModelProto:
    """The share of each colour: of every pixel the nearest one, softly, then the mean over all."""
    sharp = 6.0
    seen = (np.array(list(COLOURS.values()), np.float32) / 255 - 0.5) / 0.25  # as pictures arrive, normalised
    weight = (2 * sharp * seen)[:, :, None, None].astype(np.float32)
    bias = (-sharp * (seen**2).sum(1)).astype(np.float32)
    return model(
        [
            node("Conv", ["pixel_values", "weight", "bias"], "nearness"),
            node("Softmax", ["nearness"], "shares", axis=1),
            node("ReduceMean", ["shares"], "image_embeds", axes=[2, 3], keepdims=0),
        ],
        [takes("pixel_values", FLOAT, "batch", 3, "height", "width")],
        [takes("image_embeds", FLOAT, "batch", len(COLOURS))],
        {"weight": weight, "bias": bias},
    )


def _text(count: int, words: Sequence[str]) -> ModelProto:
    """The sum of what the words of a text mean."""
    order = list(COLOURS)
    table = np.full((count, len(order)), 1e-3, np.float32)
    for place, word in enumerate(words, 2):
        colour = CHINESE.get(word) or SYNONYMS.get(word) or word
        table[place, order.index(colour)] = 1.0
    return model(
        [
            node("Gather", ["table", "input_ids"], "each"),
            node("Cast", ["attention_mask"], "mask", to=FLOAT),
            node("Unsqueeze", ["mask", "last"], "masks"),
            node("Mul", ["each", "masks"], "counted"),
            node("ReduceSum", ["counted", "middle"], "text_embeds", keepdims=0),
        ],
        [takes("input_ids", INT64, "batch", "tokens"), takes("attention_mask", INT64, "batch", "tokens")],
        [takes("text_embeds", FLOAT, "batch", len(order))],
        {"table": table, "last": np.array([2], np.int64), "middle": np.array([1], np.int64)},
    )


def _joined(vision: ModelProto, text: ModelProto) -> ModelProto:
    """Both towers in one file."""
    graph = helper.make_graph(
        [*vision.graph.node, *text.graph.node], "drawn", [*vision.graph.input, *text.graph.input],
        [*vision.graph.output, *text.graph.output], [*vision.graph.initializer, *text.graph.initializer],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def write_tokenizer(folder: Path, words: Sequence[str]) -> None:
    """Words as they stand, Chinese by the character."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import BertPreTokenizer, Split
    from tokenizers.pre_tokenizers import Sequence as InTurn

    made = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, **{word: n for n, word in enumerate(words, 2)}}, "[UNK]"))
    made.normalizer = Lowercase()
    made.pre_tokenizer = InTurn([BertPreTokenizer(), Split(Regex(r"[\u4e00-\u9fff]"), "isolated")])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]", "model_max_length": 24}))


def coloured(*names: str, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of equal stripes of these colours."""
    picture = np.zeros((*size, 3), np.uint8)
    edges = np.linspace(0, size[1], len(names) + 1).astype(int)
    for name, begin, end in zip(names, edges, edges[1:], strict=False):
        picture[:, begin:end] = COLOURS[name]
    return picture


# Listener -------------------------------------------------------------------------------------------------------------

RATE_HZ = 16_000
MEL_BINS, SUBSAMPLING = 80, 4


def write_listener(folder: Path, *, english: bool = False) -> Path:
    """A CTC recogniser of drawn tones: each letter is one tone, all else is blank."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(ENGLISH_TONES if english else TONES)
    weight = np.zeros((MEL_BINS, len(names) + 1), np.float32)
    bias = np.zeros(len(names) + 1, np.float32)
    for place, hz in enumerate((ENGLISH_TONES if english else TONES).values(), 1):
        weight[mel_bin(hz), place] = 4.0
        bias[place] = -4.0 * LOUD
    heard = model(
        [
            node("Transpose", ["x"], "bands", perm=[0, 2, 1]),
            node("AveragePool", ["bands"], "pooled", kernel_shape=[SUBSAMPLING], strides=[SUBSAMPLING]),
            node("Transpose", ["pooled"], "steps", perm=[0, 2, 1]),
            node("MatMul", ["steps", "weight"], "scores"),
            node("Add", ["scores", "bias"], "moved"),
            node("LogSoftmax", ["moved"], "log_probs", axis=2),
            node("Div", ["x_lens", "four"], "log_probs_len"),
        ],
        [takes("x", FLOAT, "N", "T", MEL_BINS), takes("x_lens", INT64, "N")],
        [takes("log_probs", FLOAT, "N", "T2", len(names) + 1), takes("log_probs_len", INT64, "N")],
        {"weight": weight, "bias": bias, "four": np.array([SUBSAMPLING], np.int64)},
        model_type="zipformer2_ctc", version="1", model_author="malan", comment="drawn",
    )  # fmt: skip
    save_model(heard, folder / "model.onnx")
    lines = ["<blk> 0", *(f"{name} {place}" for place, name in enumerate(names, 1))]
    (folder / "tokens.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


ENGLISH_TONES: Mapping[str, float] = {"▁HEL": 3600.0, "LO": 4400.0, "▁THE": 5300.0, "RE": 6400.0}
LOUD = 3.0  # energy of a tone's band, as its logarithm, above which it is heard


def mel_bin(hz: float, low: float = 20.0, high: float = 7600.0) -> int:
    """The band of a filter bank (Kaldi's) whose middle is nearest to a tone."""
    edges = np.linspace(_mel(low), _mel(high), MEL_BINS + 2)
    return int(np.argmin(np.abs(edges[1:-1] - _mel(hz))))


def _mel(hz: float) -> float:
    return 1127.0 * float(np.log(1 + hz / 700))


def tones(text: Sequence[str], *, each_s: float = 0.3, pause_s: float = 0.1, level: float = 0.2) -> NDArray[np.float32]:
    """The sound of letters at 16 kHz, a pause before each and after the last."""
    every = {**TONES, **ENGLISH_TONES}
    pause = np.zeros(round(pause_s * RATE_HZ), np.float32)
    times = np.arange(round(each_s * RATE_HZ)) / RATE_HZ
    parts: list[NDArray[np.float32]] = []
    for letter in text:
        parts += [pause, (level * np.sin(2 * np.pi * every[letter] * times)).astype(np.float32)]
    return np.concatenate([*parts, pause])


# Voice ----------------------------------------------------------------------------------------------------------------

VOICE_RATE_HZ, LETTER_SAMPLES = 16_000, 1600


def write_voice(folder: Path) -> Path:
    """A voice whose letters are tones: `a` 500 Hz and each next one 100 Hz higher; 马 栏 山 水 from 1,500 Hz on."""
    folder.mkdir(parents=True, exist_ok=True)
    hz = {" ": 0.0, "_": 0.0, **VOICE_TONES}
    table = np.array([*hz.values()], np.float32) * np.float32(2 * np.pi / VOICE_RATE_HZ)
    spoken = model(
        [
            node("Gather", ["table", "input"], "turns"),  # (1, L)
            node("Transpose", ["turns"], "column", perm=[1, 0]),
            node("Slice", ["scales", "one", "two"], "longer"),
            node("Mul", ["longer", "length"], "wished"),
            node("Cast", ["wished"], "count", to=INT64),
            node("Squeeze", ["count"], "counted"),
            node("Range", ["zero", "counted", "step"], "ticks"),
            node("Cast", ["ticks"], "times", to=FLOAT),
            node("Mul", ["column", "times"], "angles"),
            node("Sin", ["angles"], "waves"),
            node("Mul", ["waves", "half"], "quiet"),
            node("Reshape", ["quiet", "shape"], "output"),
        ],
        [takes("input", INT64, 1, "L"), takes("input_lengths", INT64, 1), takes("scales", FLOAT, 3)],
        [takes("output", FLOAT, 1, 1, "N")],
        {
            "table": table, "one": np.array([1], np.int64), "two": np.array([2], np.int64),
            "length": np.float32(LETTER_SAMPLES), "zero": np.int64(0), "step": np.int64(1), "half": np.float32(0.5),
            "shape": np.array([1, 1, -1], np.int64),
        },
        model_type="vits", comment="coqui", language="Chinese", frontend="characters", sample_rate=str(VOICE_RATE_HZ),
        n_speakers="1", add_blank="0", blank_id="1", bos_id="1", eos_id="1", use_eos_bos="0", pad_id="1", voice="",
        punctuation="",
    )  # fmt: skip
    save_model(spoken, folder / "model.onnx")
    (folder / "tokens.txt").write_text("".join(f"{name} {n}\n" for n, name in enumerate(hz)), "utf-8")
    return folder


VOICE_TONES: Mapping[str, float] = {
    **{chr(ord("a") + n): 500.0 + 100 * n for n in range(8)},
    **{letter: 1500.0 + 200 * n for n, letter in enumerate("马栏山水")},
}
