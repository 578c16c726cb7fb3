"""Base models on disk: what is hostile is refused by what it is, not by its name; a digest names the rest."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from weights_factory import as_file, lora_tensors, raw_file

from malan.core.errors import NotFound, ProofError, Rejected
from malan.core.ids import digest_bytes
from malan.inference.tensors import Tensor, scan_tensors, write_tensors
from malan.models.base_files import BaseModel, scan_base


def shard(*names: str) -> bytes:
    return write_tensors([Tensor.of(name, np.ones((2, 3))) for name in names])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base of two shards, an index, a configuration and a card."""
    folder = tmp_path / "wan-tiny"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    (folder / "README.md").write_text("# 模型")
    (folder / "transformer" / "a.safetensors").write_bytes(shard("blocks.0.w"))
    (folder / "transformer" / "b.safetensors").write_bytes(shard("blocks.1.w", "head"))
    places = {"blocks.0.w": "a.safetensors", "blocks.1.w": "b.safetensors", "head": "b.safetensors"}
    index = folder / "transformer" / "x.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_a_folder_is_named_by_its_files(base: Path) -> None:
    found = scan_base(base)
    assert (found.tensors, len(found.files)) == (3, 5)
    assert scan_base(base).id == found.id
    (base / "README.md").write_text("# other")
    assert scan_base(base).id != found.id


def test_one_file_is_named_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(as_file(lora_tensors()))
    assert scan_base(path).id == digest_bytes(path.read_bytes())


def test_what_was_registered_comes_back_and_a_touched_file_is_read_again(base: Path) -> None:
    found = BaseModel.from_value(json.loads(json.dumps(scan_base(base).to_value())))
    os.utime(base / "README.md")
    assert set(found.check()) == {one.name for one in found.files}
    (base / "README.md").write_text("# 他型")
    with pytest.raises(ProofError):
        found.check()
    (base / "README.md").unlink()
    with pytest.raises(NotFound):
        found.check()


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "a.pt", "a.ckpt", "a.pkl", "modeling.py", "a.zip", "a.so", "run.sh", "x", "a.h5"]
)
def test_other_kinds_of_file_are_refused(base: Path, name: str) -> None:
    (base / name).write_bytes(b"hello")
    with pytest.raises(Rejected) as caught:
        scan_base(base)
    assert caught.value.code == "models.not_weights"


@pytest.mark.parametrize("name", ["a.json", "a.txt", "transformer/c.safetensors", "tokenizer.model", "LICENSE"])
@pytest.mark.parametrize("data", [pickle.dumps({"a": print}), b"PK\x03\x04" + bytes(60), b"\x7fELF" + bytes(60)])
def test_a_pickle_is_refused_whatever_it_is_called(base: Path, name: str, data: bytes) -> None:
    (base / name).write_bytes(data)
    with pytest.raises(Rejected):
        scan_base(base)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        raw_file({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\x00" * 7),
        raw_file({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\x00" * 9),
        raw_file({"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, b"\x00" * 16),
        raw_file({"../w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\x00" * 4),
        raw_file({"w": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 4]}}, b"\x00" * 4),
        raw_file({"w": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, b"\x00" * 4),
        raw_file(b'{"w":{},"w":{}}'),
        raw_file({}, length=2**60),
        raw_file(b"[" * 100_000),
    ],
)
def test_malformed_weights_are_refused_by_their_header(base: Path, data: bytes) -> None:
    (base / "transformer" / "c.safetensors").write_bytes(data)
    with pytest.raises(Rejected):
        scan_base(base)


def test_a_link_that_leads_out_is_refused_and_one_within_a_hub_is_not(base: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (base / "notes.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(Rejected) as caught:
        scan_base(base)
    assert caught.value.code == "models.link"
    (base / "notes.txt").unlink()
    hub = tmp_path / "models--wan--tiny"
    (hub / "blobs").mkdir(parents=True)
    (hub / "snapshots").mkdir()
    base.rename(hub / "snapshots" / "abc")
    (hub / "blobs" / "1234").write_text("words")
    (hub / "snapshots" / "abc" / "notes.txt").symlink_to("../../blobs/1234")
    assert "notes.txt" in {one.name for one in scan_base(hub / "snapshots" / "abc").files}


def test_a_linked_folder_and_a_pipe_are_refused(base: Path, tmp_path: Path) -> None:
    (base / "more").symlink_to(tmp_path)
    with pytest.raises(Rejected):
        scan_base(base)
    (base / "more").unlink()
    os.mkfifo(base / "pipe.txt")
    with pytest.raises(Rejected) as caught:
        scan_base(base)
    assert caught.value.code == "models.odd_file"


def test_an_index_names_what_is_there(base: Path) -> None:
    index = base / "transformer" / "x.safetensors.index.json"
    for places in ({"blocks.0.w": "b.safetensors"}, {"z": "a.safetensors"}, {"head": "../../a.safetensors"}, [], "x"):
        index.write_text(json.dumps({"weight_map": places}))
        with pytest.raises(Rejected):
            scan_base(base)
    index.write_text("{")
    with pytest.raises(Rejected):
        scan_base(base)


def test_a_folder_without_weights_or_configuration_is_no_base(base: Path, tmp_path: Path) -> None:
    (base / "model_index.json").unlink()
    with pytest.raises(Rejected):
        scan_base(base)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Rejected):
        scan_base(tmp_path / "empty")
    with pytest.raises(NotFound):
        scan_base(tmp_path / "nowhere")


def test_types_of_base_models_are_measured_but_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw_file({"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)))
    assert scan_tensors(path).tensors["w"].shape == (4,)
    with pytest.raises(Rejected):
        scan_tensors(path, types={"F32": 4})


def graph() -> bytes:
    """A classifier as ONNX."""
    from malan.models.classifier import Classifier
    from malan.models.onnx import write_onnx

    ones = np.ones(3, np.float32)
    layers = ((np.ones((3, 2), np.float32), np.zeros(2, np.float32)),)
    return write_onnx(Classifier(mean=ones, scale=ones, layers=layers, classes=("a", "b")), {})


def test_a_folder_of_onnx_files_is_a_base_with_what_speech_models_keep_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "kokoro"
    (folder / "espeak-ng-data" / "lang").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph())
    for name in ("tokens.txt", "voices.bin", "date.fst", "espeak-ng-data/phontab", "espeak-ng-data/lang/zh"):
        (folder / name).write_bytes(b"words")
    found = scan_base(folder)
    assert len(found.files) == 6
    assert found.tensors > 0
    assert found.id == scan_base(folder).id


def test_one_onnx_file_is_a_base(tmp_path: Path) -> None:
    path = tmp_path / "depth.onnx"
    path.write_bytes(graph())
    assert scan_base(path).id == digest_bytes(path.read_bytes())


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", graph()[:-9], graph() + b"\x00", b"PK\x03\x04" + bytes(60)])
def test_what_only_calls_itself_onnx_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    for place in (tmp_path, tmp_path / "model.onnx"):
        with pytest.raises(Rejected):
            scan_base(place)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "run.sh", "lib.so", "a.pt"])
def test_beside_onnx_files_too_only_what_is_known_lies(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.onnx").write_bytes(graph())
    (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(Rejected):
        scan_base(tmp_path)


def test_onnx_files_beside_safetensors_are_none_of_the_base(base: Path) -> None:
    before = scan_base(base).id
    (base / "onnx").mkdir()
    (base / "onnx" / "model.onnx").write_bytes(graph())
    with pytest.raises(Rejected):
        scan_base(base)
    (base / "onnx" / "model.onnx").unlink()
    assert scan_base(base).id == before
