"""Texts and pictures meet in one space; pictures are prepared as the model's files say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_factory import COLOURS, coloured, write_depth, write_encoder
from PIL import Image

from malan.core.errors import NotFound, Rejected, UsageError
from malan.inference.depth import OnnxDepth
from malan.inference.encoders import OnnxEncoder
from malan.inference.picture_prep import Preparation, parse_preparation

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OnnxEncoder:
    return OnnxEncoder(write_encoder(tmp_path_factory.mktemp("encoder")), threads=1)


@pytest.mark.parametrize("split", [True, False])
def test_every_word_finds_its_picture_in_both_languages(tmp_path: Path, split: bool) -> None:
    encoder = OnnxEncoder(write_encoder(tmp_path, split=split), threads=1)
    pictures = encoder.encode_pictures(np.stack([coloured(name) for name in COLOURS]))
    for texts in (tuple(COLOURS), tuple("红绿蓝黄紫橙白黑")):
        likeness = encoder.encode_texts(texts) @ pictures.T
        assert likeness.argmax(axis=1).tolist() == list(range(len(COLOURS)))
    assert encoder.width == len(COLOURS)


def test_vectors_have_length_one(encoder: OnnxEncoder) -> None:
    made = [encoder.encode_texts(["red sand", "夜"]), encoder.encode_pictures(np.stack([coloured("red", "blue")]))]
    assert all(np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5) for one in made)


def test_many_pictures_give_what_each_gives_alone(encoder: OnnxEncoder) -> None:
    many = np.stack([coloured(*pair) for pair in [("red", "blue"), ("white", "green")] * 20])
    together = encoder.encode_pictures(many)
    alone = np.concatenate([encoder.encode_pictures(one[None]) for one in many])
    assert np.allclose(together, alone, atol=1e-5)


def test_nothing_encoded_is_nothing(encoder: OnnxEncoder) -> None:
    assert encoder.encode_texts([]).shape == (0, encoder.width)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (33, 57)])
def test_pictures_of_any_size_are_read(encoder: OnnxEncoder, size: tuple[int, int]) -> None:
    found = encoder.encode_pictures(np.full((1, *size, 3), COLOURS["green"], np.uint8))
    assert found[0].argmax() == list(COLOURS).index("green")


def test_a_text_of_a_million_words_is_cut_where_the_model_ends(encoder: OnnxEncoder) -> None:
    assert encoder.encode_texts(["red " * 1_000_000])[0].argmax() == 0


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(encoder: OnnxEncoder, text: str) -> None:
    with pytest.raises(UsageError):
        encoder.encode_texts(["red", text])


def test_what_is_no_picture_is_refused(encoder: OnnxEncoder) -> None:
    with pytest.raises(UsageError):
        encoder.encode_pictures(np.zeros((2, 8, 8, 4), np.uint8))


def test_towers_of_two_models_are_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    depth = write_depth(tmp_path / "depth")
    (folder / "onnx" / "vision_model.onnx").write_bytes((depth / "model.onnx").read_bytes())
    with pytest.raises(Rejected) as refused:
        OnnxEncoder(folder)
    assert refused.value.code == "encoder.no_output"


@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer.json", "onnx/text_model.onnx"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_encoder(tmp_path)
    (folder / name).unlink()
    with pytest.raises(NotFound) as missing:
        OnnxEncoder(folder)
    assert name.rpartition("/")[2] in str(missing.value)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"size": {"height": -4, "width": 9}}', '{"image_std": [0, 1, 1]}', '{"size": 1e99}']
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_encoder(tmp_path)
    (folder / "preprocessor_config.json").write_text(text)
    with pytest.raises(Rejected):
        OnnxEncoder(folder)


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(Rejected):
        OnnxEncoder(folder)


# Preparation


def test_the_middle_of_the_shorter_side_is_seen_as_clip_sees_it() -> None:
    said = {
        "do_resize": True, "size": {"shortest_edge": 224}, "resample": 3, "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    }  # fmt: skip
    picture = np.random.default_rng(3).integers(0, 256, (180, 320, 3), np.uint8)
    image = Image.fromarray(picture).resize((398, 224), Image.Resampling.BICUBIC)
    middle = np.asarray(image, np.float64)[:, 87:311] / 255
    wanted = (middle - said["image_mean"]) / said["image_std"]  # type: ignore[operator]
    assert np.allclose(parse_preparation(said).apply(picture), wanted.transpose(2, 0, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("picture", "made"),
    [((480, 640), (518, 686)), ((3000, 4000), (518, 686)), ((640, 480), (686, 518)), ((518, 518), (518, 518))],
)
def test_depth_sees_sides_that_fourteen_divides(picture: tuple[int, int], made: tuple[int, int]) -> None:
    kept = Preparation((518, 518), keeps_shape=True, multiple=14)
    assert kept.target(*picture) == made


def test_a_sliver_of_a_picture_stays_within_bounds() -> None:
    kept = Preparation((518, 518), keeps_shape=True, multiple=14)
    for sides in ((1, 20_000), (20_000, 1), (1, 1)):
        tall, wide = kept.target(*sides)
        assert tall % 14 == wide % 14 == 0
        assert 14 <= min(tall, wide) <= max(tall, wide) <= 3 * 518


# Depth


def test_what_is_bright_is_near_and_fills_zero_to_one(tmp_path: Path) -> None:
    picture = np.zeros((90, 121, 3), np.uint8)
    picture[:, 60:] = 200
    found = OnnxDepth(write_depth(tmp_path)).depth(picture)
    assert found.shape == (90, 121)
    assert found[:, :50].max() < 0.02
    assert found[:, 75:].min() > 0.95
    assert (found.min(), found.max()) == pytest.approx((0, 1), abs=1e-3)


def test_a_model_that_tells_metres_is_turned_round(tmp_path: Path) -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[:30] = 255
    found = OnnxDepth(write_depth(tmp_path, metric=True)).depth(picture)
    assert found[:20].max() < 0.05
    assert found[40:].min() > 0.95


def test_a_picture_without_depth_is_far_everywhere(tmp_path: Path) -> None:
    assert not OnnxDepth(write_depth(tmp_path)).depth(np.full((20, 20, 3), 9, np.uint8)).any()


def test_a_depth_model_without_configuration_is_prepared_as_usual(tmp_path: Path) -> None:
    folder = write_depth(tmp_path)
    (folder / "preprocessor_config.json").unlink()
    (folder / "config.json").write_text(json.dumps({}))
    assert OnnxDepth(folder).depth(np.zeros((40, 50, 3), np.uint8)).shape == (40, 50)
